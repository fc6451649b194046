"""Which quantities of a sweep are shown beside each other, on paper and on pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from testbed.views.sweep import SweepResults

Shown = tuple[str, str, float]  # key, label, factor
EFFICIENCY: Final[Shown] = ("efficiency", "efficiency (share of the limit)", 1.0)
# For each panel after the first: the quantities it may show, the better first.
PANELS: Final[tuple[tuple[Shown, ...], ...]] = (
    (
        ("dgsq_wait_p99_ms", "p99 wait in the DGSQ (ms)", 1.0),
        ("latency_p99_ms", "p99 latency of probes (ms)", 1.0),
    ),
    (
        ("control_fraction", "control frames (% of agents' frames)", 100.0),
        ("agent_cores", "processor time of agents (cores)", 1.0),
        ("latency_p50_ms", "p50 latency of probes (ms)", 1.0),
    ),
)
# Of training iterations in place of efficiency.
TRAINING: Final[tuple[tuple[Shown, ...], ...]] = (
    (("exposed_share", "exposed communication (%)", 100.0),),
    (("completion_s", "iteration time (s)", 1.0),),
)


def is_training(results: SweepResults) -> bool:
    """Whether the sweep is one of training iterations."""
    return results.stored.sweep.points[0].workload.training is not None


def chosen_panels(results: SweepResults) -> list[Shown]:
    """Return what each panel shows; one that nothing was measured for is left out."""
    first = TRAINING if is_training(results) else ((EFFICIENCY,),)
    found = (_chosen(results, options) for options in (*first, *PANELS))
    return [panel for panel in found if panel is not None]


def _chosen(results: SweepResults, options: Sequence[Shown]) -> Shown | None:
    """Return the first quantity that every scheme has, else the first that any has."""
    schemes = results.stored.sweep.schemes
    everywhere = (one for one in options if all(results.has(one[0], scheme) for scheme in schemes))
    return next(everywhere, None) or next((one for one in options if results.has(one[0])), None)

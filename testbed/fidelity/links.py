"""Did links send at their rate, and without a pause, while frames waited for them? Pure."""

from __future__ import annotations

from testbed.evaluation.linkrates import LinkRate, run_link_rates
from testbed.evaluation.program import measured_part
from testbed.evaluation.records import RunRecord
from testbed.fidelity.faults import fault_spans
from testbed.fidelity.verdict import FabricEvidence, Finding, grade, limits, percent_limits


def link_rates(run: RunRecord) -> tuple[LinkRate, ...]:
    """Return what is known of links that frames waited for in the measured part, while no fault was about them."""
    return run_link_rates(run, measured_part(run), fault_spans(run))


def off_most(rates: tuple[LinkRate, ...]) -> LinkRate | None:
    """Return the link whose rate is farthest from the configured one; None where no rate is known."""
    return max((one for one in rates if one.ratio is not None), key=_off, default=None)


def stood_longest(rates: tuple[LinkRate, ...]) -> LinkRate | None:
    """Return the link that stood still longest; None where no frame waited for any."""
    return max(rates, key=lambda one: one.longest_stall_s, default=None)


def check_link_rate(evidence: FabricEvidence) -> Finding | None:
    """Links that frames waited for sent as fast as configured, not only when they were calibrated."""
    worst = off_most(evidence.link_rates)
    if worst is None:
        return None
    return grade(
        "link_rate",
        _off(worst),
        f"{worst.link} carried {worst.ratio:.3f} of its rate while frames waited: {worst.rate_mbps:.2f} Mbit/s for "
        f"{worst.busy_s:.1f} s ({percent_limits('link_rate')} off)",
    )


def check_link_stall(evidence: FabricEvidence) -> Finding | None:
    """No link stood still while frames waited for it: the mean hides what hosts' TCP does not."""
    worst = stood_longest(evidence.link_rates)
    if worst is None:
        return None
    return grade(
        "link_stall",
        worst.longest_stall_s,
        f"{worst.link} stood still for {worst.longest_stall_s * 1000:.0f} ms while frames waited "
        f"({limits('link_stall')} s)",
    )


def _off(rate: LinkRate) -> float:
    return 0.0 if rate.ratio is None else abs(rate.ratio - 1)

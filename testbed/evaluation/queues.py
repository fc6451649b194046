"""How long the modelled queues were. Pure."""

from __future__ import annotations

from typing import Final

from testbed.evaluation.during import During
from testbed.evaluation.metrics import measured, windows
from testbed.evaluation.records import RunRecord
from testbed.evaluation.series import Series, queue_series

KINDS: Final = ("uplink", "downlink", "host_rx")  # read at every sample; hosts' own ends are not


def largest_backlogs(run: RunRecord) -> dict[str, int | None]:
    """Return the largest backlog of the queues of each kind of link, in bytes, as sampled in measured iterations.

    None where a queue of that kind was not sampled meanwhile. What lasts less than a sample's interval may be missed:
    it is a lower bound of the peak, from the qdisc itself.
    """
    during = windows(measured(run.tables.iterations))
    series = queue_series(run.tables.queues, "backlog_bytes")
    found: dict[str, int | None] = {}
    for kind in KINDS:
        queues = [direction.src.intf for direction in run.topology.directions if direction.kind == kind]
        largest = [_largest(series[intf], during) if intf in series else None for intf in queues]
        known = [value for value in largest if value is not None]
        found[kind] = int(max(known)) if known and len(known) == len(queues) else None
    return found


def _largest(series: Series, during: During) -> float | None:
    sampled = zip(series.times_s, series.values, strict=True)
    return max((value for t_s, value in sampled if during.has(t_s)), default=None)

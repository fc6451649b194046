"""What tables say of cross traffic: Poisson flows by size, bursts, replayed frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from testbed.evaluation.crossflows import ALL, bin_names
from testbed.model.scenario import Scenario
from testbed.units import bytes_to_text
from testbed.views.cells import number_text

if TYPE_CHECKING:
    from testbed.views.comparison import Entry

Cell = Callable[["Entry"], str]


def cross_columns(scenario: Scenario) -> list[tuple[str, Cell]]:
    """Return header and cell of the columns a run's line has beside the others; the bins are in the scheme's table."""

    def number(digits: int, *keys: str) -> Cell:
        return lambda entry: number_text(entry.number(*keys), digits)

    cross, smallest = scenario.cross_traffic, bin_names()[0]
    found: list[tuple[str, Cell]] = []
    if cross.poisson is not None:
        found += [
            ("flows/\nmissing", _both(("flow_times", ALL, "count"), ("flow_times", ALL, "missing"))),
            ("slower\np50", number(1, "flow_times", ALL, "slowdown_p50")),
            (f"{smallest}\np99 ms", number(1, "flow_times", smallest, "p99_ms")),
        ]
    if cross.bursts is not None:
        found.append(("burst\ns", number(2, "bursts", "median_s")))
    if cross.replay is not None:
        found += [
            ("replayed/\nlost", _both(("replay", "sent"), ("replay", "lost"))),
            ("frame\np50 ms", number(1, "replay", "p50_ms")),
        ]
    return found


def _both(first: tuple[str, ...], second: tuple[str, ...]) -> Cell:
    return lambda entry: f"{number_text(entry.number(*first), 0)}/{number_text(entry.number(*second), 0)}"


def cross_lines(scenario: Scenario) -> Iterator[tuple[str, int, tuple[str, ...]]]:
    """Yield name, digits and keys of each line the comparison of schemes has beside the others."""
    cross = scenario.cross_traffic
    if cross.poisson is not None:
        yield "Poisson flows", 0, ("flow_times", ALL, "count")
        yield "  load they offered", 3, ("poisson_load",)
        yield "  not arrived at the end", 0, ("flow_times", ALL, "missing")
        for name in bin_names():
            yield f"  {name}: slowdown p50", 2, ("flow_times", name, "slowdown_p50")
            yield f"  {name}: slowdown p99", 2, ("flow_times", name, "slowdown_p99")
        yield f"  {bin_names()[0]}: p99, ms", 1, ("flow_times", bin_names()[0], "p99_ms")
    if cross.bursts is not None:
        yield "bursts, median s", 2, ("bursts", "median_s")
        yield "  worst, s", 2, ("bursts", "worst_s")
        yield "  ideal, s", 2, ("bursts", "ideal_s")
    if cross.replay is not None:
        yield "replayed frames", 0, ("replay", "sent")
        yield "  lost", 0, ("replay", "lost")
        yield "  not sent: the run was over", 0, ("replay", "unsent")
        yield "  not sent: cannot be", 0, ("replay", "unmapped")
        yield "  p50, ms", 2, ("replay", "p50_ms")
        yield "  p99, ms", 2, ("replay", "p99_ms")
        yield "  sent late p99, ms", 2, ("replay", "lateness_p99_ms")


def cross_notes(scenario: Scenario) -> Iterator[str]:
    """Yield what the columns mean."""
    if scenario.cross_traffic.poisson is not None:
        yield (
            "slower: completion time of Poisson flows over the ideal on an empty fabric (below 1: a link that was idle "
            "lets the first frames pass at once); missing: not arrived at the end, slower than all others"
        )
    if scenario.cross_traffic.bursts is not None:
        yield "burst: median time until the last byte of a burst had arrived"


def cross_words(scenario: Scenario) -> Iterator[str]:
    """Yield what the cross traffic is, for the line that describes a scenario."""
    cross = scenario.cross_traffic
    if cross.poisson is not None:
        yield f"Poisson flows at {cross.poisson.load:.0%} of host links ({cross.poisson.sizes_name})"
    if cross.bursts is not None:
        bursts = cross.bursts
        number = f"{len(bursts.storage)} storage host{'s' if len(bursts.storage) > 1 else ''}"
        yield f"bursts of {bytes_to_text(bursts.size_bytes)} per host to {number} every {bursts.period_s:g} s"
    if cross.replay is not None:
        slower = "" if cross.replay.time_scale == 1 else f" (times x {cross.replay.time_scale:g})"
        yield f"a capture replayed{slower}"

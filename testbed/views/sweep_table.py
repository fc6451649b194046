"""A sweep as a table: one line per value and scheme, for the terminal."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import RenderableType

from testbed.errors import printable
from testbed.inference.speedup import PAIRS_FOR_AN_INTERVAL, Speedup
from testbed.views.cells import Grid, number_text
from testbed.views.comparison import Entry
from testbed.views.kept_up import SWEPT, TITLE, Pace, limits_text, shown_of, worst_text
from testbed.views.sweep import Group, Median, SweepResults
from testbed.views.sweep_panels import is_training
from testbed.views.tables import rendered
from testbed.views.training_gain import speed_gains

Cell = Callable[[Group], str]
MICE, FLOWS = "mice_latency_p99_ms", "flow_slowdown_p50"
ENDED_NOTE = "median over seeds, in brackets smallest..largest; efficiency: busbw over its physical limit"
MODEL_NOTE = (
    "model: efficiency the fluid model (docs/fluid.md) has for the same seeds, their median; -: not a case for it, or "
    "too much of one: gse predict"
)
MACHINE_NOTE = (
    "the worst of the runs that are not INVALID; link: of those that frames waited for, rate off its nominal one, "
    "longest pause; upcalls: lost, of all packets looked up; probes: p50 of their delay beyond what queues explain, "
    "over what is allowed of it; wait: for a core; -: not measured, or not to be known"
)
RIGHT_NOTE = "wrong elements: of all runs; bytes off: on hosts' links against the formula, median over seeds"


def sweep_table(results: SweepResults) -> RenderableType:
    """Return the tables, with what has to be known of them below."""
    return rendered(sweep_grids(results))


def sweep_grids(results: SweepResults) -> tuple[Grid, ...]:
    """Return tables with a line per value and scheme: how its runs ended and how fast they were; the machine; cost.

    Where the workload differs there is one more between: whether results and bytes are right. Several, so that each
    fits a terminal of 80 columns. The last has below it what has to be known of all.
    """
    latencies: list[tuple[str, Cell]] = [
        ("probes\np50 ms", _middle("latency_p50_ms", 1)),
        ("probes\np99 ms", _middle("latency_p99_ms", 1)),
    ]
    if results.has(MICE):
        latencies += [("mice\np50 ms", _middle("mice_latency_p50_ms", 1)), ("mice\np99 ms", _middle(MICE, 1))]
    if results.has(FLOWS):
        latencies += [("flows\nslower p50", _middle(FLOWS, 1)), ("p99", _middle("flow_slowdown_p99", 1))]
    gains, first = speed_gains(results), results.stored.sweep.schemes[0]
    speeds: list[tuple[str, Cell]] = [
        ("iteration\ns", _spread("completion_s", 2)),
        ("exposed", _percent("exposed_share")),
        (
            "speed",
            lambda group: _gain(
                None if group.scheme == first else gains.get((group.point, group.scheme)), len(group.members)
            ),
        ),
    ]
    training, model = is_training(results), bool(results.modelled)
    efficiency: list[tuple[str, Cell]] = [
        ("efficiency", _spread("efficiency", 3)),
        *((("model", _modelled(results)),) if model else ()),
    ]
    ended = value_grid(
        results,
        results.heading,
        [
            ("verdicts", _verdicts),
            *(speeds if training else efficiency),
            ("dropped", _spread("dropped_packets", 0)),
            ("out of order", _spread("out_of_order_packets", 0)),
        ],
        _training_notes(results) if training else (ENDED_NOTE, *((MODEL_NOTE,) if model else ())),
    )
    cost = value_grid(
        results,
        "waits and cost",
        [
            ("runs", _runs),
            ("DGSQ wait\np50 ms", _middle("dgsq_wait_p50_ms", 1)),
            ("DGSQ wait\np99 ms", _middle("dgsq_wait_p99_ms", 1)),
            ("control\nframes", _percent("control_fraction")),
            ("agents'\ncores", _middle("agent_cores", 2)),
            *latencies,
        ],
        ("medians; control frames: of all frames of the agents", *results.notes(), *_reasons(results)),
    )
    machine = machine_grid(results)
    if not results.stored.sweep.field.startswith("workload."):
        return ended, machine, cost
    columns: list[tuple[str, Cell]] = [("wrong elements", _wrong), ("bytes off", _percent("host_bytes_off"))]
    return ended, value_grid(results, "results and bytes", columns, (RIGHT_NOTE,)), machine, cost


def machine_grid(results: SweepResults) -> Grid:
    """Return how well the machine kept up: the worst of the runs that count, and the limits of checks."""
    entries = [entry for group in results.groups for entry in _counted(group)]
    shown = shown_of(SWEPT, entries)
    columns = [(pace.header, _worst(pace)) for pace in shown]
    return value_grid(results, TITLE.lower(), columns, (limits_text(shown), MACHINE_NOTE))


def _counted(group: Group) -> list[Entry]:
    return [member.entry for member in group.counted if member.entry is not None]


def _worst(pace: Pace) -> Cell:
    return lambda group: worst_text(pace, _counted(group))


def _training_notes(results: SweepResults) -> tuple[str, ...]:
    """Return what is to be known of training iterations: the rule of each value by which it was scaled down."""
    sweep = results.stored.sweep
    jobs = [(text, point.job) for text, point in zip(sweep.texts, sweep.points, strict=True)]
    return (
        "median over seeds, in brackets smallest..largest; exposed: what of an iteration a rank does not compute; "
        f"speed: over {sweep.schemes[0]}, geometric mean of ratios paired by seed (smallest..largest; from "
        f"{PAIRS_FOR_AN_INTERVAL} pairs on 95% confidence interval of the mean; how many where seeds lack one)",
        *(printable(f"{text}: {line}") for text, job in jobs if job is not None for line in job.rule()),
    )


def _gain(ratio: Speedup | None, seeds: int) -> str:
    """Return a ratio with its range; with its interval where there are pairs enough for one to hold.

    With the number of pairs where they are fewer than the ``seeds`` there were to be.
    """
    if ratio is None or ratio.pairs == 1:
        alone = " (one pair)" if ratio is not None and seeds > 1 else ""
        return number_text(None if ratio is None else ratio.mean, 3) + alone
    low, high = ratio.told
    few = f"; {ratio.pairs} pairs" if ratio.pairs < seeds else ""
    return f"{ratio.mean:.3f} ({low:.3f}..{high:.3f}{few})"


def value_grid(results: SweepResults, title: str, columns: list[tuple[str, Cell]], notes: tuple[str, ...]) -> Grid:
    """Return a table with a line per value and scheme."""
    section, _, name = results.stored.sweep.field.rpartition(".")
    header = f"{section}.\n{name}" if section else name
    return Grid(
        title=title,
        headers=(header, "scheme", *(header for header, _cell in columns)),
        rows=tuple((group.text, group.scheme, *(cell(group) for _header, cell in columns)) for group in results.groups),
        notes=notes,
        labels=2,
    )


def _reasons(results: SweepResults) -> list[str]:
    """Return every run that is not VALID with the first reason."""
    lines = []
    for group in results.groups:
        for member in group.members:
            reasons = member.entry.reasons if member.entry is not None else (member.stored.error or "",)
            if reasons and reasons[0]:
                more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
                which = f"{results.stored.sweep.field}={group.text} {group.scheme} seed {member.stored.run.seed}"
                lines.append(f"{which} {member.state}: {printable(reasons[0].splitlines()[0])}{more}")
    return lines


def _wrong(group: Group) -> str:
    """Return the wrong elements of all runs together, INVALID ones too."""
    known = [value for member in group.members if (value := member.numbers["wrong_elements"]) is not None]
    return number_text(sum(known) if known else None, 0)


def _runs(group: Group) -> str:
    """Return how many have numbers, of how many were asked for."""
    finished = sum(member.entry is not None for member in group.members)
    asked = len(group.members)
    return str(finished) if finished == asked else f"{finished}/{asked}"


def _verdicts(group: Group) -> str:
    return ", ".join(f"{number} {state}" for state, number in group.counts().items())


def _modelled(results: SweepResults) -> Cell:
    return lambda group: number_text(results.modelled.get((group.point, group.scheme)), 3)


def _spread(key: str, digits: int) -> Cell:
    def cell(group: Group) -> str:
        found = group.median(key)
        if found is None:
            return number_text(None, digits)
        middle, low, high = (number_text(one, digits) for one in (found.median, found.smallest, found.largest))
        return middle if low == high else f"{middle} ({low}..{high})"

    return cell


def _middle(key: str, digits: int) -> Cell:
    return lambda group: _text(group.median(key), digits)


def _percent(key: str) -> Cell:
    def cell(group: Group) -> str:
        found = group.median(key)
        return number_text(None, 0) if found is None else f"{found.median:.1%}"

    return cell


def _text(found: Median | None, digits: int) -> str:
    return number_text(None if found is None else found.median, digits)

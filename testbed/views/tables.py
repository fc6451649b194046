"""Stored runs as tables: one line per run, one column per scheme; for the terminal (rich) and as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from testbed.errors import printable
from testbed.model.oracle import MAX_ROUTES
from testbed.results.store import Run
from testbed.views.comparison import VERDICTS, Comparison, Entry, Spread, compare, describe, left_out_text

NOT_MEASURED = "-"
VERDICT_STYLES = dict(zip(VERDICTS, ("green", "yellow", "bold red"), strict=True))


@dataclass(frozen=True, slots=True)
class Grid:
    """A table as text: ``notes`` stand below it. The first ``labels`` columns are words, the rest numbers."""

    title: str
    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    labels: int = 1


def run_table(runs: Sequence[Run]) -> RenderableType:
    """Return every run, INVALID ones too, for the terminal."""
    return _rendered([run_grid(comparison) for comparison in compare(runs, allow_invalid=True)])


def scheme_table(runs: Sequence[Run]) -> RenderableType:
    """Return the schemes compared, without INVALID runs, for the terminal."""
    return _rendered([scheme_grid(comparison) for comparison in compare(runs, allow_invalid=False)])


def markdown(runs: Sequence[Run]) -> str:
    """Return both tables as Markdown."""
    grids = [run_grid(comparison) for comparison in compare(runs, allow_invalid=True)]
    grids += [scheme_grid(comparison) for comparison in compare(runs, allow_invalid=False)]
    return "\n".join(_markdown(grid) for grid in grids)


def run_grid(comparison: Comparison) -> Grid:
    """Return one line per run; what is constant and the reasons of verdicts stand below."""
    entries = [entry for scheme in comparison.schemes for entry in comparison.of(scheme)]
    faults = bool(comparison.scenario.faults)
    ideal_s = _time(entries[0].number("ideal_s"))
    limit_mbps = _number(entries[0].number("busbw_limit_mbps"), 2)
    details = entries[0].summary.get("details")
    bottleneck = printable(str(details.get("bottleneck"))[:80]) if isinstance(details, Mapping) else "unknown"
    disturbed = comparison.scenario.faults or comparison.scenario.background
    notes = (
        f"time: median all-reduce, ideally {ideal_s} s; limit of busbw: {limit_mbps} Mbit/s, set by {bottleneck}",
        "paths allow: share of that limit with the flows on the paths they took at the end"
        + ("; with faults or other traffic no bound" if disturbed else ""),
        "p50, p99: latency of probes, the wait in their own host's queue included: a host that sends at line rate "
        "keeps one, a host held up elsewhere does not",
        *(("outage: longest pause of any rank that a fault caused",) if faults else ()),
    )
    reasons = (f"{e.scheme} seed {e.seed} {e.verdict}: {reason}" for e in entries for reason in e.reasons)
    return Grid(
        title=f"{comparison.scenario.name}: {describe(comparison.scenario)}",
        headers=(
            *("scheme", "seed", "verdict", "time\ns", "busbw\nMbit/s", "of\nlimit", "paths\nallow", "uplinks\nused"),
            *("p50\nms", "p99\nms", "dropped/\nresent/\nreordered"),
            *(("outage\nms",) if faults else ()),
        ),
        rows=tuple(_run_row(entry, faults) for entry in entries),
        notes=(*notes, *reasons),
        labels=3,
    )


def _run_row(entry: Entry, faults: bool) -> tuple[str, ...]:
    packets = ("dropped_packets", "retransmitted_segments", "out_of_order_packets")
    return (
        entry.scheme,
        str(entry.seed),
        entry.verdict,
        _time(entry.number("completion_s")),
        _number(entry.number("busbw_mbps"), 2),
        _number(entry.number("efficiency"), 3),
        _number(entry.number("predicted_efficiency"), 3),
        _number(entry.number("uplink_utilization"), 3),
        _number(entry.number("latency_ms", "p50"), 1),
        _number(entry.number("latency_ms", "p99"), 1),
        "/".join(_number(entry.number(key), 0) for key in packets),
        *((_number(entry.number("outage_ms"), 0),) if faults else ()),
    )


def scheme_grid(comparison: Comparison) -> Grid:
    """Return one column per scheme: mean (smallest..largest) over its runs, beside what to expect."""
    lines: list[tuple[str, Callable[[Comparison, str], str]]] = [
        ("runs", _runs),
        ("completion time, s", lambda c, scheme: _times(c.spread(scheme, "completion_s"))),
        ("ideal time, s", lambda c, scheme: _times(c.spread(scheme, "ideal_s"))),
        ("busbw, Mbit/s", lambda c, scheme: _spread(c.spread(scheme, "busbw_mbps"), 2)),
        ("efficiency", lambda c, scheme: _spread(c.spread(scheme, "efficiency"), 3)),
        ("  expected of hashing", _expected),
        ("  its paths allow", lambda c, scheme: _spread(c.spread(scheme, "predicted_efficiency"), 3)),
        (f"speed-up over {comparison.schemes[0]}", _speedup),
        ("loaded uplinks used", lambda c, scheme: _spread(c.spread(scheme, "uplink_utilization"), 3)),
        ("latency p50, ms", lambda c, scheme: _spread(c.spread(scheme, "latency_ms", "p50"), 1)),
        ("latency p99, ms", lambda c, scheme: _spread(c.spread(scheme, "latency_ms", "p99"), 1)),
        ("packets dropped", lambda c, scheme: _spread(c.spread(scheme, "dropped_packets"), 0)),
        ("segments resent", lambda c, scheme: _spread(c.spread(scheme, "retransmitted_segments"), 0)),
    ]
    if comparison.scenario.faults:
        lines.append(("outage, ms", lambda c, scheme: _spread(c.spread(scheme, "outage_ms"), 0)))
    return Grid(
        title=f"{comparison.scenario.name}: schemes compared",
        headers=("", *comparison.schemes),
        rows=tuple((name, *(cell(comparison, scheme) for scheme in comparison.schemes)) for name, cell in lines),
        notes=tuple(_scheme_notes(comparison)),
    )


def _scheme_notes(comparison: Comparison) -> Iterator[str]:
    yield "mean (smallest..largest) over runs; efficiency: busbw over its limit"
    if comparison.ecmp_expectation is not None:
        yield "expected: Monte Carlo mean, and where 95% of the means over as many seeds fall"
    elif "ecmp" in comparison.schemes:
        yield (
            "nothing is expected of ecmp with background traffic, faults, random placement, "
            f"more than {MAX_ROUTES} flows x paths or no usable run"
        )
    if len(comparison.schemes) > 1:
        yield "speed-up: geometric mean of time ratios paired by seed (95% confidence interval)"
    if left_out := left_out_text(comparison):
        yield left_out


def _runs(comparison: Comparison, scheme: str) -> str:
    return ", ".join(f"{number} {verdict}" for verdict, number in comparison.verdict_counts(scheme).items())


def _expected(comparison: Comparison, scheme: str) -> str:
    found = comparison.ecmp_expectation
    if found is None or scheme != "ecmp":
        return NOT_MEASURED
    return f"{found.efficiency.mean:.3f} ({found.efficiency.low:.3f}..{found.efficiency.high:.3f})"


def _speedup(comparison: Comparison, scheme: str) -> str:
    ratio = comparison.speedup(scheme)
    if ratio is None or scheme == comparison.schemes[0]:
        return NOT_MEASURED
    interval = "one pair" if ratio.low is None else f"{ratio.low:.2f}..{ratio.high:.2f}"
    return f"{ratio.mean:.2f} ({interval})"


def _number(value: float | None, digits: int) -> str:
    return NOT_MEASURED if value is None else f"{value:.{digits}f}"


def _time(seconds: float | None) -> str:
    return _number(seconds, _time_digits(seconds or 0.0))


def _times(spread: Spread | None) -> str:
    return _spread(spread, _time_digits(spread.smallest) if spread else 0)


def _time_digits(seconds: float) -> int:
    """Return the decimals that leave about four significant digits."""
    return 2 if seconds >= 10 else 3 if seconds >= 1 else 4


def _spread(spread: Spread | None, digits: int) -> str:
    if spread is None:
        return NOT_MEASURED
    if spread.smallest == spread.largest:
        return f"{spread.mean:.{digits}f}"
    return f"{spread.mean:.{digits}f} ({spread.smallest:.{digits}f}..{spread.largest:.{digits}f})"


def _rendered(grids: Sequence[Grid]) -> RenderableType:
    parts: list[RenderableType] = []
    for grid in grids:
        table = Table(title=Text(grid.title), title_justify="left", box=None, padding=(0, 1, 0, 0), header_style="bold")
        for index, header in enumerate(grid.headers):
            table.add_column(header, justify="left" if index < grid.labels else "right", overflow="fold")
        for row in grid.rows:
            table.add_row(*(Text(cell, style=VERDICT_STYLES.get(cell, "")) for cell in row))
        parts += [table, *(Text(note, style="dim") for note in grid.notes), Text("")]
    return Group(*parts)


def _markdown(grid: Grid) -> str:
    aligned = ["---" if index < grid.labels else "---:" for index in range(len(grid.headers))]
    headers = tuple(header.replace("\n", " ") for header in grid.headers)
    lines = [headers, tuple(aligned), *grid.rows]
    table = "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
    notes = "\n".join(f"- {note}" for note in grid.notes)
    return f"**{grid.title}**\n\n{table}\n\n{notes}\n"

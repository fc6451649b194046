"""What is in a trace: tables for the terminal, and the same as plain values for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import RenderableType

from testbed.errors import printable
from testbed.traces.totals import (
    Computing,
    Sum,
    communications,
    computing,
    computing_by_stage,
    group_sizes,
    sums,
    total,
)
from testbed.traces.trace import Trace
from testbed.views.cells import NOT_MEASURED, Grid
from testbed.views.tables import rendered

MOST_ROWS: Final = 40
MOST_UNKNOWN: Final = 20
MOST_CHARACTERS: Final = 40  # of a name in a table; JSON has it whole
MOST_SIZES: Final = 8  # of a group, in a table
MOST_IN_JSON: Final = 10_000  # of each list: files may have as many groups, stages and ranks as lines


def trace_tables(trace: Trace) -> RenderableType:
    """Return a trace's totals by operation and group and by stage, and what was not understood."""
    return rendered([operation_grid(trace), stage_grid(trace)])


def operation_grid(trace: Trace) -> Grid:
    """Return a line per operation and group; how many ranks there are stands below."""
    found = sums(communications(trace), ("operation", "group"))
    whole = total(found)
    shown = [
        (_text(one.key[0]), _text(one.key[1]), _sizes(one.group_sizes), *_amounts(one, whole.size_bytes))
        for one in found[:MOST_ROWS]
    ]
    return Grid(
        title=printable(f"{trace.source}: {trace.format}, {len(trace.records):,} records"),
        headers=("operation", "group", "ranks", "count", "bytes", "share", "measured\ns"),
        rows=(*shown, ("all", "", "", *_amounts(whole, whole.size_bytes))),
        notes=(*_more(len(found)), *_ranks(trace), *_marks(trace)),
        labels=2,
    )


def stage_grid(trace: Trace) -> Grid:
    """Return a line per stage, with its computing; what is not understood stands below."""
    found = sums(communications(trace), ("stage",))
    total_bytes = total(found).size_bytes
    times = {one.stage: one for one in computing_by_stage(trace)}
    talking = {one.key[0] for one in found}
    silent = [stage for stage in times if stage not in talking]
    rows = [
        (_text(one.key[0]), *_amounts(one, total_bytes), _seconds(times.get(one.key[0]))) for one in found[:MOST_ROWS]
    ]
    rows += [
        (_text(stage), "0", "0", NOT_MEASURED, NOT_MEASURED, _seconds(times[stage]))
        for stage in silent[: MOST_ROWS - len(rows)]
    ]
    return Grid(
        title="by stage",
        headers=("stage", "count", "bytes", "share", "measured\ns", "computing\ns"),
        rows=tuple(rows),
        notes=(*_more(len(found) + len(silent)), _computing(trace), _known(trace), *_unknown(trace)),
    )


def trace_json(trace: Trace) -> dict[str, Any]:
    """Return totals, ranks and what was not understood as JSON has them; ``left_out``: how many are beyond a limit."""
    found = sums(communications(trace), ("operation", "group", "stage"))
    time, stages = computing(trace), computing_by_stage(trace)
    sizes, names = group_sizes(trace), _names(trace)
    return {
        "source": trace.source,
        "format": trace.format,
        "records": len(trace.records),
        "marks": _n_marks(trace),
        "n_ranks": trace.n_ranks,
        "group_sizes": {name: list(sizes[name]) for name in list(sizes)[:MOST_IN_JSON]},
        "ranks_in_file": names[:MOST_IN_JSON],
        "all_operations": _amounts_json(total(found)),
        "operations": [
            {**dict(zip(("operation", "group", "stage"), one.key, strict=True)), **_amounts_json(one)}
            for one in found[:MOST_IN_JSON]
        ],
        "computing": {
            **_computing_json(time),
            "by_stage": [{"stage": one.stage, **_computing_json(one)} for one in stages[:MOST_IN_JSON]],
        },
        "left_out": {
            "group_sizes": max(0, len(sizes) - MOST_IN_JSON),
            "ranks_in_file": max(0, len(names) - MOST_IN_JSON),
            "operations": max(0, len(found) - MOST_IN_JSON),
            "by_stage": max(0, len(stages) - MOST_IN_JSON),
            "unknown": trace.n_unknown - len(trace.unknown),
        },
        "known": dict(trace.known),
        "n_unknown": trace.n_unknown,
        "unknown": [{trace.places: one.place, "text": one.text, "why": one.why} for one in trace.unknown],
    }


def _amounts_json(one: Sum) -> dict[str, Any]:
    return {
        "group_sizes": list(one.group_sizes),
        "count": one.count,
        "size_bytes": one.size_bytes,
        "of_unknown_size": one.n_unsized,
        "measured_s": one.measured_s,
        "unmeasured": one.n_unmeasured,
    }


def _computing_json(one: Computing) -> dict[str, Any]:
    return {"compute_s": one.compute_s, "records": one.count, "untimed": one.n_untimed}


def _amounts(one: Sum, total_bytes: int) -> tuple[str, str, str, str]:
    """Return count, bytes, share of all bytes and measured seconds."""
    unsized = f" + {one.n_unsized:,} unknown" if one.n_unsized else ""
    share = f"{one.size_bytes / total_bytes:.1%}" if total_bytes else NOT_MEASURED
    return (
        f"{one.count:,}",
        f"{one.size_bytes:,}{unsized}",
        share,
        _time(one.measured_s, one.n_unmeasured, "unmeasured"),
    )


def _seconds(one: Computing | None) -> str:
    return NOT_MEASURED if one is None else _time(one.compute_s, one.n_untimed, "untimed")


def _time(seconds: float | None, n_without: int, what: str) -> str:
    """Return a sum of times, and how many it does not have."""
    if seconds is None:
        return NOT_MEASURED
    return f"{seconds:.6g} + {n_without:,} {what}" if n_without else f"{seconds:.6g}"


def _text(text: str | None) -> str:
    if text is None:
        return NOT_MEASURED
    begin = printable(text[: MOST_CHARACTERS + 1])
    return begin if len(begin) <= MOST_CHARACTERS else begin[:MOST_CHARACTERS] + "..."


def _sizes(sizes: Sequence[int]) -> str:
    rest = len(sizes) - MOST_SIZES
    more = [f"... {rest:,} more"] if rest > 0 else []
    return ", ".join([*(f"{size:,}" for size in sizes[:MOST_SIZES]), *more]) or NOT_MEASURED


def _more(n_lines: int) -> tuple[str, ...]:
    rest = n_lines - MOST_ROWS
    has = "them" if n_lines <= MOST_IN_JSON else f"more, but at most {MOST_IN_JSON:,}"
    return (f"... and {rest:,} lines more: --json has {has}",) if rest > 0 else ()


def _names(trace: Trace) -> list[str]:
    return sorted({record.rank for record in trace.records if record.rank is not None})


def _ranks(trace: Trace) -> tuple[str, ...]:
    said = "the file does not say of how many ranks the job is" if trace.n_ranks is None else f"{trace.n_ranks:,} ranks"
    sizes = group_sizes(trace)
    groups = [f"{_text(name)} {_sizes(sizes[name])}" for name in list(sizes)[:MOST_ROWS]]
    groups += [f"... {len(sizes) - MOST_ROWS:,} more"] if len(sizes) > MOST_ROWS else []
    names = _names(trace)
    several = (f"{len(names):,} ranks have records of their own here; sums are over all of them",)
    return (
        printable(said + (f"; groups of {', '.join(groups)}" if groups else "")),
        *(several if len(names) > 1 else ()),
    )


def _n_marks(trace: Trace) -> int:
    return sum(record.kind == "mark" for record in trace.records)


def _marks(trace: Trace) -> tuple[str, ...]:
    """Say that sums are over more than an iteration; a scenario replays one, ``trace_iteration``."""
    marks = _n_marks(trace)
    return (f"iterations end at {marks:,} marks; sums are over all of them, initialisation too",) if marks else ()


def _computing(trace: Trace) -> str:
    time = computing(trace)
    if time.compute_s is None:
        return f"computing: the file does not say how long ({time.count:,} records)"
    untimed = f"; {time.n_untimed:,} more do not say how long" if time.n_untimed else ""
    return f"computing: {time.compute_s:.6g} s in {time.count - time.n_untimed:,} records{untimed}"


def _known(trace: Trace) -> str:
    host = sum(record.kind == "host" for record in trace.records)
    counts = [f"{number:,} {what}" for what, number in trace.known]
    return "besides: " + (", ".join([*counts, *([f"{host:,} of the host's own"] if host else [])]) or "nothing")


def _unknown(trace: Trace) -> tuple[str, ...]:
    if not trace.n_unknown:
        return ("unknown: nothing",)
    shown = trace.unknown[:MOST_UNKNOWN]
    rest = trace.n_unknown - len(shown)
    return (
        f"unknown: {trace.n_unknown:,}",
        *(printable(f"  {trace.places} {one.place}: {one.why}: {one.text}") for one in shown),
        *((f"  ... and {rest:,} more",) if rest else ()),
    )

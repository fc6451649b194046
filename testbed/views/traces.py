"""What is in a trace: tables for the terminal, and the same as plain values for scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rich.console import RenderableType

from testbed.errors import printable
from testbed.traces.totals import Sum, communications, computing, computing_by_stage, group_sizes, sums
from testbed.traces.trace import Trace
from testbed.views.tables import NOT_MEASURED, Grid, rendered

MOST_ROWS: Final = 40
MOST_UNKNOWN: Final = 20


def trace_tables(trace: Trace) -> RenderableType:
    """Return a trace's totals by operation and group and by stage, and what was not understood."""
    return rendered([operation_grid(trace), stage_grid(trace)])


def operation_grid(trace: Trace) -> Grid:
    """Return a line per operation and group; how many ranks there are stands below."""
    found = sums(communications(trace), ("operation", "group"))
    rows = [(_text(one.key[0]), _text(one.key[1]), _sizes(one.group_sizes), *_amounts(one, found)) for one in found]
    return Grid(
        title=printable(f"{trace.source}: {trace.format}, {len(trace.records):,} records"),
        headers=("operation", "group", "ranks", "count", "bytes", "share", "measured\ns"),
        rows=(*rows[:MOST_ROWS], ("all", "", "", *_amounts(_whole(trace), found))),
        notes=(*_more(rows), *_ranks(trace)),
        labels=2,
    )


def stage_grid(trace: Trace) -> Grid:
    """Return a line per stage, with its computing; what is not understood stands below."""
    found = sums(communications(trace), ("stage",))
    times = {one.stage: one for one in computing_by_stage(trace)}
    silent = [stage for stage in times if all(one.key != (stage,) for one in found)]
    rows = [(_text(one.key[0]), *_amounts(one, found), _seconds(times, one.key[0])) for one in found]
    rows += [(_text(stage), "0", "0", NOT_MEASURED, NOT_MEASURED, _seconds(times, stage)) for stage in silent]
    return Grid(
        title="by stage",
        headers=("stage", "count", "bytes", "share", "measured\ns", "computing\ns"),
        rows=tuple(rows[:MOST_ROWS]),
        notes=(*_more(rows), _computing(trace), _known(trace), *_unknown(trace)),
    )


def trace_json(trace: Trace) -> dict[str, Any]:
    """Return totals, ranks and what was not understood as JSON has them."""
    time = computing(trace)
    by_stage = [
        {"stage": one.stage, "seconds": one.seconds, "records": one.count, "untimed": one.n_untimed}
        for one in computing_by_stage(trace)
    ]
    return {
        "source": trace.source,
        "format": trace.format,
        "records": len(trace.records),
        "n_ranks": trace.n_ranks,
        "group_sizes": {name: list(sizes) for name, sizes in group_sizes(trace).items()},
        "ranks_in_file": _names(trace),
        "operations": [
            {
                **dict(zip(("operation", "group", "stage"), one.key, strict=True)),
                "group_sizes": list(one.group_sizes),
                "count": one.count,
                "size_bytes": one.size_bytes,
                "of_unknown_size": one.n_unsized,
                "measured_s": one.measured_s,
            }
            for one in sums(communications(trace), ("operation", "group", "stage"))
        ],
        "computing": {
            "seconds": time.seconds,
            "records": time.count,
            "untimed": time.n_untimed,
            "by_stage": by_stage,
        },
        "known": dict(trace.known),
        "n_unknown": trace.n_unknown,
        "unknown": [{trace.places: one.place, "text": one.text, "why": one.why} for one in trace.unknown],
    }


def _whole(trace: Trace) -> Sum:
    (whole,) = sums(communications(trace), ()) or (
        Sum(key=(), count=0, size_bytes=0, n_unsized=0, group_sizes=(), measured_s=None),
    )
    return whole


def _amounts(one: Sum, all_of_them: Sequence[Sum]) -> tuple[str, str, str, str]:
    """Return count, bytes, share of all bytes and measured seconds."""
    total_bytes = sum(other.size_bytes for other in all_of_them)
    unsized = f" + {one.n_unsized:,} unknown" if one.n_unsized else ""
    share = f"{one.size_bytes / total_bytes:.1%}" if total_bytes else NOT_MEASURED
    measured = NOT_MEASURED if one.measured_s is None else f"{one.measured_s:.6g}"
    return f"{one.count:,}", f"{one.size_bytes:,}{unsized}", share, measured


def _seconds(times: dict[str | None, Any], stage: str | None) -> str:
    one = times.get(stage)
    return NOT_MEASURED if one is None or one.seconds is None else f"{one.seconds:.6g}"


def _text(text: str | None) -> str:
    return NOT_MEASURED if text is None else printable(text)


def _sizes(sizes: Sequence[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes) or NOT_MEASURED


def _more(rows: Sequence[object]) -> tuple[str, ...]:
    rest = len(rows) - MOST_ROWS
    return (f"... and {rest:,} lines more: --json has them",) if rest > 0 else ()


def _names(trace: Trace) -> list[str]:
    return sorted({record.rank for record in trace.records if record.rank is not None})


def _ranks(trace: Trace) -> tuple[str, ...]:
    said = "the file does not say of how many ranks the job is" if trace.n_ranks is None else f"{trace.n_ranks:,} ranks"
    groups = [f"{name} {_sizes(sizes)}" for name, sizes in group_sizes(trace).items()][:MOST_ROWS]
    names = _names(trace)
    several = (f"{len(names):,} ranks have records of their own here; sums are over all of them",)
    return (
        printable(said + (f"; groups of {', '.join(groups)}" if groups else "")),
        *(several if len(names) > 1 else ()),
    )


def _computing(trace: Trace) -> str:
    time = computing(trace)
    if time.seconds is None:
        return f"computing: the file does not say how long ({time.count:,} records)"
    untimed = f"; {time.n_untimed:,} more do not say how long" if time.n_untimed else ""
    return f"computing: {time.seconds:.6g} s in {time.count - time.n_untimed:,} records{untimed}"


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

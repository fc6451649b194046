"""Runs of training iterations as a table: how long, how much of it is communication, how it was scaled down."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from testbed.errors import printable
from testbed.views.cells import NOT_MEASURED, Grid, number_text, time_text
from testbed.views.comparison import INVALID, Comparison, Entry, describe
from testbed.views.words import reason_texts, unjudged_text

MAX_NAMES = 20


def training_run_grid(comparison: Comparison) -> Grid:
    """Return one line per run; the rule by which it was scaled down and the reasons of verdicts stand below."""
    entries = [entry for scheme in comparison.schemes for entry in comparison.of(scheme)]
    baseline = [entry for entry in comparison.of(comparison.schemes[0]) if entry.verdict != INVALID]
    first = {entry.seed: entry.number("completion_s") for entry in baseline}
    return Grid(
        title=f"{comparison.scenario.name}: {describe(comparison.scenario)}",
        headers=(
            *("scheme", "seed", "verdict", "time\ns", "exposed\n%", f"speed to\n{comparison.schemes[0]}"),
            *("of\nideal", "paths\nallow", "p50\nms", "p99\nms", "dropped/\nresent/\nreordered"),
        ),
        rows=tuple(_row(entry, first.get(entry.seed)) for entry in entries),
        notes=(
            "time: median training iteration; exposed: its part that a rank does not compute; speed: time of the first "
            "scheme's latest run with the same seed that is not INVALID over this one's; of ideal, paths allow: ideal "
            "time over it, and over what the flows' paths make of it",
            *training_notes(comparison),
            *([unjudged] if (unjudged := unjudged_text(entries)) else []),
            *reason_texts(entries),
        ),
        labels=3,
    )


def training_notes(comparison: Comparison) -> Iterator[str]:
    """Yield what the iteration is, how it was scaled down, and what it would take on an ideal network."""
    job = comparison.scenario.job
    if job is None:
        return
    yield from map(printable, job.rule())
    exposed = 1 - job.compute_s / job.ideal.duration_s
    stages = " and waiting for other stages" if len(job.stages) > 1 else ""  # a pipeline's bubble is no communication
    yield (
        f"on an ideal network (hosts' links always full): {time_text(job.ideal.duration_s)} s an iteration, "
        f"{exposed:.1%} of it exposed communication{stages}; {job.n_operations} operations of a rank"
    )


def operation_kinds(comparison: Comparison) -> tuple[str, ...]:
    """Return the kinds of operations that any run has measured, in the order of the first that has."""
    found: dict[str, None] = {}
    for entry in comparison.entries:
        training = entry.summary.get("training")
        operations = training.get("operations") if isinstance(training, Mapping) else None
        if isinstance(operations, Mapping):
            found.update(dict.fromkeys(printable(str(name)[:40]) for name in operations))
    return tuple(found)[:MAX_NAMES]


def _row(entry: Entry, first_s: float | None) -> tuple[str, ...]:
    completion_s, exposed = entry.number("completion_s"), entry.number("training", "exposed_share")
    packets = ("dropped_packets", "retransmitted_segments", "out_of_order_packets")
    return (
        entry.scheme,
        str(entry.seed),
        entry.verdict,
        time_text(completion_s),
        NOT_MEASURED if exposed is None else f"{exposed:.1%}".rstrip("%"),
        number_text(first_s / completion_s if first_s and completion_s else None, 3),
        number_text(entry.number("efficiency"), 3),
        number_text(entry.number("predicted_efficiency"), 3),
        number_text(entry.number("latency_ms", "p50"), 1),
        number_text(entry.number("latency_ms", "p99"), 1),
        "/".join(number_text(entry.number(key), 0) for key in packets),
    )

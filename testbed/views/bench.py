"""A collective at many sizes as nccl-tests prints it: one table per scheme, a line per size. Numbers and text only.

Columns are those of nccl-tests (``count`` is what its programs pass to NCCL: elements of a rank's part where the size
counts all ranks' parts), but rates are Mbit/s, for GB/s are all 0.00 on emulated links, ``time`` is the median of the
iterations, over seeds the median of that, and a verdict ends the line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final

from testbed.collectives.collective import Collective
from testbed.collectives.operation import ProgramOperation
from testbed.collectives.slices import FLOAT_BYTES
from testbed.errors import printable
from testbed.model.scenario import Scenario
from testbed.views.comparison import INVALID, describe
from testbed.views.sweep import NOT_RUN, RUN_FAILED, Group, SweepResults

FORMAT_VERSION: Final = 1
PARTS: Final[frozenset[ProgramOperation]] = frozenset({"reduce_scatter", "all_gather", "all_to_all"})
SUMS: Final[frozenset[ProgramOperation]] = frozenset({"allreduce", "reduce_scatter"})
NO_ROOT: Final = -1  # as nccl-tests prints it
UNKNOWN: Final = "-"
MODEL: Final = "model"
MODEL_TEXT: Final = (
    f"{MODEL}: busbw of max-min fair rates on the paths of these seeds, no queues, no losses (docs/fluid.md)"
)


@dataclass(frozen=True, slots=True)
class BenchRow:
    """One size under one scheme; numbers are None where no run that is not INVALID has them.

    ``wrong_elements`` is the sum over all runs, INVALID ones too. ``modelled_busbw_mbps``: what the fluid model has for
    the seeds of these numbers, where it has something.
    """

    size_bytes: int
    count: int
    time_us: float | None
    algbw_mbps: float | None
    busbw_mbps: float | None
    efficiency: float | None
    modelled_busbw_mbps: float | None
    wrong_elements: int | None
    host_bytes_off: float | None
    verdicts: dict[str, int]


def collective_of(results: SweepResults) -> Collective:
    """Return what was measured. Raises ValueError for a sweep of something else."""
    found = results.stored.sweep.points[0].collective
    if found is None or results.stored.sweep.field != "workload.size_bytes":
        raise ValueError(f"a sweep over {results.stored.sweep.field}, expected a collective over workload.size_bytes")
    return found


def bench_rows(results: SweepResults, scheme: str) -> tuple[BenchRow, ...]:
    """Return the lines of a scheme, in the order of the sizes."""
    return tuple(_row(results, group) for group in results.of(scheme))


def bench_lines(results: SweepResults) -> list[str]:
    """Return everything as lines of text, header lines beginning with ``#`` as nccl-tests' do."""
    scenario = results.stored.sweep.points[0]
    sweep, work = results.stored.sweep, scenario.workload
    lines = [
        f"# collective {collective_of(results).name} ranks {scenario.ranks} jobs {work.jobs} "
        f"minBytes {sweep.values[0]} maxBytes {sweep.values[-1]} warmup iters: {work.warmup_iterations} "
        f"iters: {work.iterations} seeds: {len(sweep.seeds)} validation: 1",
        f"# {printable(describe(scenario))}",
        "# rates in Mbit/s (10^6 bits), not GB/s; time: median of the iterations, common start to last rank",
        *([f"# {MODEL_TEXT}"] if results.modelled else []),
        *(f"# {printable(note)}" for note in results.notes()),
    ]
    for scheme in sweep.schemes:
        lines += ["#", *_table(results, scheme)]
    reasons = [f"# {line}" for line in _reasons(results)]
    return [*lines, "#", *reasons] if reasons else lines


def bench_document(results: SweepResults) -> dict[str, Any]:
    """Return everything as JSON."""
    scenario, sweep = results.stored.sweep.points[0], results.stored.sweep
    collective = collective_of(results)
    return {
        "format_version": FORMAT_VERSION,
        "sweep_dir": str(results.stored.path),
        "status": results.stored.status,
        "operation": collective.operation,
        "algorithm": collective.algorithm,
        "group_ranks": collective.group_ranks,
        "type": "float",
        "redop": _redop(collective),
        "root": _root(collective),
        "ranks": scenario.ranks,
        "jobs": scenario.workload.jobs,
        "bus_factor": collective.bus_factor(scenario.job_ranks),
        "iterations": scenario.workload.iterations,
        "seeds": list(sweep.seeds),
        "scenario": scenario.model_dump(mode="json"),
        "verdicts": results.counts(),
        "schemes": {
            scheme: {
                "rows": [
                    {name: getattr(row, name) for name in BenchRow.__slots__} for row in bench_rows(results, scheme)
                ],
                "mean_busbw_mbps": _mean_busbw(bench_rows(results, scheme)),
                "wrong_elements": _total_wrong(bench_rows(results, scheme)),
            }
            for scheme in sweep.schemes
        },
        "runs": results.document()["runs"],
    }


def _table(results: SweepResults, scheme: str) -> Iterator[str]:
    collective = collective_of(results)
    rows, seeds = bench_rows(results, scheme), results.stored.sweep.seeds
    yield f"# scheme {scheme}"
    names = ("size", "count", "type", "redop", "root", "time", "algbw", "busbw", "#wrong", MODEL, "verdict")
    yield _line(*names, comment=True)
    yield _line("(B)", "(elements)", "", "", "", "(us)", "(Mbit/s)", "(Mbit/s)", "", "(busbw)", "", comment=True)
    for row in rows:
        yield _line(
            str(row.size_bytes),
            str(row.count),
            "float",
            _redop(collective),
            str(_root(collective)),
            _number(row.time_us, 0),
            _number(row.algbw_mbps, 3),
            _number(row.busbw_mbps, 3),
            UNKNOWN if row.wrong_elements is None else str(row.wrong_elements),
            _number(row.modelled_busbw_mbps, 3),
            ", ".join(state if len(seeds) == 1 else f"{n} {state}" for state, n in row.verdicts.items()),
        )
    yield f"# Out of bounds values : {_out_of_bounds(rows)}"
    yield f"# Avg bus bandwidth    : {_average(rows)}"


def _line(*cells: str, comment: bool = False) -> str:
    widths = (12, 12, 8, 7, 7, 12, 10, 10, 7, 11)
    text = "  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=False))
    text = f"{text}  {cells[-1]}".rstrip()
    return f"#{text[1:]}" if comment else text


def _row(results: SweepResults, group: Group) -> BenchRow:
    scenario: Scenario = results.stored.sweep.points[group.point]
    size_bytes, collective = scenario.workload.size_bytes, collective_of(results)
    parts = scenario.job_ranks if collective.operation in PARTS else 1
    wrong = [member.numbers["wrong_elements"] for member in group.members]
    known = [round(one) for one in wrong if one is not None]
    middle = {key: group.median(key) for key in ("completion_s", "algbw_mbps", "busbw_mbps", "efficiency")}
    values = {key: None if found is None else found.median for key, found in middle.items()}
    off = group.median("host_bytes_off")
    modelled, efficiency = results.modelled.get((group.point, group.scheme)), values["efficiency"]
    limit_mbps = values["busbw_mbps"] / efficiency if values["busbw_mbps"] and efficiency else None
    return BenchRow(
        size_bytes=size_bytes,
        count=size_bytes // FLOAT_BYTES // parts,
        time_us=None if values["completion_s"] is None else values["completion_s"] * 1e6,
        algbw_mbps=values["algbw_mbps"],
        busbw_mbps=values["busbw_mbps"],
        efficiency=efficiency,
        modelled_busbw_mbps=None if modelled is None or limit_mbps is None else modelled * limit_mbps,
        wrong_elements=sum(known) if known else None,
        host_bytes_off=None if off is None else off.largest,
        verdicts=group.counts(),
    )


def _total_wrong(rows: Sequence[BenchRow]) -> int | None:
    """Return how many elements of all sizes were wrong; None where no result was checked."""
    known = [row.wrong_elements for row in rows if row.wrong_elements is not None]
    return sum(known) if known else None


def _out_of_bounds(rows: Sequence[BenchRow]) -> str:
    """Return that as nccl-tests says it, which knows no run without a result: OK is what was checked at every size."""
    wrong = _total_wrong(rows)
    if wrong is None:
        return UNKNOWN
    if wrong:
        return f"{wrong} FAILED"
    unchecked = sum(row.wrong_elements is None for row in rows)
    return f"0, {unchecked} of {len(rows)} sizes not checked" if unchecked else "0 OK"


def _average(rows: Sequence[BenchRow]) -> str:
    """Return the mean with its unit; of how many sizes where some have none, for small ones would pull it down."""
    mean, known = _mean_busbw(rows), sum(row.busbw_mbps is not None for row in rows)
    if mean is None:
        return UNKNOWN
    return f"{mean:.3f} Mbit/s" + (f", of {known} of {len(rows)} sizes" if known < len(rows) else "")


def _mean_busbw(rows: Sequence[BenchRow]) -> float | None:
    """Return the mean over the sizes that have one, as nccl-tests does."""
    known = [row.busbw_mbps for row in rows if row.busbw_mbps is not None]
    return fmean(known) if known else None


def _reasons(results: SweepResults) -> Iterator[str]:
    """Yield why runs are doubted, or have no numbers."""
    for group in results.groups:
        for member in group.members:
            if member.state in (INVALID, "SUSPECT", RUN_FAILED, NOT_RUN):
                reasons = member.entry.reasons if member.entry is not None else (member.stored.error or "not made",)
                which = f"{group.text} {group.scheme} seed {member.stored.run.seed}"
                yield f"{which} {member.state}: {printable('; '.join(reasons).splitlines()[0])}"


def _redop(collective: Collective) -> str:
    return "sum" if collective.operation in SUMS else "none"


def _root(collective: Collective) -> int:
    return (collective.root or 0) if collective.operation == "broadcast" else NO_ROOT


def _number(value: float | None, digits: int) -> str:
    return UNKNOWN if value is None else f"{value:.{digits}f}"

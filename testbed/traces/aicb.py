"""AICB's workloads and logs: CSV, one row per operation of a rank. Pure.

Fields are those of ``LogItem`` in aliyun/aicb ``log_analyzer/log.py``, names those of ``CommType`` and ``CommGroup`` in
``utils/utils.py``. ``msg_size`` is bytes, and nccl-tests' size: ``workload_applyer.py`` makes it the whole output of an
all-gather and the whole input of a reduce-scatter, and ``calc_bw_log`` divides it by the time for algbw.
``_elapsed_time`` has two units: in a log, milliseconds each row but barriers took (``utils/benchmark_logger.py``); in a
workload, nanoseconds a computation is to take (``time.sleep(_elapsed_time / 1e9)``), and rows that communicate have
none.

Whose rows they are stands above them: ``[rank0 ~ rank127]``, or for each stage of a pipeline, one after the other in a
file, ``[ pp_stage0: [rank0, rank1] ]``.

Not kept: ``dst`` and ``src`` (ranks of an operation's group), ``algbw`` and ``busbw`` (they follow from the rest).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from testbed.collectives.operation import Operation
from testbed.traces.findings import MAX_RANKS, Findings, number
from testbed.traces.lines import lines, raw_lines
from testbed.traces.trace import Record, Trace

OPERATIONS: Final[Mapping[str, Operation]] = {
    "all_reduce": "allreduce",
    "all_gather": "all_gather",
    "all_gather_into_tensor": "all_gather",
    "reduce_scatter": "reduce_scatter",
    "reduce_scatter_tensor": "reduce_scatter",
    "broadcast": "broadcast",
    "all_to_all": "all_to_all",
    "reduce": "reduce",
    "isend": "send",
    "irecv": "recv",
    "barrier": "barrier",
}
COMPUTATION: Final = "computation"
EPOCH_END: Final = "epoch_end"
HEADER: Final = "comm_type,"
TIME: Final = "_elapsed_time"
NEEDED: Final = ("comm_type", "comm_group", "msg_size", "stage")

_RANKS = re.compile(r"\[rank(\d{1,9}) ?~ ?rank(\d{1,9})\]")
_STAGE = re.compile(r"\[ ?(pp_stage\d{1,9}): ?\[(rank\d{1,9}(?:, ?rank\d{1,9})*)\] ?\]")
_NUMBER = re.compile(r"\d+")
_NOTHING = ("", "None", "nan")


class _Row(NamedTuple):
    place: int
    what: str  # comm_type without its class
    cells: dict[str, str]
    ranks: str | None
    line: str


@dataclass(slots=True)
class _Ranks:
    """Whom the rows below belong to, and the last rank of all."""

    names: str | None = None
    last: int = -1


def parse(data: bytes, source: str) -> Trace:
    """Read an AICB workload or log. Raises TraceError."""
    findings = Findings(source, "aicb", "line")
    ranks, is_log = _Ranks(), _is_log(data, findings)
    for row in _rows(data, ranks, findings):
        _add(row, findings, is_log=is_log)
    if ranks.last >= MAX_RANKS:
        findings.problem(None, "ranks are wrong", ranks.last, f"ranks from 0 to {MAX_RANKS - 1:,}")
    return findings.trace(n_ranks=ranks.last + 1 if ranks.last >= 0 else None)


def _is_log(data: bytes, findings: Findings) -> bool:
    """Whether operations have times. It decides what a time of computing is, which may stand above the first.

    A file in which some have one and others have none is neither: a problem, if there are times of computing in it.
    """
    first: dict[str, int] = {}  # where "timed" and "untimed" operations and "computing" with a time stand first
    for place, what, time in _times(data):
        if what == COMPUTATION:
            if number(time):
                first.setdefault("computing", place)
        elif number(time):
            first.setdefault("timed", place)
        elif what != "barrier" and time in _NOTHING:  # a log has no times of barriers; and 0 says nothing
            first.setdefault("untimed", place)
        if len(first) == 3:
            got = f"a time here and of the operation in line {first['timed']}, none in line {first['untimed']}"
            expected = f"{TIME} of all operations (a log, in ms) or of none (a workload, in ns)"
            findings.problem(first["computing"], "unit is unclear", got, expected)
            break
    return "timed" in first


def _times(data: bytes) -> Iterator[tuple[int, str, str]]:
    """Yield line, operation or ``COMPUTATION``, and time of each row that has a cell for it."""
    columns: list[str] = []
    for place, raw in raw_lines(data):
        line = raw.decode(errors="replace").strip()
        what = line.partition(",")[0].removeprefix("CommType.")
        if line.startswith(HEADER):
            columns = line.split(",")
        elif TIME in columns and (what in OPERATIONS or what == COMPUTATION):
            cells = split_row(line)
            if len(cells) == len(columns):
                yield place, what, cells[columns.index(TIME)].strip()


def _rows(data: bytes, ranks: _Ranks, findings: Findings) -> Iterator[_Row]:
    """Yield the rows; headers and what is no row are noted."""
    columns: tuple[str, ...] = ()
    for place, line in lines(data, findings):
        if not line.strip():
            findings.known("blank line")
        elif found := _ranks_below(line.strip()):
            ranks.names, ranks.last = found[0], max(ranks.last, found[1])
            findings.known("ranks of the rows below")
        elif line.startswith(HEADER):
            columns = tuple(line.strip().split(","))
            findings.known("header")
            if missing := [name for name in NEEDED if name not in columns]:
                findings.problem(place, "columns missing", line, f"{', '.join(missing)} too")
                return
        elif len(cells := split_row(line)) != len(columns):
            why = f"{len(cells)} cells below a header of {len(columns)}" if columns else "above the header"
            findings.unknown(place, line, why)
        else:
            named = dict(zip(columns, cells, strict=True))
            yield _Row(place, named["comm_type"].removeprefix("CommType."), named, ranks.names, line)


def _ranks_below(line: str) -> tuple[str, int] | None:
    """Return what a line calls the ranks that each do the rows below, and the last of them; None: it names none."""
    if match := _RANKS.fullmatch(line):
        return line[1:-1], max(int(match[1]), int(match[2]))
    if match := _STAGE.fullmatch(line):
        return match[1], max(int(number) for number in _NUMBER.findall(match[2]))
    return None


def split_row(line: str) -> list[str]:
    """Return the cells of a row. The shapes of matrices, ``((2048, 1, 4096), (4096, 512))``, are one cell, unquoted."""
    if "(" not in line:
        return line.split(",")
    cells, depth, begin = [], 0, 0
    for at, character in enumerate(line):
        depth = max(0, depth + (character == "(") - (character == ")"))
        if character == "," and not depth:
            cells.append(line[begin:at])
            begin = at + 1
    return [*cells, line[begin:]]


def _add(row: _Row, findings: Findings, *, is_log: bool) -> None:
    if (times := _cell(row, "count")) not in (None, "1", "1.0"):
        findings.unknown(row.place, row.line, f"count={times}: only rows that stand for one operation are understood")
    elif row.what in OPERATIONS:
        findings.record(_communication(row, findings))
    elif row.what == COMPUTATION:
        seconds = _elapsed(row, findings, per_second=1e3 if is_log else 1e9)
        findings.record(
            Record(place=row.place, kind="compute", stage=_cell(row, "stage"), compute_s=seconds, rank=row.ranks)
        )
    elif row.what == EPOCH_END:
        measured_s = _elapsed(row, findings, per_second=1e3)
        findings.record(Record(place=row.place, kind="mark", name=EPOCH_END, measured_s=measured_s, rank=row.ranks))
    else:
        findings.unknown(row.place, row.line, "no operation we know")


def _communication(row: _Row, findings: Findings) -> Record:
    group, group_size = _cell(row, "comm_group"), _cell(row, "comm_group_size")
    return Record(
        place=row.place,
        kind="communicate",
        operation=OPERATIONS[row.what],
        group=None if group is None else group.removeprefix("CommGroup.").removesuffix("_group"),
        group_size=None
        if group_size is None
        else findings.count(row.place, "comm_group_size", group_size, most=MAX_RANKS),
        size_bytes=_size_bytes(row, findings),
        stage=_cell(row, "stage"),
        name=_cell(row, "additional"),
        measured_s=_elapsed(row, findings, per_second=1e3),
        rank=row.ranks,
    )


def _size_bytes(row: _Row, findings: Findings) -> int | None:
    size = findings.count(row.place, "msg_size", row.cells["msg_size"])
    if row.what == "barrier" and size:  # a leftover of the generator: workload_applyer.py does not look at it
        findings.unknown(row.place, row.line, f"a barrier of {size} bytes, which moves none")
        return 0
    return size


def _elapsed(row: _Row, findings: Findings, *, per_second: float) -> float | None:
    text = _cell(row, TIME)
    return None if text is None else findings.seconds(row.place, TIME, text, per_second=per_second)


def _cell(row: _Row, column: str) -> str | None:
    text = row.cells.get(column, "").strip()
    return None if text in _NOTHING else text

"""The rows a run leaves behind, typed: one class per CSV file, one field per column. Pure.

Field names are column names; their order is the order of the columns. ``None`` is an empty cell and
means "not measured", never 0. Every ``*_s`` is in seconds since the run's ``t0`` unless it is a
duration. docs/results-format.md describes each column.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

# The programs that write rows start in every run: pydantic and all specifications would take each of them longer than
# everything else it imports.
if TYPE_CHECKING:
    from testbed.model.scenario import Scenario
    from testbed.model.schemes import SchemeSettings
    from testbed.model.topology import Topology

# Of a number that is not 0: beyond every count and every time a run can have, and below every quantity of one; sums and
# quotients of such numbers are still finite.
LEAST_MEASURED, MOST_MEASURED = 1e-18, 1e18
LEAST_S = 1e-9  # what takes less has not been measured
INTEGER_CHARACTERS = 20  # counters have 64 bits
# Rows of a table. Of all that is sampled links.csv grows fastest: 48 rows a sample on the default fabric. An hour at
# the shortest interval of any built-in scenario (0.04 s), where a run takes minutes, is 4.3 million; at the default of
# 0.1 s 5 million are 2.9 hours and, at 47 bytes a row, nearly all of the 256 MiB that a table may have.
MOST_ROWS = 5_000_000
SHARED_TEXTS = 1024  # cells of a column whose value is kept, to be used again where the same text comes again
SIGNED = frozenset({"error_fraction", "iteration"})  # other numbers are counts, times or rates: not below 0
_Converter = Callable[[str], Any]


class Row:
    """Base of all rows; ``FILE`` is the name of the CSV file, ``MOST`` how many rows it has at most."""

    FILE: ClassVar[str]
    MOST: ClassVar[int] = MOST_ROWS
    __slots__ = ()


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True, slots=True, kw_only=True)
class IterationRow(Row):
    """One iteration, from the common start to the last rank's end."""

    FILE: ClassVar[str] = "iterations.csv"
    MOST: ClassVar[int] = 101_000  # workload.iterations and workload.warmup_iterations, at most
    iteration: int
    warmup: bool
    size_bytes: int
    start_s: float
    end_s: float
    completion_s: float
    wrong_elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow(Row):
    """One rank in one iteration.

    ``max_gap_s`` is its longest pause between received bytes, ``start_lateness_s`` how long after the
    common start it really began.
    """

    FILE: ClassVar[str] = "ranks.csv"
    iteration: int
    warmup: bool
    rank: int
    host: str
    start_s: float
    end_s: float
    wrong_elements: int
    max_gap_s: float | None
    max_gap_at_s: float | None
    start_lateness_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowRow(Row):
    """One TCP flow from rank ``rank`` to its peer on ``dst_host``.

    Counters cover the measured part; ``path`` is None when not observed.
    """

    FILE: ClassVar[str] = "flows.csv"
    MOST: ClassVar[int] = 4096 * 400  # as many hosts, each with a rank of as many connections
    rank: int
    flow: int
    src_host: str
    dst_host: str
    src_ip: str
    dst_ip: str
    src_port: int
    dst_port: int
    path: str | None
    retransmitted_segments: int | None
    out_of_order_packets: int | None
    bytes_acked: int | None
    bytes_received: int | None
    busy_us: int | None = None
    rwnd_limited_us: int | None = None
    sndbuf_limited_us: int | None = None
    timeouts: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferRow(Row):
    """What one rank sent another in one iteration, from the common start until the last byte had been received."""

    FILE: ClassVar[str] = "transfers.csv"
    iteration: int
    warmup: bool
    src_rank: int
    dst_rank: int
    src_host: str
    dst_host: str
    size_bytes: int
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ComputingRow(Row):
    """How one rank computed in one training iteration.

    ``compute_s``: what was asked for; ``excess_s``: how much longer it took; ``latest_s``: lateness of the latest of
    its timers, which may have been made up for.
    """

    FILE: ClassVar[str] = "computing.csv"
    iteration: int
    warmup: bool
    rank: int
    host: str
    compute_s: float
    excess_s: float
    latest_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow(Row):
    """One operation of a group, or one message between two ranks, in one training iteration.

    ``number``: its place among the operations of ``first_rank``. ``issued_s``: when the first of its ranks came to it;
    ``start_s``: when the last had begun with it; ``end_s``: when it was over for the last.
    """

    FILE: ClassVar[str] = "operations.csv"
    iteration: int
    warmup: bool
    first_rank: int
    number: int
    ranks: int
    phase: str
    operation: str
    group: str
    size_bytes: int
    issued_s: float
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkRow(Row):
    """Cumulative counters of one interface."""

    FILE: ClassVar[str] = "links.csv"
    t_s: float
    intf: str
    tx_bytes: int
    tx_packets: int
    rx_bytes: int
    rx_packets: int
    rx_dropped: int
    tx_dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueRow(Row):
    """The egress queue of one interface: what waits now, and cumulative counters."""

    FILE: ClassVar[str] = "queues.csv"
    t_s: float
    intf: str
    backlog_bytes: int
    backlog_packets: int
    sent_bytes: int
    sent_packets: int
    dropped_packets: int
    overlimits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuRow(Row):
    """Cumulative seconds of one core of the machine (/proc/stat, tick-based)."""

    FILE: ClassVar[str] = "cpu.csv"
    t_s: float
    core: int
    user_s: float
    system_s: float
    idle_s: float
    iowait_s: float
    irq_s: float
    softirq_s: float
    steal_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRow(Row):
    """Cumulative run time and run-queue wait of one thread of the run (schedstat)."""

    FILE: ClassVar[str] = "threads.csv"
    t_s: float
    pid: int
    tid: int
    role: str
    name: str
    run_s: float
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SocketRow(Row):
    """Cumulative drops of one packet socket of ovs-vswitchd."""

    FILE: ClassVar[str] = "sockets.csv"
    t_s: float
    process: str
    inode_or_port: str
    drops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupRow(Row):
    """What one datapath of Open vSwitch did with packets; cumulative.

    ``hit``: it had a rule for them; ``missed``: it asked for one (an upcall); ``lost``: nobody took the question, and
    the packet was gone.
    """

    FILE: ClassVar[str] = "lookups.csv"
    t_s: float
    datapath: str
    hit: int
    missed: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftnetRow(Row):
    """What one core did with packets it received, whoever's; cumulative.

    ``dropped``: its backlog was full; ``squeezed``: it had to stop for a while with packets left.
    """

    FILE: ClassVar[str] = "softnet.csv"
    t_s: float
    core: int
    dropped: int
    squeezed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRow(Row):
    """One latency probe; ``latency_s`` is None when it was lost."""

    FILE: ClassVar[str] = "probes.csv"
    sent_s: float
    src_host: str
    dst_host: str
    seq: int
    latency_s: float | None
    send_lateness_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeQueueRow(Row):
    """What waited in its host's own egress queue just before a probe was sent; ``seq`` as in probes.csv."""

    FILE: ClassVar[str] = "probequeues.csv"
    sent_s: float
    src_host: str
    dst_host: str
    seq: int
    backlog_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageRow(Row):
    """One small message; ``latency_s`` is None when it had not arrived when the run was over."""

    FILE: ClassVar[str] = "messages.csv"
    sent_s: float
    src_host: str
    dst_host: str
    seq: int
    size_bytes: int
    latency_s: float | None
    send_lateness_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossFlowRow(Row):
    """One flow of the cross traffic; ``completion_s`` is None when it had not arrived whole when the run was over."""

    FILE: ClassVar[str] = "crossflows.csv"
    start_s: float
    kind: str
    burst: int | None
    src_host: str
    dst_host: str
    seq: int
    src_port: int
    size_bytes: int
    completion_s: float | None
    start_lateness_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRow(Row):
    """One replayed frame; ``latency_s`` is None when it had not arrived when the run was over."""

    FILE: ClassVar[str] = "replay.csv"
    MOST: ClassVar[int] = 2_000_000  # cross_traffic.replay.most_frames, at most
    sent_s: float
    frame: int
    src_host: str
    dst_host: str
    size_bytes: int
    latency_s: float | None
    send_lateness_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CalibrationRow(Row):
    """The rate of one link direction, as configured and as measured before the run."""

    FILE: ClassVar[str] = "calibration.csv"
    MOST: ClassVar[int] = 2 * (16_384 + 4096)  # both directions of every link between switches and to a host
    direction: str
    configured_mbps: float
    measured_mbps: float
    error_fraction: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Every row of a run, in file order. An empty tuple means the file is missing or has no rows."""

    iterations: tuple[IterationRow, ...] = ()
    ranks: tuple[RankRow, ...] = ()
    flows: tuple[FlowRow, ...] = ()
    transfers: tuple[TransferRow, ...] = ()
    operations: tuple[OperationRow, ...] = ()
    computing: tuple[ComputingRow, ...] = ()
    links: tuple[LinkRow, ...] = ()
    queues: tuple[QueueRow, ...] = ()
    cpu: tuple[CpuRow, ...] = ()
    threads: tuple[ThreadRow, ...] = ()
    sockets: tuple[SocketRow, ...] = ()
    lookups: tuple[LookupRow, ...] = ()
    softnet: tuple[SoftnetRow, ...] = ()
    probes: tuple[ProbeRow, ...] = ()
    probe_queues: tuple[ProbeQueueRow, ...] = ()
    messages: tuple[MessageRow, ...] = ()
    cross_flows: tuple[CrossFlowRow, ...] = ()
    replay: tuple[ReplayRow, ...] = ()
    calibration: tuple[CalibrationRow, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRecord:
    """All that is known of a finished run; what ``metrics`` and ``fidelity`` judge."""

    scenario: Scenario
    scheme: str
    seed: int
    events: tuple[Mapping[str, Any], ...]
    network: Mapping[str, Any]
    tables: Tables

    @property
    def topology(self) -> Topology:
        """The fabric the run was made on."""
        from testbed.model.topology import Topology

        return Topology(self.scenario.fabric)

    @property
    def switched_by_kernel(self) -> bool:
        """Whether the kernel's Open vSwitch carried the frames, not ovs-vswitchd itself."""
        return self.network.get("datapath") == "kernel"

    @property
    def settings(self) -> SchemeSettings:
        """What the run's scheme is."""
        from testbed.model.schemes import SETTINGS

        return SETTINGS[self.scheme]

    def events_named(self, event: str) -> tuple[Mapping[str, Any], ...]:
        """Return the events with this name, in order."""
        return tuple(item for item in self.events if item.get("event") == event)


def columns(row_type: type[Row]) -> tuple[str, ...]:
    """Return the column names of a table."""
    return tuple(field.name for field in fields(row_type))  # type: ignore[arg-type]


def cells_from_row(row: Row) -> list[str]:
    """Return the cells of a row: None is empty, a bool is 0 or 1, seconds are rounded to the nanosecond."""
    return [_cell(getattr(row, name)) for name in columns(type(row))]


def rows_from_columns(
    row_type: type[RowT], header: Sequence[str], lines: Iterable[Sequence[str]], *, older: bool = False
) -> list[RowT]:
    """Read many rows at once. Raises ValueError with the 1-based number of the offending row, and for too many.

    The header must name the table's columns, in any order. One that has a default was added later: a table of an
    ``older`` format version may lack it, and then nobody has measured it.
    """
    expected = columns(row_type)
    added = {field.name for field in fields(row_type) if field.default is not MISSING}  # type: ignore[arg-type]
    required = set(expected) - added if older else set(expected)
    if len(set(header)) != len(header) or not required <= set(header) <= set(expected):
        raise ValueError(f"columns are {','.join(header)}, expected {','.join(expected)}")
    converters = _converters(row_type)
    # Names, moments and counters that stand still come again and again: one value for all rows that have the same text.
    shared: list[tuple[str, _Converter, dict[str, Any]]] = [(name, converters[name], {}) for name in header]
    rows = []
    for number, line in enumerate(lines, start=1):
        if number > row_type.MOST:
            raise ValueError(f"more than {row_type.MOST:,} rows")
        if len(line) != len(header):
            raise ValueError(f"row {number} has {len(line)} cells, expected {len(header)}")
        values = {}
        for (name, convert, known), text in zip(shared, line, strict=True):
            value = known.get(text, known)  # itself, which is no value of a cell: not known
            if value is known:
                try:
                    value = convert(text)
                except ValueError as error:
                    raise ValueError(f"row {number}, column {name}: {error}") from None
                if len(known) >= SHARED_TEXTS:
                    known.clear()
                known[text] = value
            values[name] = value
        rows.append(row_type(**values))
    return rows


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    if isinstance(value, float):
        return repr(round(value, 9))
    return str(value)


def _converters(row_type: type[Row]) -> dict[str, _Converter]:
    hints = typing.get_type_hints(row_type)
    return {name: _converter(hints[name], signed=name in SIGNED) for name in columns(row_type)}


def _converter(hint: Any, *, signed: bool) -> _Converter:
    if isinstance(hint, types.UnionType):
        (inner,) = (argument for argument in typing.get_args(hint) if argument is not type(None))
        convert = _converter(inner, signed=signed)
        return lambda text: None if text == "" else convert(text)
    converters: dict[type, _Converter] = {
        bool: _bool,
        int: _integer if signed else _count,
        float: _finite if signed else _measured,
        str: _text,
    }
    return converters[hint]


def _bool(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"{text!r} is neither 0 nor 1")
    return text == "1"


def _finite(text: str) -> float:
    value = float(text)
    if not abs(value) <= MOST_MEASURED:  # nan too
        raise ValueError(f"{text[:40]!r} is not a finite number of at most {MOST_MEASURED:g}")
    if 0 < abs(value) < LEAST_MEASURED:  # ours have nine decimals
        raise ValueError(f"{text[:40]!r} is neither 0 nor at least {LEAST_MEASURED:g}")
    return value


def _measured(text: str) -> float:
    value = _finite(text)
    if value < 0:
        raise ValueError(f"{text[:40]!r} is negative")
    return value


def _integer(text: str) -> int:
    if len(text) > INTEGER_CHARACTERS:
        raise ValueError(f"{text[:40]!r} is too large a number")
    return int(text)


def _count(text: str) -> int:
    value = _integer(text)
    if value < 0:
        raise ValueError(f"{text[:40]!r} is negative")
    return value


def _text(text: str) -> str:
    if not text:
        raise ValueError("empty, expected text")
    return text

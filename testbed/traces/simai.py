"""SimAI's workloads (and ASTRA-sim 1.0's): text, one row of twelve columns per layer. Pure.

Columns, after ``initialize_workload`` in aliyun/SimAI ``astra-sim-alibabacloud/astra-sim/workload/Workload.cc``: name,
dependency, then for the forward pass, the input's gradient and the weights' gradient each: computing (ns), operation,
bytes; at last a delay of the simulator after each operation, which is neither kept nor counted.

The group is in the operation's name: ``_EP`` is ep, ``_DP_EP`` is the data-parallel ranks of one expert (dp_ep), and a
plain name is tp in the first two passes and dp in the last (``GroupType`` there). Group sizes are in the header, but
dp's, which is ranks / (tp x pp) (``Layer::report``). Bytes are nccl-tests' size: ``compute_busbw`` in ``Layer.cc``
divides them by the time for algbw, and AICB's ``Work_Item`` has all parameters as the size of an all-gather.
Nanoseconds: AIOB's microseconds times 1000 (``extract_averages`` in aliyun/aicb ``utils/utils.py``); made without AIOB
every layer has 1 (``default_compute_time``), which says nothing of computing and is taken for 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from testbed.collectives.operation import Operation
from testbed.traces.findings import MAX_RANKS, MAX_RECORDS, Findings
from testbed.traces.lines import lines
from testbed.traces.trace import Record, Trace

POLICIES: Final = (
    "MICRO",
    "DATA",
    "MODEL",
    "HYBRID_DATA_MODEL",
    "HYBRID_MODEL_DATA",
    "HYBRID_CUSTOMIZED",
    "HYBRID_TRANSFORMER",
    "HYBRID_TRANSFORMER_FWD_IN_BCKWD",
    "HYBRID_DLRM",
    "HYBRID_DLRM_ENHANCED",
    "DISTRIBUTED_INFERENCE",
)
OPERATIONS: Final[Mapping[str, Operation]] = {
    "ALLREDUCE": "allreduce",
    "ALLGATHER": "all_gather",
    "REDUCESCATTER": "reduce_scatter",
    "ALLTOALL": "all_to_all",
    "BROADCAST": "broadcast",  # AICB writes it, the simulator takes it for nothing
}
PASSES: Final = (("forward", 2, "tp"), ("input_grad", 5, "tp"), ("weight_grad", 8, "dp"))  # stage, column, plain group
GROUPS: Final = {"_EP": "ep", "_DP_EP": "dp_ep"}
COLUMNS: Final = 12
SETTINGS: Final = ("vpp", "ga", "mode", "checkpoints", "checkpoint_initiates", "DLRM_LAST_BOTTOM_LAYER")
SIZES: Final = {"model_parallel_NPU_group": "tp", "ep": "ep", "pp": "pp", "all_gpus": "all"}
PIPELINE: Final = "pp_comm"
UNTIMED: Final = frozenset((b"0", b"1"))

_OPERATION = re.compile(rf"({'|'.join(OPERATIONS)})(_EP|_DP_EP)?")


def parse(data: bytes, source: str) -> Trace:
    """Read a SimAI workload. Raises TraceError."""
    findings = Findings(source, "simai", "line")
    sizes: dict[str, int] = {}
    said: int | None = None
    policy, rows, timed = "", 0, not _is_untimed(data)
    for place, line in lines(data, findings):
        words = line.split()
        if place == 1:
            policy, sizes = _header(words, findings)
        elif place == 2:
            said = findings.count(place, "number of layers", line.strip(), most=MAX_RECORDS)
            findings.known("number of layers")
        elif not words:
            findings.known("blank line")
        else:
            rows += 1
            _layer(place, line, words, COLUMNS + (policy == "HYBRID_CUSTOMIZED"), sizes, timed, findings)
    if said is not None and said != rows:
        findings.problem(2, "number of layers is wrong", f"{said:,} and {rows:,} rows below", "as many rows as it says")
    n_ranks = sizes.pop("all", None)
    return findings.trace(n_ranks=n_ranks, group_sizes=sizes)


def looks_like_simai(first: Sequence[str], second: str) -> bool:
    """Whether these are the words of the first line and the second line of such a file."""
    return bool(first) and first[0] in POLICIES and second.strip().isdecimal()


def _is_untimed(data: bytes) -> bool:
    """Whether no layer computes for longer than what stands where nothing was measured."""
    found: set[bytes] = set()
    for line in data.splitlines()[2:]:
        words = line.split()
        if len(words) >= COLUMNS:
            found.update(words[column] for _stage, column, _group in PASSES)
        if found - UNTIMED:
            return False
    return b"1" in found


def _header(words: list[str], findings: Findings) -> tuple[str, dict[str, int]]:
    """Return the policy and the sizes of groups; 0 is how a file says nothing."""
    policy = words[0] if words else ""
    if policy in POLICIES:
        findings.known("header")
    else:
        findings.unknown(1, " ".join(words), "no parallelism policy we know")
    sizes: dict[str, int] = {}
    for name, value in _settings(words[1:]):
        if name in SIZES:
            number = findings.count(1, name, value, most=MAX_RANKS)
            if number:
                sizes[SIZES[name]] = number
        elif name == PIPELINE and value not in ("0", ""):
            findings.unknown(1, f"{name} {value}", "bytes between pipeline stages, of which the file has no records")
        elif name not in (*SETTINGS, PIPELINE):
            findings.unknown(1, f"{name} {value}".strip(), "no setting we know")
    return policy, _with_dp(sizes)


def _settings(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield name and value of every setting in a header. Some name no more than a list of layers: numbers alone."""
    at = 0
    while at < len(words):
        name, at = words[at].removesuffix(":"), at + 1
        values = []
        while at < len(words) and words[at].removeprefix("-").isdecimal():
            values.append(words[at])
            at += 1
        if name.isdecimal():  # HYBRID_DLRM of ASTRA-sim: its last bottom layer without a name
            continue
        yield name, " ".join(values)


def _with_dp(sizes: dict[str, int]) -> dict[str, int]:
    if not sizes.keys() >= {"all", "tp", "pp"}:
        return sizes
    dp, rest = divmod(sizes["all"], sizes["tp"] * sizes["pp"])
    if rest or not dp:
        return sizes
    whole = {**sizes, "dp": dp}
    if "ep" in sizes and dp % sizes["ep"] == 0:
        whole["dp_ep"] = dp // sizes["ep"]
    return whole


def _layer(
    place: int,
    line: str,
    words: Sequence[str],
    columns: int,
    sizes: Mapping[str, int],
    timed: bool,
    findings: Findings,
) -> None:
    """Add the three passes of a layer."""
    if len(words) != columns:
        findings.unknown(place, line, f"{len(words)} columns, not {columns}")
        return
    for stage, column, plain in PASSES:
        nanoseconds, operation, size = words[column : column + 3]
        compute_s = findings.seconds(place, f"{stage} computing", nanoseconds if timed else "0", per_second=1e9)
        if operation == "NONE":
            findings.record(Record(place=place, kind="compute", stage=stage, name=words[0], compute_s=compute_s))
            continue
        size_bytes = findings.count(place, f"{stage} bytes", size)
        match = _OPERATION.fullmatch(operation)
        if match is None:
            findings.unknown(place, f"{words[0]} {stage}: {operation} {size}", "no operation we know")
            findings.record(Record(place=place, kind="compute", stage=stage, name=words[0], compute_s=compute_s))
            continue
        group = GROUPS.get(match[2] or "", plain)
        findings.record(
            Record(
                place=place,
                kind="communicate",
                operation=OPERATIONS[match[1]],
                group=group,
                group_size=sizes.get(group),
                size_bytes=size_bytes,
                stage=stage,
                name=words[0],
                compute_s=compute_s,
            )
        )

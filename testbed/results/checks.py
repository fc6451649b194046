"""Is what a result directory says possible? Results come from strangers too: everything is checked before use. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from testbed.errors import Problem, ResultsError
from testbed.evaluation.records import (
    INTEGER_CHARACTERS,
    LEAST_MEASURED,
    MOST_MEASURED,
    ComputingRow,
    CrossFlowRow,
    FlowRow,
    IterationRow,
    MessageRow,
    OperationRow,
    ProbeQueueRow,
    RankRow,
    ReplayRow,
    Row,
    TransferRow,
)
from testbed.fidelity.verdict import Level
from testbed.model.oracle import parse_path
from testbed.model.scenario import MAX_SEED, SCHEMES, Scenario
from testbed.model.topology import Topology

FORMAT_VERSION = 3  # what is written
READABLE_VERSIONS = (1, 2, FORMAT_VERSION)  # tables of an older version may lack columns that were added since
FOLDER_NAME: Final = re.compile(r"[A-Za-z0-9][\w.-]*")  # of a run beside others: never a path to elsewhere
MOST_DEPTH: Final = 100  # of JSON; ours is nested some ten deep
VERDICTS: Final = tuple(level.value for level in Level)
_NUMBER = (int, float)
MANIFEST_FIELDS: Mapping[str, type] = {
    "run_id": str,
    "scenario": dict,
    "scheme": str,
    "seed": int,
    "events": list,
    "network": dict,
    "versions": dict,
}
# Of events that numbers or verdicts depend on, the fields they use.
EVENT_FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "fault": {"t_s": _NUMBER, "action": str, "target": str},
    "process_died": {"t_s": _NUMBER, "role": str},
    "process_stopped": {"t_s": _NUMBER, "name": str},
    "read_back": {"differences": list},
    "gsos_jobs": {"before": dict, "after": dict},
    "path_changes": {"gsps": list, "changes": list},
    "rank_started": {"t_s": _NUMBER, "rank": int, "host": str},
    "rank_ended": {"t_s": _NUMBER, "rank": int, "host": str},
    "program_failed": {"message": str},
    "reported": {"rank": int, "values": dict},
    "tcp": {"hosts": dict},
}


def parse_json(text: str) -> Any:
    """Return decoded JSON whose numbers are all finite and not absurd, and which is not nested more deeply than ours.

    What is may be decoded, and then be too deep for whoever goes through it. Raises ValueError or RecursionError.
    """
    value = json.loads(text, parse_int=_integer, parse_float=_finite, parse_constant=_finite)
    level = [value]
    for _depth in range(MOST_DEPTH):
        level = [part for whole in level for part in _parts(whole) if isinstance(part, dict | list)]
        if not level:
            return value
    raise ValueError(f"nested more than {MOST_DEPTH} deep")


def _parts(whole: Any) -> Iterable[Any]:
    return whole.values() if isinstance(whole, dict) else whole if isinstance(whole, list) else ()


def _integer(text: str) -> int:
    if len(text) > INTEGER_CHARACTERS:
        raise ValueError(f"{text[:20]}... is too large a number")
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not abs(value) <= MOST_MEASURED:
        raise ValueError(f"{text[:20]} is not a number of at most {MOST_MEASURED:g}")
    return value


def manifest_problems(manifest: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield what is wrong with a manifest; its scenario is for the scenario model to judge."""
    if not _is(manifest.get("format_version"), int) or manifest["format_version"] not in READABLE_VERSIONS:
        got, expected = _shown(manifest.get("format_version")), f"{READABLE_VERSIONS[0]}..{READABLE_VERSIONS[-1]}"
        yield Problem("unknown result format", f"{where}: format_version", got, expected)
        return
    for name, kind in MANIFEST_FIELDS.items():
        if not _is(manifest.get(name), kind):
            got = _shown(manifest.get(name))
            yield Problem("missing or of a wrong type", f"{where}: {name}", got, kind.__name__)
    wanted = {
        "status": (manifest.get("status") == "finished", "finished"),
        "scheme": (manifest.get("scheme") in SCHEMES, f"one of {', '.join(SCHEMES)}"),
        "seed": (_is(manifest.get("seed"), int) and 0 <= manifest["seed"] <= MAX_SEED, f"0..{MAX_SEED}"),
    }
    for name, (right, expected) in wanted.items():
        if not right:
            yield Problem("not valid", f"{where}: {name}", _shown(manifest.get(name)), expected)
    if "program" in manifest and not isinstance(manifest["program"], dict):
        yield Problem("of a wrong type", f"{where}: program", _shown(manifest["program"]), "dict")
    yield from tries_problems(manifest, where)
    events = manifest.get("events")
    for index, event in enumerate(events if isinstance(events, list) else ()):
        if not _is_event(event):
            yield Problem("not an event", f"{where}: events.{index}", _shown(event), "see docs/results-format.md")


def tries_problems(manifest: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield what is wrong with the tries a manifest names; a run that was made once has none."""
    tries = manifest.get("earlier_tries", [])
    if not _is_list_of(tries, str) or not all(FOLDER_NAME.fullmatch(name) for name in tries):
        yield Problem(
            "not valid", f"{where}: earlier_tries", _shown(tries), "a list of names of folders beside the run"
        )


def summary_problems(summary: Mapping[str, Any], manifest: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield where a summary contradicts the manifest beside it, or has no verdict to go by."""
    wanted = {name: manifest[name] for name in ("scheme", "seed", "format_version")}
    wanted |= {"scenario": manifest["scenario"].get("name")}
    for name, value in wanted.items():
        if summary.get(name) != value:
            got = _shown(summary.get(name))
            yield Problem("not what the manifest says", f"{where}: {name}", got, _shown(value))
    yield from verdict_problems(summary, where)


def verdict_problems(summary: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield what is wrong with a summary's verdict and what it rests on."""
    if summary.get("verdict") not in VERDICTS:
        yield Problem("not valid", f"{where}: verdict", _shown(summary.get("verdict")), f"one of {', '.join(VERDICTS)}")
    if not _is_list_of(summary.get("reasons"), str):
        yield Problem("not valid", f"{where}: reasons", _shown(summary.get("reasons")), "a list of texts")
    yield from checks_problems(summary, where)


def checks_problems(summary: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """Yield what is wrong with the checks a summary names; old ones name none."""
    checks = summary.get("checks", [])
    if not _is_list_of(checks, str):
        yield Problem("not valid", f"{where}: checks", _shown(checks), "a list of names of checks")


def number_in(summary: Mapping[str, Any], keys: Sequence[str], where: str) -> float | None:
    """Return a number of a summary, e.g. that of ``("latency_ms", "p50")``; None when it was not measured.

    Raises ResultsError when it is something else, or so large or small that no run has measured it.
    """
    value: Any = summary
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return None if value is None else checked_number(value, f"{where}: {'.'.join(keys)}")


def checked_number(value: object, where: str) -> float:
    """Return a number that a run may have measured. Raises ResultsError when it is something else."""
    if (
        not isinstance(value, _NUMBER)
        or isinstance(value, bool)
        or not (value == 0 or LEAST_MEASURED <= value <= MOST_MEASURED)
    ):
        expected = f"0, a number from {LEAST_MEASURED:g} to {MOST_MEASURED:g}, or null"
        raise ResultsError(Problem("not valid", where, _shown(value), expected))
    return value


def table_problems(rows: Sequence[Row], scenario: Scenario, where: str) -> Iterator[Problem]:
    """Yield what rows say that cannot be on this fabric."""
    topology = Topology(scenario.fabric)
    hosts = {host.name for host in topology.hosts}
    for number, row in enumerate(rows, start=1):
        for name, right, expected in _rules(row, scenario, topology, hosts):
            if not right:
                got = _shown(getattr(row, name))
                yield Problem("not possible here", f"{where}: row {number}, column {name}", got, expected)


def _rules(row: Row, scenario: Scenario, topology: Topology, hosts: set[str]) -> Iterator[tuple[str, bool, str]]:
    """Yield (column, whether it is possible, what was expected)."""
    if isinstance(row, (IterationRow, RankRow, TransferRow, OperationRow)):
        yield "end_s", row.end_s >= row.start_s, f"at least start_s={row.start_s:g}"
    for name in ("rank", "src_rank", "dst_rank", "first_rank"):
        if hasattr(row, name):
            yield name, getattr(row, name) < scenario.ranks, f"0..{scenario.ranks - 1}"
    if isinstance(row, OperationRow):
        yield "start_s", row.start_s >= row.issued_s, f"at least issued_s={row.issued_s:g}"
    if isinstance(row, (RankRow, ComputingRow)):
        yield "host", row.host in hosts, f"h1..h{len(hosts)}"
    if isinstance(row, (TransferRow, ProbeQueueRow, MessageRow, CrossFlowRow, ReplayRow)):
        for name in ("src_host", "dst_host"):
            yield name, getattr(row, name) in hosts, f"h1..h{len(hosts)}"
    if isinstance(row, CrossFlowRow):
        yield from _cross_rules(row)
    if isinstance(row, FlowRow):
        yield "path", row.path is None or _is_path(topology, row.path), "a path of this fabric"


def _cross_rules(row: CrossFlowRow) -> Iterator[tuple[str, bool, str]]:
    burst = row.kind == "burst"
    yield "kind", row.kind in ("poisson", "burst"), "poisson or burst"
    yield "burst", (row.burst is not None) == burst, "a number" if burst else "nothing"
    yield "size_bytes", row.size_bytes > 0, "at least a byte"


def _is_path(topology: Topology, name: str) -> bool:
    try:
        parse_path(topology, name)
    except ValueError:
        return False
    return True


def _is_event(event: object) -> bool:
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return False
    needed = EVENT_FIELDS.get(event["event"], {})
    return all(_is(event.get(name), kind) for name, kind in needed.items())


def _is_list_of(value: object, kind: type) -> bool:
    return isinstance(value, list) and all(_is(one, kind) for one in value)


def _is(value: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


def _shown(value: object) -> str:
    return repr(value)[:60] if not isinstance(value, (dict, list)) else f"a value of type {type(value).__name__}"

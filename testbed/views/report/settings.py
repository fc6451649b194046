"""What a question was asked with, what its runs were made by, and how to ask it again."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from testbed.errors import TestbedError
from testbed.model.question import question_of
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.model.yaml_input import parse_settings
from testbed.results.json_files import json_text
from testbed.results.sweeps import StoredSweep
from testbed.runs.scenario_files import builtin_names, load_builtin
from testbed.views.cells import Grid
from testbed.views.comparison import Comparison, Entry

COMMIT: Final = re.compile(r"([0-9a-f]{7,40})(-dirty)?")
YAML_WORDS: Final = ("null", "true", "false", "yes", "no", "on", "off", "y", "n")  # texts that are not read as texts
SHOWN_COMMIT: Final = 10
MOST_VALUE_CHARACTERS: Final = 300
MOST_LIST_CHARACTERS: Final = 2000  # of names with values, such as packages with their versions
# What is said of code and machine: where it is in the manifest, and how it is called.
PROVENANCE: Final[Mapping[str, tuple[str, ...]]] = {
    "gse-testbed": ("versions", "gse_testbed"),
    "commit": ("versions", "commit"),
    "Python": ("versions", "python"),
    "kernel": ("versions", "kernel"),
    "Open vSwitch": ("versions", "open_vswitch"),
    "its buffers": ("versions", "switch_buffers"),
    "switches look at their ports once in, s": ("network", "switch_wake_interval_s"),
    "iperf3": ("versions", "iperf3"),
    "iproute2": ("versions", "iproute2"),
    "Python packages": ("versions", "packages"),
    "distribution": ("machine", "distribution"),
    "processor": ("machine", "cpu"),
    "cores": ("machine", "cores"),
    "architecture": ("machine", "architecture"),
    "datapath": ("network", "datapath"),
    "congestion control": ("network", "congestion_control"),
    "settings read back": ("network", "read_back"),
}


def named_fields(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted name and value of every field; lists are values."""
    if isinstance(value, Mapping) and value:
        for name, one in value.items():
            yield from named_fields(one, f"{prefix}.{name}" if prefix else str(name))
    else:
        yield prefix, value


def settings_grids(scenario: Scenario) -> tuple[Grid, Grid]:
    """Return what differs from defaults, and everything else."""
    both = (scenario, Scenario(name=scenario.name))
    own, usual = (dict(named_fields(question_of(one, but=["name"]))) for one in both)
    changed = [
        (name, _value(value), _value(usual.get(name))) for name, value in own.items() if value != usual.get(name)
    ]
    same = [(name, _value(value)) for name, value in own.items() if value == usual.get(name)]
    note = () if changed else ("every setting is at its default",)
    return (
        Grid("Settings that differ from defaults", ("setting", "here", "default"), tuple(changed), note, labels=1),
        Grid("Settings at their defaults", ("setting", "value"), tuple(same), ()),
    )


def _value(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        text = value
    elif value is None:
        text = "unset"
    return text if len(text) <= MOST_VALUE_CHARACTERS else f"{text[:MOST_VALUE_CHARACTERS]}..."


def provenance_grids(entries: Sequence[Entry], scenario_hash: str) -> tuple[Grid, Grid]:
    """Return code and machine, each value once over all runs; and the runs themselves."""
    manifests = [entry.run.manifest for entry in entries]
    rows = [("scenario hash", scenario_hash)]
    for name, keys in PROVENANCE.items():
        found = [text for manifest in manifests if (text := _at(manifest, keys))]
        if found:
            rows.append((name, "; ".join(dict.fromkeys(found))))
    runs = [
        (
            entry.scheme,
            str(entry.seed),
            entry.verdict,
            _at(entry.run.manifest, ("started_utc",)) or "-",
            _short_commit(entry),
            str(entry.tries),
            entry.run.path.name,
        )
        for entry in sorted(entries, key=lambda entry: entry.run.path.name)
    ]
    headers = ("scheme", "seed", "verdict", "started (UTC)", "commit", "tries", "folder")
    return (
        Grid("Code and machine", ("what", "value"), tuple(rows), (), labels=2),
        Grid("Runs, in order", headers, tuple(runs), ("tries: a run that others disturbed is made again",), labels=7),
    )


def _at(manifest: Mapping[str, Any], keys: Sequence[str]) -> str:
    value: Any = manifest
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {one}" for name, one in value.items())[:MOST_LIST_CHARACTERS]
    return "" if value is None else str(value)[:MOST_VALUE_CHARACTERS]


def _commit_match(entry: Entry) -> re.Match[str] | None:
    """Return the commit a run was made from, if it can be one; group 2 is ``-dirty`` for a changed checkout."""
    return COMMIT.fullmatch(_at(entry.run.manifest, ("versions", "commit")))


def _short_commit(entry: Entry) -> str:
    found = _commit_match(entry)
    return "-" if found is None else f"{found[1][:SHOWN_COMMIT]}{found[2] or ''}"


def reproduction(comparison: Comparison, entries: Sequence[Entry]) -> tuple[str, list[str]]:
    """Return the commands that make these runs again, and what has to be known of them."""
    scenario, seeds = comparison.scenario, sorted({entry.seed for entry in entries})
    chosen = ["--schemes", ",".join(comparison.schemes), "--seeds", _seeds_text(seeds)]
    changes = builtin_changes(scenario)
    source = f"{scenario.name}.json" if changes is None else scenario.name
    command = ["sudo", "./gse", "run", source, *(changes or ()), *chosen]
    show = ["./gse", "report", f"results/{scenario.name}"]
    checkout, notes = _checkout(entries)
    if changes is None:
        notes.append(f"save the scenario below as {source} first")
    return "\n".join([*checkout, shlex.join(command), shlex.join(show)]), notes


def sweep_reproduction(stored: StoredSweep, entries: Sequence[Entry]) -> tuple[str, list[str]]:
    """Return the commands that make a sweep again, and what has to be known of them."""
    sweep = stored.sweep
    scenario = sweep.points[0]
    changes = builtin_changes(scenario, but=sweep.field)
    source = f"{scenario.name}.json" if changes is None else scenario.name
    over = f"{sweep.field}={','.join(_yaml(value) for value in sweep.values)}"
    chosen = ["--schemes", ",".join(sweep.schemes), "--seeds", _seeds_text(list(sweep.seeds))]
    command = ["sudo", "./gse", "sweep", source, "--over", over, *(changes or ()), *chosen]
    checkout, notes = _checkout(entries)
    if changes is None:
        notes.append(f"save the scenario below as {source} first")
    return "\n".join([*checkout, shlex.join(command)]), notes


def builtin_changes(scenario: Scenario, but: str = "") -> list[str] | None:
    """Return ``--set`` arguments that make a built-in scenario this one; None where it is none, or they would not.

    ``but``: a field that is set otherwise. That they do is tried, not assumed.
    """
    if scenario.name not in builtin_names():
        return None
    base = load_builtin(scenario.name)
    usual, own = (dict(named_fields(question_of(one))) for one in (base, scenario))
    texts = [f"{name}={_yaml(value)}" for name, value in own.items() if value != usual.get(name, ...) and name != but]
    try:
        again = override(base, {**parse_settings(texts), "schemes": scenario.schemes, "seeds": scenario.seeds})
    except TestbedError:
        return None
    found = dict(named_fields(question_of(again)))
    if any(found.get(name, ...) != value for name, value in own.items() if name != but):
        return None
    return [word for text in texts for word in ("--set", text)]


def _yaml(value: Any) -> str:
    """Return a value as ``--set`` reads it."""
    if isinstance(value, str) and re.fullmatch(r"[a-z][a-z0-9_-]*", value) and value not in YAML_WORDS:
        return value
    return json.dumps(value, ensure_ascii=False)


def _seeds_text(seeds: Sequence[int]) -> str:
    if list(seeds) == list(range(1, len(seeds) + 1)):
        return str(len(seeds))
    return ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")


def _checkout(entries: Sequence[Entry]) -> tuple[list[str], list[str]]:
    found = [match for entry in entries if (match := _commit_match(entry)) is not None]
    commits = list(dict.fromkeys(match[1] for match in found))
    notes = []
    if any(match[2] for match in found):
        notes.append("the checkout had changes that were not committed (-dirty): that commit is not all of its code")
    if len(found) < len(entries):
        notes.append(f"the commit of {len(entries) - len(found)} run(s) is not known")
    if len(commits) > 1:
        notes.append(f"the runs are of {len(commits)} commits: {', '.join(one[:SHOWN_COMMIT] for one in commits)}")
    return ([shlex.join(["git", "checkout", commits[0]])] if len(commits) == 1 else []), notes


def scenario_json(scenario: Scenario) -> str:
    """Return the complete scenario as ``gse run`` takes it from a file."""
    return json_text(scenario.model_dump(mode="json"))

"""Find and load scenarios: built-in Python modules by name, users' own YAML or JSON by path."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import scenarios
from testbed.errors import Problem, ScenarioError
from testbed.fields import Mistakes
from testbed.files import read_input
from testbed.model import scenario as specifications
from testbed.model.scenario import MAX_NAME_CHARACTERS, Scenario
from testbed.model.scenario_input import override, parse_scenario, problems_from
from testbed.model.yaml_input import NOT_YAML, load_yaml, parse_settings, reason_of
from testbed.traces.files import load_digested
from testbed.training.spec import Recorded

SUFFIXES = (".yml", ".yaml", ".json")
MAX_FILE_BYTES = 200_000  # a scenario is some kB; more is a log, a device or a mistake


def builtin_names() -> tuple[str, ...]:
    """Return the names of the built-in scenarios."""
    return tuple(sorted(module.name for module in pkgutil.iter_modules(scenarios.__path__)))


def builtin_over(name: str) -> str | None:
    """Return the sweep a built-in scenario is made for, as ``--over`` takes it; None where it is for ``gse run``.

    It is the module's ``OVER``: a field and its values.
    """
    if name not in builtin_names():
        return None
    load_builtin(name)  # what is wrong with the module is said there
    own = getattr(importlib.import_module(f"scenarios.{name}"), "OVER", None)
    if own is None:
        return None
    field, values = own
    return f"{field}={','.join(values)}"


def load_builtin(name: str) -> Scenario:
    """Return a built-in scenario. Raises ScenarioError when there is none of this name."""
    if name not in builtin_names():
        raise ScenarioError(
            Problem(
                "no such scenario",
                "scenario",
                repr(name),
                f"one of {', '.join(builtin_names())}, or a {'/'.join(SUFFIXES)} file",
            )
        )
    try:
        scenario = getattr(importlib.import_module(f"scenarios.{name}"), "SCENARIO", None)
    except ValidationError as error:
        model = getattr(specifications, error.title, None)
        raise ScenarioError(problems_from(error, f"scenarios/{name}.py: {error.title}", model)) from None
    except Exception as error:  # whatever a module of somebody's raises while it is imported
        got = f"{type(error).__name__}: {error}"
        raise ScenarioError(Problem("cannot be imported", f"scenarios/{name}.py", got, "a Python module")) from error
    if not isinstance(scenario, Scenario):
        raise ScenarioError(
            Problem("SCENARIO is not a Scenario", f"scenarios/{name}.py", type(scenario).__name__, "Scenario")
        )
    return scenario


def read_fields(path: Path, what: str) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file; ``what`` it should be, for messages. Raises ScenarioError."""
    try:
        text = read_input(path, MAX_FILE_BYTES).decode()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a path with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ScenarioError(Problem("cannot be read", str(path), str(reason), "a readable UTF-8 file")) from None
    is_json = path.suffix == ".json"
    try:
        fields = _load_json(text) if is_json else load_yaml(text)
    except NOT_YAML as error:
        wrong = f"is not {'JSON' if is_json else 'YAML'}"
        raise ScenarioError(Problem(wrong, str(path), reason_of(error), f"a mapping of {what} fields")) from None
    if not isinstance(fields, dict):
        got = "an empty file" if fields is None else type(fields).__name__
        raise ScenarioError(Problem(f"is not a {what}", str(path), got, f"a mapping of {what} fields"))
    return fields


def load_file(path: Path) -> Scenario:
    """Return the scenario in a YAML or JSON file. Raises ScenarioError with every problem."""
    fields = read_fields(path, "scenario")
    return parse_scenario({"name": _name_from(path), **fields}, source=str(path))


def load(name_or_path: str, settings: Sequence[str] = ()) -> Scenario:
    """Load a scenario by name or path and apply ``--set`` overrides given as ``field=value``."""
    path = Path(name_or_path)
    is_file = path.suffix in SUFFIXES or "/" in name_or_path
    scenario = load_file(path) if is_file else load_builtin(name_or_path)
    return override(scenario, parse_settings(settings)) if settings else scenario


def with_trace(scenario: Scenario) -> Scenario:
    """Return the scenario with what the traces it names say; a path is relative to the working directory.

    One that has been read already is not read again. Raises ScenarioError or TraceError.
    """
    training = scenario.workload.training
    if training is None or not training.is_unread:
        return scenario
    fields = scenario.model_dump(mode="json")
    fields["workload"]["training"]["recorded"] = [
        _recorded(path, training.trace_rank, stage).model_dump(mode="json") for stage, path in enumerate(training.files)
    ]
    return parse_scenario(fields, source=f"scenario {scenario.name}")


def _recorded(path: str, rank: str | None, stage: int) -> Recorded:
    trace, sha256 = load_digested(Path(path))
    try:
        return Recorded.of(trace, sha256, rank, stage)
    except Mistakes as error:
        problems = []
        for mistake in error.mistakes:
            said, _, expected = mistake.partition("; expected ")
            problems.append(Problem("cannot be replayed", f"workload.training: {path}", said, expected))
        raise ScenarioError(problems) from None


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(name for name, _value in pairs)
    if twice := [name for name in counts if counts[name] > 1]:
        raise ValueError(f"{twice[0]!r} is there twice")
    return dict(pairs)


def _name_from(path: Path) -> str:
    """Return a valid scenario name made from a file's."""
    stem = "".join(char if char.isascii() and char.isalnum() else "_" for char in path.stem.lower())
    return (stem if stem[:1].isalpha() else f"s_{stem}")[:MAX_NAME_CHARACTERS]

"""Find and load scenarios: built-in Python modules by name, users' own YAML or JSON by path."""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

import scenarios
from testbed.errors import Problem, ScenarioError
from testbed.files import read_input
from testbed.model import scenario as specifications
from testbed.model.fields import Mistakes
from testbed.model.scenario import MAX_NAME_CHARACTERS, Scenario
from testbed.model.scenario_input import override, parse_scenario, problems_from
from testbed.traces.files import load_digested
from testbed.training.spec import Recorded

SUFFIXES = (".yml", ".yaml", ".json")
MAX_FILE_BYTES = 200_000  # a scenario is some kB; more is a log, a device or a mistake
MAX_FIELDS = 1000  # of one mapping
# What PyYAML raises on texts that are no YAML: its own errors, and those of the constructors behind its tags.
NOT_YAML = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


class _Loader(yaml.SafeLoader):
    """YAML without code, without settings that silently replace others, without merges that explode."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._checked: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Resolve merge keys; refuse a key that is there twice, where plain YAML loaders keep the last one."""
        if id(node) not in self._checked:
            self._checked.add(id(node))
            keys = [key for key, _value in node.value if isinstance(key, yaml.ScalarNode)]
            counts = Counter(key.value for key in keys)
            if twice := [key for key in keys if counts[key.value] > 1]:
                raise _refusal(f"{twice[-1].value!r} is there twice", twice[-1])
        super().flatten_mapping(node)
        if len(node.value) > MAX_FIELDS:
            raise _refusal(f"more than {MAX_FIELDS} fields", node)


def _refusal(what: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, what, node.start_mark)


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
        fields = _load_json(text) if is_json else _load_yaml(text)
    except NOT_YAML as error:
        wrong = f"is not {'JSON' if is_json else 'YAML'}"
        raise ScenarioError(Problem(wrong, str(path), _reason(error), f"a mapping of {what} fields")) from None
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


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """Read ``field=value`` texts; values are YAML (``8``, ``true``, ``8MiB``, ``[1, 2]``, ``null``)."""
    parsed: dict[str, Any] = {}
    problems = []
    for text in settings:
        field, equals, value = text.partition("=")
        if not equals or not field:
            problems.append(Problem("is not field=value", f"--set {text}", repr(text), "e.g. fabric.spines=8"))
            continue
        try:
            parsed[field.strip()] = _load_yaml(value)
        except NOT_YAML as error:
            got, expected = f"{value[:80]!r} ({_reason(error)})", "a value like 8, true, 8MiB, null or [1, 2]"
            problems.append(Problem("value is not YAML", f"--set {field}", got, expected))
    if problems:
        raise ScenarioError(problems)
    return parsed


def parse_over(text: str) -> tuple[str, dict[str, Any]]:
    """Read ``field=value,value,...`` as the field and its values by their texts; each is YAML, as with ``--set``.

    Raises ScenarioError with every problem.
    """
    field, equals, rest = text.partition("=")
    field, texts = field.strip(), [part.strip() for part in rest.split(",")]
    problems = []
    if not equals or not field or not rest.strip():
        expected = "e.g. gsp.container_bytes=9K,18K,36K"
        raise ScenarioError(Problem("is not field=values", "--over", repr(text[:80]), expected))
    values: dict[str, Any] = {}
    for part in texts:
        if not part or part in values:
            got = repr(part[:80]) if part else f"nothing between commas in {rest[:80]!r}"
            problems.append(Problem("a value twice" if part else "no value", f"--over {field}", got, "each value once"))
            continue
        try:
            (values[part],) = parse_settings([f"{field}={part}"]).values()
        except ScenarioError as error:
            problems += [replace(problem, where=f"--over {field}") for problem in error.problems]
    if problems:
        raise ScenarioError(problems)
    return field, values


def _load_yaml(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)


def _load_json(text: str) -> Any:
    return json.loads(text, object_pairs_hook=_unique)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counts = Counter(name for name, _value in pairs)
    if twice := [name for name in counts if counts[name] > 1]:
        raise ValueError(f"{twice[0]!r} is there twice")
    return dict(pairs)


def _reason(error: Exception) -> str:
    """Return in one line what is wrong with a text, and where if that is known."""
    if isinstance(error, RecursionError):
        return "too many levels"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    return " ".join(str(error).split())[:200]


def _name_from(path: Path) -> str:
    """Return a valid scenario name made from a file's."""
    stem = "".join(char if char.isascii() and char.isalnum() else "_" for char in path.stem.lower())
    return (stem if stem[:1].isalpha() else f"s_{stem}")[:MAX_NAME_CHARACTERS]

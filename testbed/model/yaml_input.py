"""What users write as YAML, in files and as ``field=value``: strict, and what is wrong with it in words. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import yaml

from testbed.errors import Problem, ScenarioError

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


def load_yaml(text: str) -> Any:
    """Return the value in a text. Raises what is in ``NOT_YAML``."""
    return yaml.load(text, Loader=_Loader)


def reason_of(error: Exception) -> str:
    """Return in one line what is wrong with a text, and where if that is known."""
    if isinstance(error, RecursionError):
        return "too many levels"
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"{error.problem} in line {error.problem_mark.line + 1}, column {error.problem_mark.column + 1}"
    return " ".join(str(error).split())[:200]


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
            parsed[field.strip()] = load_yaml(value)
        except NOT_YAML as error:
            got, expected = f"{value[:80]!r} ({reason_of(error)})", "a value like 8, true, 8MiB, null or [1, 2]"
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

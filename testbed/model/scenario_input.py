"""Scenarios from what users wrote: files, ``--set``; every problem at once, each with what, where, got, expected."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from testbed.errors import Problem, ScenarioError
from testbed.fields import Mistakes
from testbed.model.scenario import Scenario

MAX_SHOWN_CHARACTERS = 80


def parse_scenario(fields: Mapping[str, Any], *, source: str) -> Scenario:
    """Validate ``fields`` (from YAML, JSON or a Python module); ``source`` names them in messages.

    Raises ScenarioError with every problem found, not just the first.
    """
    try:
        return Scenario.model_validate(fields)
    except ValidationError as error:
        raise ScenarioError(problems_from(error, source)) from None


def override(scenario: Scenario, settings: Mapping[str, Any]) -> Scenario:
    """Return the scenario with dotted fields replaced: ``{"fabric.spines": 8}``.

    List items are addressed by index (``faults.0.t_s``). Raises ScenarioError with every problem.
    """
    fields = scenario.model_dump(mode="json")
    problems = [problem for path, value in settings.items() if (problem := _assign(fields, path, value)) is not None]
    if problems:
        raise ScenarioError(problems)
    return parse_scenario(fields, source=f"scenario {scenario.name}")


def _assign(fields: Any, path: str, value: Any) -> Problem | None:
    """Set ``path`` in the nested ``fields``; return a Problem when there is no such field."""
    node, *keys = fields, *path.split(".")
    for depth, key in enumerate(keys):
        known = (
            list(node)
            if isinstance(node, dict)
            else [str(i) for i in range(len(node))]
            if isinstance(node, list)
            else []
        )
        if key not in known:
            where = ".".join(keys[:depth]) or "scenario"
            return Problem(
                f"unknown field in {where}",
                f"--set {path}",
                key,
                f"one of {', '.join(known) or 'nothing below this field'}",
            )
        index = int(key) if isinstance(node, list) else key
        if depth == len(keys) - 1:
            node[index] = value
        else:
            node = node[index]
    return None


def problems_from(error: ValidationError, source: str, model: Any = None) -> list[Problem]:
    """Translate pydantic's error list into ours: what, where, got, expected. ``model`` is what was validated."""
    problems = []
    items = error.errors(include_url=False)
    for item in items:
        if item["type"] == "too_short" and any(other["loc"][:-1] == item["loc"] for other in items):
            continue  # its items were refused, that is why there are too few
        path = ".".join(str(part) for part in item["loc"])
        where = f"{source}: {path}" if path else source
        kind, got = item["type"], _shown(item["input"])
        if kind == "extra_forbidden":
            problems.append(
                Problem("unknown field", where, item["loc"][-1].__repr__(), _known_fields(item["loc"], model))
            )
        elif kind == "missing":
            problems.append(Problem("field missing", where, "nothing", "a value"))
        elif kind == "value_error":
            broken = item["ctx"]["error"]
            for mistake in broken.mistakes if isinstance(broken, Mistakes) else [str(broken)]:
                said, _, expected = mistake.partition("; expected ")
                several = isinstance(item["input"], (dict, BaseModel))  # a rule between fields was broken
                what, shown = ("inconsistent", said) if expected and several else (said, got)
                problems.append(Problem(what, where, shown, expected or "a valid value"))
        else:
            expected = item["msg"].removeprefix("Input should be ").replace("valid tuple", "list")
            problems.append(Problem("not valid", where, got, expected))
    return problems


def _shown(value: object) -> str:
    """Return a value as messages show it; of a structure only its type, for YAML aliases make them explode."""
    if isinstance(value, str) and len(value) <= MAX_SHOWN_CHARACTERS:
        return repr(value)
    if value is None or isinstance(value, (bool, float)) or value in ([], ()):
        return repr(value)
    if isinstance(value, int) and abs(value) < 10**MAX_SHOWN_CHARACTERS:
        return repr(value)
    return f"a value of type {type(value).__name__}"


def _known_fields(loc: tuple[int | str, ...], model: Any) -> str:
    """Return the field names allowed where ``loc`` points, for the message about an unknown one."""
    model = model or Scenario
    for part in loc[:-1]:
        if isinstance(part, str) and part in model.model_fields:
            annotation = model.model_fields[part].annotation
            arguments = [
                a for a in getattr(annotation, "__args__", ()) if isinstance(a, type) and issubclass(a, BaseModel)
            ]
            model = arguments[0] if arguments else annotation
    return "one of " + ", ".join(model.model_fields)


def json_schema() -> dict[str, Any]:
    """Return the JSON schema of a scenario file (for editors, and published in docs/)."""
    return Scenario.model_json_schema()

"""One field of a scenario at several values: which scenarios follow, and in what order their runs are made. Pure.

Whether this machine can honour each of them is for ``testbed.system.machine`` to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, Final

from testbed.errors import Problem, ScenarioError, printable
from testbed.model.effects import OF_AGENTS, needed, parted, untouched
from testbed.model.scenario import MAX_SEEDS, Scenario, SchemeName
from testbed.model.scenario_input import override
from testbed.model.schemes import SETTINGS, profile_of
from testbed.model.windows import window_problems
from testbed.units import bytes_to_text

Value = str | int | float | bool | None
MAX_RUNS: Final = MAX_SEEDS  # more than anyone waits for
MAX_TEXT_CHARACTERS: Final = 80
# Fields that are no settings of an experiment, and what to use instead.
NOT_TO_VARY: Final[Mapping[str, str]] = {
    "name": "a setting; the name is the results folder",
    "question": "a setting; these are words",
    "expectation": "a setting; these are words",
    "schemes": "a setting; for schemes use --schemes",
    "seeds": "a setting; for seeds use --seeds",
    "workload.training.trace": "a setting; a sweep is of one trace",
}


@dataclass(frozen=True, slots=True)
class SweepRun:
    """One run of a sweep; ``point`` is the index of its value."""

    point: int
    scheme: SchemeName
    seed: int


@dataclass(frozen=True)
class Sweep:
    """``field`` at ``values`` (as the scenario has them, ``9K`` is 9216), and the scenario of each value."""

    field: str
    values: tuple[Value, ...]
    points: tuple[Scenario, ...]

    @property
    def schemes(self) -> tuple[SchemeName, ...]:
        """The schemes of every point."""
        return self.points[0].schemes

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of every point."""
        return self.points[0].seeds

    @property
    def texts(self) -> tuple[str, ...]:
        """The values as people read them, a stranger's too: on one line, nothing in them steers a terminal."""
        return tuple(printable(value_text(self.field, value)) for value in self.values)

    def order(self) -> tuple[SweepRun, ...]:
        """Return every run once: seed by seed, and within a seed values and schemes shuffled, always the same way.

        A machine that gets slower or faster meanwhile does so for all values and schemes alike (blocks in random
        order: R. A. Fisher, The Design of Experiments), and a sweep that is interrupted has whole seeds.
        """
        rng = Random(f"order of a sweep over {self.field}")
        runs = []
        for seed in self.seeds:
            block = [SweepRun(point, scheme, seed) for point in range(len(self.points)) for scheme in self.schemes]
            rng.shuffle(block)
            runs += block
        return tuple(runs)

    def untouched(self) -> tuple[SchemeName, ...]:
        """Return the schemes that do not see the field: those without agents, where it is a setting of agents."""
        return untouched(self.field, self.schemes)

    def derived(self) -> tuple[str, ...]:
        """Return the agents' other settings that change along, because they are derived from the field."""
        own = self.field.rpartition(".")[2]
        own_names = {own, own.removesuffix("_ms") + "_s"}
        changing: set[str] = set()
        for scheme in self.schemes:
            if SETTINGS[scheme].attachment != "none":
                profiles = [profile_of(scheme, point.fabric, point.gsp).to_json() for point in self.points]
                changing |= {name for name in profiles[0] if any(one[name] != profiles[0][name] for one in profiles)}
        return tuple(sorted(changing - own_names))


def sweep_of(
    base: Scenario,
    field: str,
    values: Sequence[Any],
    *,
    settings: Mapping[str, Any] | None = None,
    texts: Sequence[str] = (),
    least_values: int = 2,
) -> Sweep:
    """Return the sweep of ``base``, with ``settings`` replaced, over ``field``; ``texts`` are the values as given.

    ``least_values``: 1 where a table of one line is what is asked for. Only the points must be valid, not ``base``.
    Raises ScenarioError with every problem of every point.
    """
    settings, where = settings or {}, f"--over {field}"
    texts = [text[:MAX_TEXT_CHARACTERS] for text in texts or [str(value) for value in values]]
    problems = list(_request_problems(field, values, settings, least_values))
    if problems:
        raise ScenarioError(problems)
    points: list[Scenario] = []
    of_points: list[list[Problem]] = []
    for value in values:
        try:
            point = override(base, {**settings, field: value})
            points.append(point)
            of_points.append([*window_problems(point), *parted(point, settings)[0]])
        except ScenarioError as error:
            of_points.append([_from_over(problem, field) for problem in error.problems])
    problems = merged_problems(field, texts, of_points)
    if len(points) == len(values):
        found = [_value_of(point, field) for point in points]
        problems += _value_problems(where, found, texts)
        problems += _size_problems(where, points)
    if problems:
        raise ScenarioError(problems)
    return Sweep(field, tuple(found), tuple(points))


def merged_problems(field: str, texts: Sequence[str], of_points: Sequence[Sequence[Problem]]) -> list[Problem]:
    """Return the problems of all points: what every point has, once; the rest with the value that has it."""
    common = [problem for problem in of_points[0] if all(problem in others for others in of_points)]
    own = [
        replace(problem, where=f"{field}={text}: {problem.where}")
        for text, problems in zip(texts, of_points, strict=True)
        for problem in problems
        if problem not in common
    ]
    return [*common, *own]


def value_text(field: str, value: Value) -> str:
    """Return a value as people read it: bytes with a unit, ``unset`` for null."""
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.12g}"
    return bytes_to_text(value) if isinstance(value, int) and field.endswith("_bytes") else str(value)


def _request_problems(
    field: str, values: Sequence[Any], settings: Mapping[str, Any], least_values: int
) -> list[Problem]:
    where, root = f"--over {field}", field.partition(".")[0]
    problems = []
    if refused := {root, field} & NOT_TO_VARY.keys():
        problems.append(Problem("not a field to vary", where, field, NOT_TO_VARY[refused.pop()]))
    if len(values) < least_values:
        expected = "two values or more, e.g. 9K,18K,36K (for one, use 'gse run' with --set)"
        problems.append(Problem("one value is no sweep", where, f"{len(values)} value", expected))
    if len(values) > MAX_RUNS:
        problems.append(Problem("too many values", where, f"{len(values)}", f"at most {MAX_RUNS}"))
    if field in settings:
        problems.append(Problem("set and varied at once", f"--set {field}", "both", "--set or --over for a field"))
    return problems


def _value_problems(where: str, found: Sequence[Any], texts: Sequence[str]) -> list[Problem]:
    problems = []
    for index, (value, text) in enumerate(zip(found, texts, strict=True)):
        if not isinstance(value, (str, int, float, bool, type(None))):
            expected = "one field with a number, a word, true, false or null"
            return [Problem("not a single value", where, f"a value of type {type(value).__name__}", expected)]
        if value in found[:index]:
            problems.append(Problem("a value twice", where, repr(text), "each value once"))
    return problems


def _size_problems(where: str, points: Sequence[Scenario]) -> list[Problem]:
    first, problems = points[0], []
    runs = len(points) * len(first.schemes) * len(first.seeds)
    if runs > MAX_RUNS:
        got = f"{runs} ({len(points)} values x {len(first.schemes)} schemes x {len(first.seeds)} seeds)"
        problems.append(Problem("too many runs", where, got, f"at most {MAX_RUNS}"))
    field = where.removeprefix("--over ")
    if untouched(field, first.schemes) == first.schemes:
        what = "no scheme has agents to set" if needed(field) == OF_AGENTS else "no scheme sees this setting"
        problems.append(Problem(what, where, f"schemes {', '.join(first.schemes)}", needed(field)))
    return problems


def _from_over(problem: Problem, field: str) -> Problem:
    """Name the option the field came from: overriding says ``--set``."""
    return replace(problem, where=f"--over {field}") if problem.where == f"--set {field}" else problem


def _value_of(scenario: Scenario, field: str) -> Any:
    node: Any = scenario.model_dump(mode="json")
    for key in field.split("."):
        node = node[int(key)] if isinstance(node, list) else node[key]
    return node

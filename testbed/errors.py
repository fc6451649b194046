"""Every error the testbed raises on purpose.

    TestbedError                    exit status 1: the work could not be finished
      InputError                    exit status 2: the caller has to change something first
        ScenarioError               a scenario, an override or a command line is wrong
        MachineError                this machine cannot do what was asked (or lacks a privilege)
        ResultsError                a result directory cannot be read or written
        TraceError                  a file with somebody's collectives cannot be read or understood
      NetworkError                  the emulated network did not come up as specified
      ControllerError               GSOS did not start, answer or survive
      WorkloadError                 a rank, probe or background program failed
      CommandError                  a program we started exited badly (argv, status, stderr)
      ParseError                    a tool printed something we do not understand

Messages say what, where, got and expected. Only ``testbed.cli`` turns them into exit statuses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

MOST_NAMED: Final = 20  # problems of one input that are told one by one: who mends these sees what the others are


def printable(text: str) -> str:
    """Return text on one line, with whatever would steer a terminal (escapes, line ends) written out as an escape."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def printable_lines(text: str) -> str:
    """Return text of several lines, such as a tool's own words, each of them printable."""
    return "\n".join(printable(line) for line in text.splitlines())


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with an input, complete enough to be mended without reading code."""

    what: str
    where: str
    got: str
    expected: str

    def __str__(self) -> str:
        return printable(f"{self.where}: {self.what}; got {self.got}, expected {self.expected}")


def first_problems(found: Iterable[Problem], where: str) -> list[Problem]:
    """Return the first problems of an input, and as the last one how many more there are.

    However many that is, no more than these are in memory at once: a damaged table may have millions.
    """
    problems = iter(found)
    named = list(islice(problems, MOST_NAMED))
    more = sum(1 for _problem in problems)
    if more:
        named.append(Problem("more than is named here", where, f"{more:,} more problems", "none"))
    return named


class TestbedError(Exception):
    """Base of all deliberate errors; ``exit_status`` is what the CLI leaves with."""

    __test__ = False  # the name begins with "Test", but it is no pytest class
    exit_status = 1


class InputError(TestbedError):
    """One or more problems with what the caller asked for; nothing has been changed."""

    exit_status = 2

    def __init__(self, problems: Sequence[Problem] | Problem) -> None:
        self.problems: tuple[Problem, ...] = (problems,) if isinstance(problems, Problem) else tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class ScenarioError(InputError):
    """The scenario, an override or an option is not valid."""


class MachineError(InputError):
    """This machine or this user cannot do what was asked."""


class ResultsError(InputError):
    """A result directory cannot be created, read or understood."""


class TraceError(InputError):
    """A trace of collectives cannot be read, is damaged or is of no format we know."""


class NetworkError(TestbedError):
    """The emulated network is not what the scenario specifies."""


class ControllerError(TestbedError):
    """GSOS did not start, did not answer, or died."""


class WorkloadError(TestbedError):
    """A rank, a probe or a background program failed."""


class CommandError(TestbedError):
    """A command exited with a status other than 0, or timed out."""

    def __init__(self, argv: Sequence[str], exit_status: int | None, stderr: str) -> None:
        self.argv = tuple(argv)
        self.command_status = exit_status
        self.stderr = stderr
        outcome = "timed out" if exit_status is None else f"exit status {exit_status}"
        if exit_status is not None and exit_status < 0:
            outcome = f"killed by signal {-exit_status}"
        super().__init__(f"{' '.join(argv)}: {outcome}: {stderr.strip() or 'no message'}")


class ParseError(TestbedError):
    """The output of a tool could not be read."""

    def __init__(self, tool: str, text: str, expected: str) -> None:
        super().__init__(f"output of {tool}: expected {expected}, got {text[:200]!r}")

from __future__ import annotations

import argparse
import os

import pytest

from testbed.cli import test as cli_test
from testbed.errors import MachineError


def parse(*argv: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli_test.add_arguments(parser)
    return parser.parse_args(argv)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [([0, 0], 0), ([1, 0], 1), ([0, 1], 1), ([5, 0], 0), ([0, 5], 0), ([5, 5], 1), ([5], 1), ([2], 1), ([0, 4], 1)],
)
def test_suite_passes_only_when_something_ran_and_nothing_failed(statuses: list[int], expected: int) -> None:
    assert cli_test.exit_status(statuses, chosen=True) == expected


@pytest.mark.parametrize(("statuses", "expected"), [([0, 0, 0], 0), ([0, 5, 0], 1), ([0, 0, 1], 1), ([5], 1)])
def test_without_a_choice_every_part_has_tests(statuses: list[int], expected: int) -> None:
    assert cli_test.exit_status(statuses, chosen=False) == expected


def marks_of(part: str, full: bool) -> str:
    argv = cli_test.pytest_argv(part, full=full, expression=None)
    return argv[argv.index("-m", 3) + 1] if "-m" in argv[3:] else ""


def test_long_campaigns_need_full() -> None:
    assert [marks_of(part, False) for part in cli_test.PARTS] == [
        "not full",
        "not full and beside",
        "not full and not beside",
    ]
    assert [marks_of(part, True) for part in cli_test.PARTS] == ["", "beside", "not beside"]


def test_only_tests_that_measure_nothing_run_side_by_side() -> None:
    workers = ["-n" in cli_test.pytest_argv(part, full=False, expression=None) for part in cli_test.PARTS]
    assert workers == [True, True, False]


@pytest.mark.parametrize("part", cli_test.PARTS)
def test_expression_is_passed_on(part: str) -> None:
    assert cli_test.pytest_argv(part, full=True, expression="a and not b")[-2:] == ["-k", "a and not b"]


def test_without_root_the_suite_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineError, match=r"needs root.*sudo ./gse test"):
        cli_test.run(parse())


def test_a_failing_part_fails_the_suite(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(cli_test, "pytest_argv", lambda part, **_: ["false"] if part == cli_test.UNIT else ["true"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli_test.run(parse()) == 1
    assert cli_test.run(parse("--unit")) == 1
    monkeypatch.setattr(cli_test, "pytest_argv", lambda _part, **_: ["true"])
    assert cli_test.run(parse()) == 0

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
    assert cli_test.exit_status(statuses) == expected


def test_long_campaigns_need_full() -> None:
    assert "not full" in cli_test.pytest_argv("unit", full=False, expression=None)
    assert "not full" not in cli_test.pytest_argv("unit", full=True, expression=None)


def test_expression_is_passed_on() -> None:
    assert cli_test.pytest_argv("integration", full=True, expression="a and not b")[-2:] == ["-k", "a and not b"]


def test_without_root_the_suite_says_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(MachineError, match=r"needs root.*sudo ./gse test"):
        cli_test.run(parse())


def test_a_failing_part_fails_the_suite(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(cli_test, "pytest_argv", lambda part, **_: ["false"] if part == "unit" else ["true"])
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert cli_test.run(parse()) == 1
    assert cli_test.run(parse("--unit")) == 1
    monkeypatch.setattr(cli_test, "pytest_argv", lambda _part, **_: ["true"])
    assert cli_test.run(parse()) == 0

"""What docs/workloads.md says about training is what the code does."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from testbed.training.gain import CASES, case_gain

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "workloads.md").read_text()


def test_the_example_runs_as_printed(capsys: pytest.CaptureFixture[str]) -> None:
    example = re.search(r"```python\n(from testbed\.training\.build.*?)```", PAGE, re.DOTALL)
    assert example
    exec(example[1], {})
    duration_s, exposed_share = map(float, capsys.readouterr().out.split())
    # only the first layers' bucket is left over when the backward pass ends: one of 209, 2.05 s / 209
    assert duration_s == pytest.approx(5.144 + 2.05 / 209, abs=0.001)
    assert exposed_share == pytest.approx(2.05 / 209 / 5.154, abs=0.0001)


def test_the_example_of_a_trace_prints_what_it_says(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    example = re.search(r"```python\n(from pathlib import Path\n\nfrom testbed\.traces.*?)```", PAGE, re.DOTALL)
    assert example
    monkeypatch.chdir(PROJECT)
    exec(example[1], {})
    left_out, totals = capsys.readouterr().out.splitlines()
    assert f"# {left_out}\n" in example[1]
    assert ast.literal_eval(totals) == {
        "barrier": 0, "broadcast": 1_052_672, "allreduce": 1_052_676, "all_gather": 1_052_672
    }  # fmt: skip


def test_the_table_of_gains_is_what_comes_out() -> None:
    section = PAGE.partition("### Expected gain")[2].partition("\n### ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    for row, case in zip(rows[2:], CASES, strict=True):
        found = case_gain(case)
        shares = (found.base.exposed_share, found.better.exposed_share, found.gain_fraction)
        assert row[1:] == [f"{found.compute_s:.2f}", f"{found.ideal_s:.2f}", *(f"{share:.0%}" for share in shares)]

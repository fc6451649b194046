"""The fluid model against emulation: the shortest of its cases. All of them: ``gse predict validate``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from testbed.fluid.validation import CASES

PROJECT = Path(__file__).resolve().parents[2]
SHORT = ("ring_gse1", "ring_n2n", "incast")

pytestmark = [pytest.mark.root, pytest.mark.full]


@pytest.mark.timeout(900)
def test_short_cases_are_predicted_within_five_percent(tmp_path: Path) -> None:
    assert set(SHORT) <= {case.name for case in CASES}
    argv = [
        sys.executable,
        "-m",
        "testbed",
        "predict",
        "validate",
        "--only",
        ",".join(SHORT),
        "--repeat-disturbed",
        "3",
    ]
    done = subprocess.run(
        [*argv, "--results", str(tmp_path), "--reference", str(tmp_path / "none")],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 of 3 measured runs predicted within 5%" in " ".join(done.stdout.split())

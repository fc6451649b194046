"""What checks the code looks at all of it."""

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
FOLDERS = ("testbed", "apps", "scenarios", "tests", "benchmarks")


def test_no_file_of_ours_is_left_out_by_the_linter() -> None:
    argv = [sys.executable, "-m", "ruff", "check", "--show-files"]
    done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    shown = {Path(line).resolve() for line in done.stdout.splitlines()}
    for folder in FOLDERS:
        ours = set((PROJECT / folder).rglob("*.py"))
        assert ours, folder
        assert sorted(str(path.relative_to(PROJECT)) for path in ours - shown) == []
    assert PROJECT / "testbed/results/run.py" in shown, "a folder of ours that is called as one of results is"

"""Each check of the verdict tripped on purpose in a real run, and only that one; the same run left alone is VALID.

What is done is in spoilers.py, with the checks that cannot be tripped so, and why. For a machine with nothing else to
do: a try that others disturbed is made again.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from attacks import spoil
from gse_runs import MACHINE
from lab import in_lab
from spoilers import SPOILERS, TWO_CORES

from testbed.fidelity import OUTSIDE

pytestmark = [pytest.mark.root, pytest.mark.full, pytest.mark.timeout(900)]

TRIES = 3
CORES = len(os.sched_getaffinity(0))


@pytest.mark.parametrize("name", list(SPOILERS))
def test_one_check_trips_and_no_other(tmp_path: Path, name: str) -> None:
    spoiler = SPOILERS[name]
    if spoiler.trips in TWO_CORES and CORES < 2:
        pytest.skip("needs two cores")
    if name == "too high a rate" and CORES > 2:
        pytest.skip("not too high for more than two cores")
    wanted = {spoiler.trips} - {""}
    for tried in range(1, TRIES + 1):
        told = in_lab(tmp_path / f"try{tried}", spoil, name=name)
        assert told["status"] == 0 and told["left"] == {}, told["stderr"]
        (summary,) = told["summaries"]
        found = set(summary["checks"])
        others = found - wanted - spoiler.may
        if not others & (OUTSIDE | MACHINE):
            break
    shown = json.dumps({"reasons": summary["reasons"], "checks": summary["checks"]}, indent=1)
    assert wanted <= found, shown
    assert not others, shown
    assert (summary["verdict"] == "VALID") == (not wanted), shown

"""The agent as a process against hostile frames: it goes on, its memory stays, no host sees rubbish."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
BENCH = Path(__file__).with_name("agent_bench.py")


def fuzz(frames: int, timeout_s: float) -> dict[str, Any]:
    argv = ["unshare", "--net", sys.executable, str(BENCH), "fuzz", str(frames), "1"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def check(result: dict[str, Any], frames: int) -> None:
    assert result["status"] == 0
    assert result["judged"] >= frames
    assert result["socket_drops"] == 0
    assert result["strange_frames_at_host"] == 0
    assert result["counters"]["malformed"] > frames * 0.2
    early, late = result["rss_bytes"]
    assert late <= early * 1.25 + 8e6, result["rss_bytes"]


def test_twenty_thousand_hostile_frames_do_no_harm() -> None:
    check(fuzz(20_000, 250), 20_000)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_million_hostile_frames_do_no_harm() -> None:
    check(fuzz(1_000_000, 1700), 1_000_000)

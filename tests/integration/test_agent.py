"""The agent and its sockets: carriers, refusals, floods; and as a process against hostile frames.

It goes on, its memory stays, no host sees rubbish.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.root
BENCH = Path(__file__).with_name("agent_bench.py")


def bench(*words: str, timeout_s: float) -> dict[str, Any]:
    argv = ["unshare", "--net", sys.executable, str(BENCH), *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout))


def fuzz(frames: int, timeout_s: float) -> dict[str, Any]:
    return bench("fuzz", str(frames), "1", timeout_s=timeout_s)


@pytest.fixture(scope="module")
def sockets() -> dict[str, Any]:
    return bench("sockets", timeout_s=60)


@pytest.mark.beside
def test_carrier_of_an_uplink_is_heard_of_and_its_path_left(sockets: dict[str, Any]) -> None:
    result = sockets["carrier_of_uplinks"]
    assert [1, False] in result["missed"]  # the message was lost, and asked for anew
    assert result["others"] == []  # what is no uplink's does not matter
    assert result["before"] == []
    assert [1, False] in result["gone"]
    assert result["after"] == [1]
    assert result["used"] == [1, 3, 4]  # on the wire paths count from 1
    assert [1, True] in result["came"]


@pytest.mark.beside
def test_frames_others_send_out_by_the_agents_interfaces_are_not_taken(sockets: dict[str, Any]) -> None:
    result = sockets["frames_others_send"]
    assert result["out"] == 1
    assert not result["seen"]
    assert result["taken"] == 0
    assert result["moves_frames"]


@pytest.mark.beside
def test_frames_the_agent_does_not_read_in_time_are_counted(sockets: dict[str, Any]) -> None:
    result = sockets["frames_not_read_in_time"]
    assert result["dropped"] > 0
    assert result["dropped_again"] == result["dropped"]  # though the kernel forgets when it is asked
    assert result["read"] + result["dropped"] == pytest.approx(result["sent"], rel=0.02)
    assert result["moves_frames"]


@pytest.mark.beside
def test_frames_an_interface_refuses_are_counted_and_the_agent_goes_on(sockets: dict[str, Any]) -> None:
    result = sockets["frames_an_interface_refuses"]
    assert list(result["full"]) == ["l1-gsp"]
    queued = 4000 / 60  # as many of the least frames are in the queue
    assert result["full"]["l1-gsp"] == pytest.approx(400 - queued - result["arrived"], abs=100)
    assert result["moves_frames"]
    assert result["refused_when_down"] >= 10
    assert result["moves_frames_when_up"]


def check(result: dict[str, Any], frames: int) -> None:
    assert result["status"] == 0
    assert result["judged"] >= frames
    assert result["socket_drops"] == 0
    assert result["strange_frames_at_host"] == 0
    assert result["valid_frame_delivered"]
    assert result["counters"]["malformed"] > frames * 0.2
    early, late = result["rss_bytes"]
    assert late <= early * 1.25 + 8e6, result["rss_bytes"]


@pytest.mark.beside
def test_twenty_thousand_hostile_frames_do_no_harm() -> None:
    check(fuzz(20_000, 250), 20_000)


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_a_million_hostile_frames_do_no_harm() -> None:
    check(fuzz(1_000_000, 1700), 1_000_000)

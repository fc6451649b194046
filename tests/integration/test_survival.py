"""Whatever is killed, stopped, closed or pestered: a clear error in bounded time, results kept, nothing left behind.

Every run lives in a lab of its own (lab.py), where "nothing left" can be judged exactly; attacks.py does the harm.
"""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from attacks import (
    ELEPHANT,
    close_stdout,
    interrupt,
    leave_things,
    limp,
    pause,
    pester_gsos,
    soak,
    strike,
    strike_prompt,
    two_at_once,
    withdraw_job,
)
from lab import in_lab

pytestmark = [pytest.mark.root, pytest.mark.beside]

SEED = 20_260_101
QUICK, FULL = 2, 10  # points of a run at which each kind of process is killed
BOUND_S = 60.0  # the longest wait inside a run is 30 s; the machine may be busy with other things

# Points of a run in order, and how long after each a blow may fall.
POINTS = {
    "switches": 0.1,
    "controller": 0.1,
    "network": 0.5,
    "calibration": 0.5,
    "ranks": 0.5,
    "warm-up": 0.3,
    "measurement": 0.3,
    "iteration:1": 0.2,
}
# From when on there is such a process, and what the error's first words are when it dies.
KINDS = {
    "gse": ("switches", None),
    "starter": ("switches", r"the run's process ended in phase '[\w-]+' without a result: killed by SIGKILL"),
    "first process": ("switches", r"the run's process ended in phase '[\w-]+' without a result: killed by SIGKILL"),
    "ovsdb-server": ("switches", r"ovsdb-server .*(SIGKILL|signal 9|is not running)|ovs-vsctl .*db\.sock"),
    "ovs-vswitchd": ("switches", r"ovs-vswitchd .*(SIGKILL|signal 9|is not running)"),
    "GSOS": ("controller", r"gsos \(pid \d+\) was killed by SIGKILL"),
    "host": ("calibration", r"the shell that keeps h1 \(pid \d+\) was killed by SIGKILL"),
    "rank": ("ranks", r"rank \d on h\d \(pid \d+\) was killed by SIGKILL"),
    "sampler": ("warm-up", r"sampler \(pid \d+\) was killed by SIGKILL"),
    "probes": ("warm-up", r"probes \(pid \d+\) was killed by SIGKILL"),
    "iperf3": ("measurement", r"iperf3 (server|client) of elephant 0 \(h1 -> h3\) on h\d \(pid \d+\) was killed by"),
}
# GSOS is needed until the ranks are connected, which a blow after "ranks" may hit or miss; from then on it is not.
AFTER_RANKS = ("warm-up", "measurement", "iteration:1")


@dataclass(frozen=True)
class Blow:
    """One process killed at one moment."""

    kind: str
    point: str
    delay_s: float

    def __str__(self) -> str:
        return f"{self.kind}-{self.point}+{self.delay_s * 1e3:.0f}ms".replace(" ", "_")


def blows() -> Iterator[Any]:
    """Yield the points for each kind, drawn from a fixed seed; those beyond QUICK are for ``full``."""
    for kind, (first, _words) in KINDS.items():
        rng = Random(f"{SEED}/{kind}")
        points = list(POINTS)[list(POINTS).index(first) :]
        drawn = [*rng.sample(points, min(QUICK, len(points))), *rng.choices(points, k=FULL - QUICK)]
        for number, point in enumerate(drawn):
            blow = Blow(kind, point, rng.uniform(0.0, POINTS[point]))
            yield pytest.param(blow, id=str(blow), marks=[pytest.mark.full] if number >= QUICK else [])


def assert_nothing_left(told: dict[str, Any]) -> None:
    assert told["left"] == {}
    assert told["status"] is not None, f"no end within {told['took_s']:.0f} s\n{told['stderr']}"
    assert "Traceback" not in told["stderr"]


def assert_kept_as_failed(told: dict[str, Any], words: str) -> None:
    """The run is kept with its reason, which the user was told too."""
    assert len(told["directories"]) == 1
    assert told["directories"][0].endswith(".failed")
    assert told["manifest_status"] == ["failed"]
    assert re.match(words, told["errors"][0]), told["errors"][0]
    assert told["errors"][0].splitlines()[0] in told["stderr"]
    assert {"manifest.json", "error.txt", "raw/plan.json", "raw/experiment.log"} <= set(told["files"][0])


# --- killed -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("blow", list(blows()))
def test_kill_9(tmp_path: Path, blow: Blow) -> None:
    told = in_lab(
        tmp_path / "results",
        strike,
        kind=blow.kind,
        point=blow.point,
        delay_s=blow.delay_s,
        signal_number=signal.SIGKILL,
        timeout_s=BOUND_S,
        arguments=ELEPHANT,
    )
    assert_nothing_left(told)
    words = KINDS[blow.kind][1]
    if words is None:
        assert told["status"] == -signal.SIGKILL
        assert [name.rpartition(".")[2] for name in told["directories"]] == ["partial"]
        assert told["manifest_status"] == ["running"]
    elif blow.kind == "GSOS" and (blow.point in AFTER_RANKS or (blow.point == "ranks" and told["status"] == 0)):
        assert_finished_without_gsos(told)
    else:
        assert told["status"] == 1
        assert_kept_as_failed(told, words)
        of_workload = blow.kind in ("rank", "sampler", "probes", "iperf3")
        assert (" is INVALID, without a result: " in told["stderr"]) == of_workload
    if blow.point == "iteration:1":
        assert {"iterations.csv", "ranks.csv", "links.csv"} <= set(told["files"][0])


def assert_finished_without_gsos(told: dict[str, Any]) -> None:
    """The fabric forwards without GSOS: the collective finishes, correct, but it is no measurement of a scheme."""
    assert told["status"] == 0, told["stderr"]
    (summary,) = told["summaries"]
    assert summary["verdict"] == "INVALID"
    assert any(re.match(r"died during the run: gsos at \d", reason) for reason in summary["reasons"])
    assert summary["wrong_elements"] == 0


# --- stopped ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "point", "words"),
    [
        ("rank", "measurement", r"rank \d on h\d \(pid \d+\) has been stopped"),
        ("ovs-vswitchd", "measurement", r"ovs-vswitchd \(pid \d+\) has been stopped"),
        ("GSOS", "network", r"gsos \(pid \d+\) has been stopped"),
        pytest.param("ovs-vswitchd", "network", r"ovs-vswitchd \(pid \d+\) has been stopped", marks=pytest.mark.full),
        pytest.param("ovsdb-server", "network", r"ovsdb-server \(pid \d+\) has been stopped", marks=pytest.mark.full),
        pytest.param("GSOS", "ranks", r"gsos \(pid \d+\) has been stopped", marks=pytest.mark.full),
        pytest.param("rank", "ranks", r"rank \d on h\d \(pid \d+\) has been stopped", marks=pytest.mark.full),
        pytest.param("sampler", "warm-up", r"sampler \(pid \d+\) has been stopped", marks=pytest.mark.full),
    ],
)
def test_a_process_that_is_stopped_is_named(tmp_path: Path, kind: str, point: str, words: str) -> None:
    told = in_lab(
        tmp_path / "results",
        strike,
        kind=kind,
        point=point,
        delay_s=0.0,
        signal_number=signal.SIGSTOP,
        timeout_s=BOUND_S,
        arguments=[],
    )
    assert_nothing_left(told)
    assert told["status"] == 1
    assert_kept_as_failed(told, words)


def test_gsos_stopped_while_ranks_work_makes_the_run_invalid(tmp_path: Path) -> None:
    told = in_lab(
        tmp_path / "results",
        strike,
        kind="GSOS",
        point="measurement",
        delay_s=0.0,
        signal_number=signal.SIGSTOP,
        timeout_s=BOUND_S,
        arguments=["--set", "workload.iterations=8"],
    )
    assert_nothing_left(told)
    assert_finished_without_gsos(told)


@pytest.mark.parametrize("kind", ["rank", "ovs-vswitchd"])
def test_a_stop_of_a_moment_is_a_doubt(tmp_path: Path, kind: str) -> None:
    told = in_lab(tmp_path / "results", pause, kind=kind, pause_s=0.1)
    assert_nothing_left(told)
    assert told["status"] == 0, told["stderr"]
    (summary,) = told["summaries"]
    assert summary["verdict"] in ("SUSPECT", "INVALID")
    assert any(reason.startswith("stopped for a time") and kind in reason for reason in summary["reasons"]), summary


def test_a_rank_that_falls_behind_is_named_at_once_and_the_run_is_invalid(tmp_path: Path) -> None:
    collective = ["--set", "workload.kind=collective", "--set", "workload.collective=allreduce/halving_doubling"]
    told = in_lab(tmp_path / "results", limp, kind="rank", arguments=collective)
    assert_nothing_left(told)
    assert told["status"] == 0, told["stderr"]
    assert told["told_s"] is not None and told["told_s"] < 5
    assert re.search(r"rank \d on h\d \(pid \d+\) is stopped again and again .*falls behind", told["stderr"])
    (summary,) = told["summaries"]
    assert summary["verdict"] == "INVALID"
    assert any(re.match(r"stopped again and again .*rank \d on h\d", reason) for reason in summary["reasons"]), summary


def test_a_job_taken_from_gsos_makes_the_run_invalid(tmp_path: Path) -> None:
    told = in_lab(tmp_path / "results", withdraw_job)
    assert told["answer"]["ok"]
    assert_nothing_left(told)
    (summary,) = told["summaries"]
    assert summary["verdict"] == "INVALID"
    assert "jobs withdrawn, replaced or announced during the run: allreduce" in summary["reasons"]


# --- interrupted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "point", "whole_group", "times"),
    [
        (signal.SIGINT, "network", True, 1),
        (signal.SIGINT, "measurement", True, 5),
        (signal.SIGTERM, "calibration", False, 1),
        (signal.SIGHUP, "ranks", True, 1),
        pytest.param(signal.SIGINT, "evaluation", True, 1, marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, "stop", False, 1, marks=pytest.mark.full),
        pytest.param(signal.SIGTERM, "switches", False, 3, marks=pytest.mark.full),
    ],
)
def test_an_interrupted_run_is_kept(
    tmp_path: Path, number: signal.Signals, point: str, whole_group: bool, times: int
) -> None:
    told = in_lab(tmp_path / "results", interrupt, point=point, number=number, whole_group=whole_group, times=times)
    assert_nothing_left(told)
    assert told["status"] == 128 + number
    assert_kept_as_failed(told, f"interrupted by {number.name}\n")


def test_a_run_interrupted_before_it_has_a_manifest_is_kept_too(tmp_path: Path) -> None:
    told = in_lab(tmp_path / "results", interrupt, point="run", number=signal.SIGINT, whole_group=True)
    assert_nothing_left(told)
    assert told["status"] == 128 + signal.SIGINT
    assert [name.rpartition(".")[2] for name in told["directories"]] == ["failed"]
    assert told["errors"] == ["interrupted by SIGINT\n"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_a_prompt_that_is_killed_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    told = in_lab(tmp_path / "results", strike_prompt, number=number)
    assert told == {"status": -number, "left": {}}


def test_a_reader_that_leaves_costs_no_run(tmp_path: Path) -> None:
    told = in_lab(tmp_path / "results", close_stdout)
    assert told["left"] == {}
    assert told["gone"]["status"] == "141\n"
    assert told["both into head"]["status"] == "141\n"
    assert told["both into head"]["stdout"] == "run 1/1 gse1 seed 2\n"
    assert told["closed"] == {"status": "0\n", "stdout": "", "stderr": ""}
    assert "Traceback" not in told["gone"]["stderr"]
    assert told["full"]["status"] == "2\n"
    assert told["full"]["stderr"].endswith(
        "gse: standard output: cannot be written; got No space left on device, expected room for it\n"
    )
    assert told["messages lost"]["status"] == "0\n"
    assert '"seed": 5' in told["messages lost"]["stdout"]
    assert [re.sub(r".*-(seed\d)-[^.]*", r"\1", name) for name in told["directories"]] == [
        f"seed{n}" for n in range(1, 6)
    ]


# --- beside each other, one after the other -----------------------------------------------------------


def test_two_runs_at_once_and_one_later_do_not_see_each_other(tmp_path: Path) -> None:
    told = in_lab(tmp_path / "results", two_at_once)
    assert told["left"] == {}
    assert told["statuses"] == [1, 0, 0]
    assert sorted(name.endswith(".failed") for name in told["directories"]) == [False, False, True]
    assert told["wrong_elements"] == [0, 0]


@pytest.mark.full
@pytest.mark.timeout(900)
def test_thirty_runs_leave_as_little_as_one(tmp_path: Path) -> None:
    ended, *held = in_lab(tmp_path / "results", soak, lab_timeout_s=800, times=30)
    assert ended == {"status": 0, "left": {}}
    early, late = held[4], held[-1]  # the first runs still import and cache
    assert late["fds"] == early["fds"]
    assert late["rss_kib"] < 1.1 * early["rss_kib"], held


# --- pestered -----------------------------------------------------------------------------------------


def test_gsos_survives_every_client(tmp_path: Path) -> None:
    told = in_lab(tmp_path / "results", pester_gsos)
    assert [answer["ok"] for answer in told["answers"]] == [False] * len(told["answers"])
    assert all(answer["error"] for answer in told["answers"])
    assert told["while_busy"]["ok"]
    assert told["while_busy"]["result"]["ready"]
    assert told["afterwards"]["result"]["rules"] == told["while_busy"]["result"]["rules"]
    assert told["during"]["fds"] <= told["before"]["fds"] + 2
    assert told["during"]["rss_kib"] < told["before"]["rss_kib"] + 64 * 1024
    assert_nothing_left(told)
    assert told["status"] == 0
    (summary,) = told["summaries"]
    assert summary["wrong_elements"] == 0


# --- the lab itself -----------------------------------------------------------------------------------


def test_a_lab_sees_what_is_left(tmp_path: Path) -> None:
    left = in_lab(tmp_path / "results", leave_things)
    assert [entry.split()[2:] for entry in left["processes"]] == [["sleep", "60"]]
    assert sorted(left["interfaces"]) == ["l1-eth1", "s1-eth1"]
    assert len(left["namespaces"]) == 1
    assert left["mounts"] == ["/media"]
    seen = {name.removeprefix("/mnt/upper") for name in left["files"]}
    assert seen == {"/tmp/a", "/var/tmp/b", "/run/c", "/etc/d", "/root/e"}

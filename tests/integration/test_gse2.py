"""GSE2.0 and its competitors over real switches: what each scheme promises, on one small all-reduce each."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gse_runs import ENV, events, gse_argv, gse_run, manifest, run_argv

pytestmark = pytest.mark.root

SMALL = {
    "workload.size_bytes": "512K",
    "workload.iterations": 2,
    "workload.warmup_size_bytes": 65_536,
    "measure.calibrate": False,
}
GSE2 = ("gse2-n2n", "gse2-e2e", "uet")
BLIND = ("spray", "flowlet", "ecmp-agents")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("gse2")
    done = gse_run(folder, settings=SMALL, schemes=",".join(("ecmp", *GSE2, *BLIND)), seeds="2,", timeout_s=280).runs
    return {run["scheme"]: run for run in done if run["seed"] == 2}


@pytest.mark.parametrize("scheme", [*GSE2, *BLIND])
def test_sums_are_right_under_every_scheme(runs: dict[str, dict[str, Any]], scheme: str) -> None:
    assert runs[scheme]["wrong_elements"] == 0
    agents = runs[scheme]["agents"]
    (started,) = events(runs[scheme], "agents_started")
    assert started["processes"] == 4
    assert started["core"] == "compiled"
    assert agents["malformed"] == agents["misdirected"] == agents["socket_drops"] == agents["restarts"] == 0


@pytest.mark.parametrize("scheme", GSE2)
def test_hosts_get_everything_in_order_and_nothing_is_dropped(runs: dict[str, dict[str, Any]], scheme: str) -> None:
    run = runs[scheme]
    # What agents hand over in order may change places in the kernel where a hypervisor takes processors away: 0 to 4
    # frames of a run, under every scheme (docs/gse.md, Emulation shortcuts). What nobody puts in order is hundreds.
    assert run["out_of_order_packets"] <= 0.01 * runs["spray"]["out_of_order_packets"]
    assert run["agents"]["swapped"] == 0
    assert run["dropped_packets"] == 0
    assert run["gap_timeouts"] == 0
    assert run["agents"]["late"] == 0
    assert run["reorder_depth_max_bytes"] > 0  # there was something to put in order
    assert run["grants"] > 0


@pytest.mark.parametrize("scheme", GSE2)
def test_agents_are_asked_around_each_iteration_and_idle_time_between_them_is_nobodys(
    runs: dict[str, dict[str, Any]], scheme: str
) -> None:
    run = runs[scheme]
    asked = json.loads(Path(run["run_dir"], "raw", "gsp-stats.json").read_text())
    first, second = asked["measured"]

    def sent(stats: dict[str, Any]) -> int:
        return sum(one["counters"]["control_out"] for one in stats["agents"])

    between = sent(second["before"]) - sent(first["after"])
    assert between > 0  # hellos, and what probes and the end of an iteration need
    everything = sent(second["after"]) - sent(first["before"])
    assert run["agents"]["control_out"] == everything - between
    assert 0 < run["agents_wait_fraction"] < 1


@pytest.mark.parametrize("scheme", ["ecmp", *GSE2, *BLIND])
def test_ecn_is_negotiated_where_source_queues_mark(runs: dict[str, dict[str, Any]], scheme: str) -> None:
    settings = manifest(runs[scheme])["network"]["host_sysctls"]  # what every host was read back to have
    assert settings["net/ipv4/tcp_ecn"] == ("1" if scheme in GSE2 else "0")


# A leaf's agent knows what it puts on each uplink; hosts' agents choose without knowing of each other.
@pytest.mark.parametrize(("scheme", "most"), [("gse2-n2n", 1.1), ("spray", 1.1), ("gse2-e2e", 1.3), ("uet", 1.3)])
def test_every_uplink_carries_its_share(runs: dict[str, dict[str, Any]], scheme: str, most: float) -> None:
    """Within ``most`` of the mean; where agents say that they took a living path for dead, the rest carry its share.

    A busy machine may hold up three hellos of a path. Three uplinks of four then carry 4/3 of the mean, for a second at
    least, and these runs last one.
    """
    left = [change for said in events(runs[scheme], "path_changes") for change in said["changes"] if not change["up"]]
    assert runs[scheme]["uplink_max_over_mean"] <= (most + 1 / 3 if left else most), left


def test_spraying_without_order_disorders(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["spray"]["agents"]["swapped"] > 0
    assert runs["spray"]["grants"] == 0


def test_containers_hold_several_packets(runs: dict[str, dict[str, Any]]) -> None:
    run = runs["gse2-n2n"]
    assert 0 < run["containers"] < run["agents"]["data_out"]


def test_scheduled_fabric_is_faster_than_a_hashed_one_with_the_same_agents(runs: dict[str, dict[str, Any]]) -> None:
    assert runs["gse2-n2n"]["completion_s"] < 0.8 * runs["ecmp-agents"]["completion_s"]


def descendants(pid: int) -> list[int]:
    """Return every process below ``pid``."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, todo = [], [pid]
    while todo:
        more = children.get(todo.pop(), [])
        found += more
        todo += more
    return found


def agents_of(pid: int) -> list[int]:
    return [one for one in descendants(pid) if b"testbed.agent.gsp" in _command_line(one)]


def _command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@contextmanager
def going_on(folder: Path, scheme: str, iterations: int = 3) -> Iterator[subprocess.Popen[bytes]]:
    """Start a run and yield when its first iteration is over."""
    settings = {**SMALL, "workload.iterations": iterations, "gsp.journal": True}
    argv = run_argv(folder, "allreduce_ring", settings, schemes=scheme, seeds="1")
    with subprocess.Popen([*argv, "-v"], cwd=folder, env=ENV, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        said = b""
        while b'"iteration": 1' not in said:
            line = run.stderr.readline()
            assert line, said.decode()
            said += line
        yield run


def replayed(run_dir: Path) -> list[str]:
    """Replay every journal of a run, which has to be identical; return what is said of each."""
    argv = gse_argv("replay", str(run_dir))
    done = subprocess.run(argv, cwd=run_dir, env=ENV, capture_output=True, text=True, timeout=100, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    return done.stdout.splitlines()


# under E2E a leaf's process has its hosts' four agents and the one that watches the uplinks
@pytest.mark.parametrize(("scheme", "agents"), [("gse2-n2n", 1), ("gse2-e2e", 5)])
@pytest.mark.beside
def test_killed_process_is_started_again_and_the_collective_finishes(tmp_path: Path, scheme: str, agents: int) -> None:
    with going_on(tmp_path, scheme) as run:
        os.kill(agents_of(run.pid)[-1], signal.SIGKILL)
        out, err = run.communicate(timeout=200)
    assert run.returncode == 0, err.decode()
    (result,) = json.loads(out)["runs"]
    assert result["wrong_elements"] == 0
    assert result["agents"]["restarts"] == agents
    assert result["verdict"] == "INVALID"
    assert any("died during the run: gsp" in reason for reason in result["reasons"])
    said = replayed(Path(result["run_dir"]))
    everybody = 4 if scheme == "gse2-n2n" else 20
    assert len(said) == everybody + agents  # what was killed lived twice


@pytest.mark.parametrize(
    ("action", "counters"),
    [
        ("fail", ["path_changes"]),
        ("silence", ["path_changes"]),
        # nothing is timed there
        pytest.param("slow", ["path_changes", "congestion_told"], marks=pytest.mark.beside),
    ],
)
def test_path_that_fails_in_mid_collective_is_avoided_and_nothing_is_lost(
    tmp_path: Path, action: str, counters: list[str]
) -> None:
    faults = [{"t_s": 0.6, "action": action, "target": "l1-s2"}]
    settings = {**SMALL, "workload.size_bytes": "1M", "faults": faults, "gsp.journal": True}
    (run,) = gse_run(tmp_path, settings=settings, schemes="gse2-n2n", timeout_s=200).runs
    assert run["wrong_elements"] == 0
    assert sum(run["agents"][counter] for counter in counters) > 0  # a slow path is left, or used less
    assert run["details"]["outages"][0]["action"] == action
    assert len(replayed(Path(run["run_dir"]))) == 4
    if action == "slow":
        assert "recovery_ms" not in run  # it need not be left
    else:
        assert 0 < run["recovery_ms"] < 500  # every GSP has left the path; 50 on a machine with nothing else to do
    if action != "slow":  # how soon a slow path is left is not yet what it should be: docs/roadmap.md
        assert run["details"]["completions_s"][1] < 1.5 * run["ideal_s"] * 4 / 3  # three paths of four are left

"""The fabric as built: every setting read back, isolation, nothing left behind."""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from testbed.system.capsule import capsule_argv
from testbed.system.machine import find_datapath

pytestmark = [pytest.mark.root, pytest.mark.beside]
PROJECT = Path(__file__).resolve().parents[2]

BUILD = """
import json, os, subprocess, sys
from pathlib import Path
from testbed.system import capsule
from testbed.fabric import ovs
from testbed.fabric.network import Network
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology
capsule.enter()
raw = Path(sys.argv[1])
daemons = ovs.start_daemons(raw)
network = Network(Topology(FabricSpec(**json.loads(sys.argv[2]))), datapath=sys.argv[3])
"""


def in_capsule(body: str, raw_dir: Path, fabric: dict[str, Any], **kwargs: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        capsule_argv(
            [sys.executable, "-c", BUILD + textwrap.dedent(body), str(raw_dir), json.dumps(fabric), find_datapath()]
        ),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        **kwargs,
    )


def our_interfaces() -> list[str]:
    names = [row["ifname"] for row in json.loads(subprocess.check_output(["ip", "-j", "link", "show"]))]
    return [name for name in names if name.startswith(("l1-", "s1-", "h1-", "ovs-"))]


@pytest.mark.parametrize(
    "fabric",
    [
        {},
        {"leaves": 2, "spines": 8, "hosts_per_leaf": 4},
        {"leaves": 3, "spines": 5, "hosts_per_leaf": 3},
        {"leaves": 8, "spines": 4, "hosts_per_leaf": 2},
        {"leaves": 2, "spines": 2, "hosts_per_leaf": 2, "links_per_pair": 2, "mtu_bytes": 1500},
        {"leaves": 2, "spines": 2, "hosts_per_leaf": 4, "uplink_rate_mbps": 5.0},
    ],
    ids=lambda fabric: "-".join(f"{key}={value}" for key, value in fabric.items()) or "default",
)
def test_every_setting_of_a_fabric_reads_back(tmp_path: Path, fabric: dict[str, Any]) -> None:
    done = in_capsule(
        """
        with network:
            network.verify(raw)
            print(json.dumps(network.settings))
        """,
        tmp_path,
        fabric,
    )
    assert done.returncode == 0, done.stderr
    settings = json.loads(done.stdout.splitlines()[-1])
    assert settings["read_back"] == "all equal"
    assert settings["mtu_bytes"] == fabric.get("mtu_bytes", 9000)


def test_switches_may_have_more_files_open_than_a_shell_allows(tmp_path: Path) -> None:
    """A login shell's 1024 are too few for a fabric of a thousand ports: vswitchd has a packet socket for each."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    done = in_capsule(
        """
        said = Path(f"/proc/{daemons.vswitchd_pid}/limits").read_text()
        print(next(line.split()[3] for line in said.splitlines() if line.startswith("Max open files")))
        """,
        tmp_path,
        {},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard)),
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


def test_no_other_open_vswitch_is_asked_whatever_the_environment_says(tmp_path: Path) -> None:
    """As in the shell of a sandbox, or where Open vSwitch has been built to be below /usr/local."""
    done = in_capsule(
        """
        with network:
            network.verify(raw)
            print("verified")
        """,
        tmp_path,
        {"leaves": 2, "spines": 1, "hosts_per_leaf": 1},
        env={**os.environ, "OVS_RUNDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "verified"


@pytest.mark.parametrize(("marking", "ecn"), [(False, "0"), (True, "1")])
def test_hosts_have_the_queue_and_the_tcp_that_results_depend_on(tmp_path: Path, marking: bool, ecn: str) -> None:
    """Numbers as the kernel says them inside a host: what sets and what reads back follow one function."""
    done = in_capsule(
        f"""
        network = Network(network.topology, datapath=network.datapath, marking={marking})
        with network:
            def said(*argv):
                return subprocess.run(argv, capture_output=True, text=True, check=True).stdout
            inside = network.enter_argv("h1", [])
            print(json.dumps({{
                "host": json.loads(said(*inside, "tc", "-j", "qdisc", "show", "dev", "h1-eth0")),
                "switch": json.loads(said("tc", "-j", "qdisc", "show", "dev", "l1-eth1")),
                "rmem": said(*inside, "cat", "/proc/sys/net/ipv4/tcp_rmem").split(),
                "ecn": said(*inside, "cat", "/proc/sys/net/ipv4/tcp_ecn").strip(),
            }}))
        """,
        tmp_path,
        {"leaves": 2, "spines": 1, "hosts_per_leaf": 1},
    )
    assert done.returncode == 0, done.stderr
    inside = json.loads(done.stdout.splitlines()[-1])
    assert queue_limit_bytes(inside["host"]) == pytest.approx(9_014_000, rel=0.001)  # a thousand frames of MTU 9000
    assert queue_limit_bytes(inside["switch"]) == pytest.approx(262_144, rel=0.001)
    assert inside["rmem"] == ["4096", "1048576", "1048576"]
    assert inside["ecn"] == ecn


def queue_limit_bytes(qdiscs: list[dict[str, Any]]) -> float:
    """Return what a token bucket of 10 Mbit/s lets wait; ``tc`` says how long that takes beyond the burst, in us."""
    (tbf,) = (qdisc["options"] for qdisc in qdiscs if qdisc["kind"] == "tbf")
    assert tbf["rate"] == 1_250_000
    return float(tbf["limit"] if "limit" in tbf else tbf["lat"] * 1.25 + tbf["burst"])


SABOTAGE = {
    "rate": (
        "tc qdisc replace dev l1-eth3 root tbf rate 9mbit burst 11514 limit 262144",
        "l1-eth3: rate (bytes/s) is 1125000, expected 1.25e+06",
    ),
    "queue": ("tc qdisc del dev s1-eth1 root", "s1-eth1: no tbf queue"),
    "mtu": ("ip link set l2-eth1 mtu 1500", "l2-eth1: mtu is 1500, expected 9000"),
    "datapath": ("ovs-vsctl --no-wait set bridge l1 datapath_type=another", "l1: bridge has"),
    "offload": ("ethtool -K l1-eth1 gso on", "l1-eth1: generic-segmentation is on, expected off"),
    "host-queue": (
        "nsenter --net=/proc/{h2}/ns/net -- tc qdisc replace dev h2-eth0 root tbf rate 9mbit burst 11514 limit 262144",
        "h2-eth0: rate (bytes/s) is 1125000, expected 1.25e+06",
    ),
    "sysctl": (
        "nsenter --net=/proc/{h2}/ns/net -- sysctl -q -w net.ipv4.tcp_timestamps=0",
        "h2: net.ipv4.tcp_timestamps is 0, expected 1",
    ),
    "fail-mode": ("ovs-vsctl set-fail-mode l1 standalone", "l1: bridge has"),
    "congestion-control": (
        "nsenter --net=/proc/{h2}/ns/net -- ip route change 10.0.0.0/8 dev h2-eth0 congctl reno",
        "h2: route has congctl ['reno'], expected cubic",
    ),
}


@pytest.mark.parametrize("name", SABOTAGE)
def test_a_setting_that_is_not_as_specified_is_named(tmp_path: Path, name: str) -> None:
    command, said = SABOTAGE[name]
    done = in_capsule(
        f"""
        with network:
            subprocess.run({command!r}.format(h2=network.pid_of("h2")).split(), check=True)
            network.verify(raw)
        """,
        tmp_path,
        {"leaves": 2, "spines": 1, "hosts_per_leaf": 2},
    )
    assert done.returncode != 0
    assert said in done.stderr


def test_two_equal_fabrics_side_by_side_do_not_see_each_other(tmp_path: Path) -> None:
    body = """
    with network:
        network.verify(raw)
        print("up", flush=True)
        sys.stdin.readline()
        names = subprocess.run(["ovs-vsctl", "list-br"], capture_output=True, text=True, check=True).stdout.split()
        print(json.dumps([names, len(list(Path("/proc").glob("[0-9]*")))]))
    """
    argv = [sys.executable, "-c", BUILD + textwrap.dedent(body)]
    fabric = json.dumps({"leaves": 2, "spines": 2, "hosts_per_leaf": 1})
    runs = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        runs.append(
            subprocess.Popen(
                capsule_argv([*argv, str(tmp_path / name), fabric, find_datapath()]),
                cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    for process in runs:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
    seen = [json.loads(process.communicate("\n", timeout=60)[0]) for process in runs]
    assert [sorted(names) for names, _count in seen] == [["l1", "l2", "s1", "s2"]] * 2
    assert seen[0][1] == seen[1][1]  # each sees its own processes only
    assert our_interfaces() == []


@pytest.mark.parametrize("victim", ["starter", "first process"])
def test_a_killed_capsule_takes_everything_along(tmp_path: Path, victim: str) -> None:
    body = """
    with network:
        namespace = os.readlink("/proc/self/ns/pid")
        print(namespace, flush=True)
        sys.stdin.readline()
    """
    argv = [
        sys.executable,
        "-c",
        BUILD + textwrap.dedent(body),
        str(tmp_path),
        json.dumps({"leaves": 2, "spines": 2, "hosts_per_leaf": 2}),
        find_datapath(),
    ]
    process = subprocess.Popen(
        capsule_argv(argv), cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    namespace = process.stdout.readline().strip()
    members = members_of(namespace)
    assert len(members) > 8  # switches, hosts, daemons
    first = min(members)
    watched = [os.pidfd_open(pid) for pid in members]
    os.kill(process.pid if victim == "starter" else first, signal.SIGKILL)
    process.wait(timeout=10)
    for pidfd in watched:  # a pidfd becomes readable when its process is gone
        assert select.select([pidfd], [], [], 5)[0]
        os.close(pidfd)
    assert members_of(namespace) == []
    assert our_interfaces() == []
    for stream in (process.stdin, process.stdout):
        assert stream is not None
        stream.close()


def members_of(namespace: str) -> list[int]:
    """Living processes of a PID namespace; an orphan that init has not reaped yet lives no more."""
    members = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            if os.readlink(entry / "ns/pid") == namespace and state != "Z":
                members.append(int(entry.name))
        except OSError:
            continue
    return members

"""Counters, probes and calibration against a real kernel: each test in a capsule of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from testbed.evaluation.records import CpuRow, LinkRow, ProbeQueueRow, ProbeRow, QueueRow, ThreadRow
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology
from testbed.results.table_files import load_rows
from testbed.system.capsule import capsule_argv

pytestmark = pytest.mark.root
PROJECT = Path(__file__).resolve().parents[2]

PRELUDE = """
import json, os, socket, subprocess, sys, time
from pathlib import Path
from testbed.system import capsule
from testbed.system.command import run
capsule.enter()
out = Path(sys.argv[1])

def answer(value):
    (out / "answer.json").write_text(json.dumps(value))

def raw_sender(intf):
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((intf, 0))
    return sock

FRAME = bytes.fromhex("02677365ffff" "026773650002" "88b7") + bytes(9000)
"""
PAIR = """
for name in ("all", "default"):  # no neighbour discovery among the counted frames
    Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")
run(["ip", "link", "add", "name", "l1-eth1", "mtu", "9000", "type", "veth", "peer", "name", "s1-eth1", "mtu", "9000"])
for intf in ("l1-eth1", "s1-eth1"):
    run(["ip", "link", "set", intf, "up"])
    run("tc qdisc add dev X root handle 1: tbf rate 10mbit burst 11514 limit 100000".replace("X", intf).split())
"""
FABRIC = """
from testbed.fabric import ovs
from testbed.fabric.network import Network
from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology
topology = Topology(FabricSpec(**json.loads(sys.argv[2])))
daemons = ovs.start_daemons(out)
network = Network(topology, datapath="userspace").__enter__()
for leaf in topology.leaves:
    for host in topology.hosts:
        port = host.port if host.leaf == leaf.index else topology.uplink_port(host.index % topology.fabric.paths)
        run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", leaf.name, f"ip,nw_dst={host.ip},actions=output:{port}"])
for spine in topology.spines:
    for leaf in topology.leaves:
        rule = f"ip,nw_dst={topology.leaf_prefix(leaf.index)},actions=output:{topology.downlink_port(leaf.index, 0)}"
        run(["ovs-ofctl", "-O", "OpenFlow13", "add-flow", spine.name, rule])

def start(name, **config):
    path = out / f"{name}.json"
    path.write_text(json.dumps({"run_dir": str(out), "t0_s": T0, **config}))
    argv = [sys.executable, "-m", f"testbed.measurement.{name}", "--config", str(path)]
    return subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

def told(process, command):
    process.stdin.write(json.dumps({"command": command}) + chr(10))
    process.stdin.flush()

def said(process):
    return json.loads(process.stdout.readline())

T0 = time.monotonic()
"""
SMALL = {"leaves": 2, "spines": 2, "hosts_per_leaf": 2}


def in_capsule(directory: Path, *parts: str, fabric: dict[str, Any] | None = None) -> Any:
    """Run the parts as one program in a new capsule; return what it answered."""
    program = PRELUDE + "".join(textwrap.dedent(part) for part in parts)
    done = subprocess.run(
        capsule_argv([sys.executable, "-c", program, str(directory), json.dumps(fabric or {})]),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads((directory / "answer.json").read_text())


def test_netlink_says_what_tc_and_sysfs_say(tmp_path: Path) -> None:
    result = in_capsule(
        tmp_path,
        PAIR,
        """
        from dataclasses import asdict
        from testbed.measurement.netlink import RouteSocket
        from testbed.measurement.parsers import qdiscs
        sender = raw_sender("l1-eth1")
        for _ in range(20):  # 11 fit into the limit of 100000 bytes: some are dropped, most wait
            try:
                sender.send(FRAME)
            except OSError:
                pass
        with RouteSocket() as route:
            busy = [asdict(q) for q in route.qdiscs() if q.backlog_bytes]
            while any(q.backlog_bytes for q in route.qdiscs()):
                time.sleep(0.01)
            netlink = {q.intf: asdict(q) for q in route.qdiscs()}
            one = next(q for q in route.qdiscs() if q.intf == "l1-eth1")
            alone = asdict(route.qdisc(one.ifindex, one.handle))
            names = {link.ifindex: link.intf for link in route.links()}
            counters = {names[c.ifindex]: asdict(c) for c in route.link_counters()}
        statistics = {
            intf: {name: int(Path(f"/sys/class/net/{intf}/statistics/{name}").read_text()) for name in
                   ("tx_bytes", "tx_packets", "rx_bytes", "rx_packets", "rx_dropped", "tx_dropped")}
            for intf in names.values()
        }
        tc = {q.intf: asdict(q) for q in qdiscs(run(["tc", "-s", "-j", "qdisc"]).stdout)}
        answer({"netlink": netlink, "tc": tc, "counters": counters, "sysfs": statistics, "busy": busy, "alone": alone})
        """,
    )
    assert set(result["netlink"]) == set(result["tc"]) == {"lo", "l1-eth1", "s1-eth1"}
    for intf, queue in result["tc"].items():
        shared = set(queue) & set(result["netlink"][intf])
        assert len(shared) == 8
        assert {key: result["netlink"][intf][key] for key in shared} == {key: queue[key] for key in shared}
    uplink = result["netlink"]["l1-eth1"]
    assert uplink["dropped_packets"] > 0
    assert uplink["overlimits"] > 0
    assert uplink["sent_bytes"] >= (20 - uplink["dropped_packets"]) * 9014
    assert {**result["alone"], "parent": uplink["parent"]} == uplink
    (busy,) = result["busy"]
    assert busy["backlog_bytes"] == busy["backlog_packets"] * 9014 >= 5 * 9014
    for intf, statistics in result["sysfs"].items():
        assert {key: result["counters"][intf][key] for key in statistics} == statistics


def test_stacked_queues_are_read_as_one(tmp_path: Path) -> None:
    result = in_capsule(
        tmp_path,
        PAIR,
        """
        from dataclasses import asdict
        from testbed.measurement.netlink import RouteSocket
        from testbed.measurement.netlink_format import egress_queues
        run("tc qdisc del dev l1-eth1 root".split())
        run("tc qdisc add dev l1-eth1 root handle 1: htb default 1".split())
        run("tc class add dev l1-eth1 parent 1: classid 1:1 htb rate 100mbit".split())
        run("tc qdisc add dev l1-eth1 parent 1:1 handle 10: tbf rate 10mbit burst 11514 limit 40000".split())
        sender = raw_sender("l1-eth1")
        for _ in range(12):  # one leaves at once, four fit into the limit
            try:
                sender.send(FRAME)
            except OSError:
                pass
        with RouteSocket() as route:
            stack = [q for q in route.qdiscs() if q.intf == "l1-eth1"]
        answer({"stack": [asdict(q) for q in stack], "merged": [asdict(q) for q in egress_queues(stack)]})
        """,
    )
    root, shaper = result["stack"]
    assert (root["kind"], shaper["kind"]) == ("htb", "tbf")
    (merged,) = result["merged"]
    assert merged["kind"] == "tbf"
    assert merged["backlog_bytes"] == shaper["backlog_bytes"] >= 3 * 9014
    assert merged["dropped_packets"] == root["dropped_packets"] == shaper["dropped_packets"] >= 6


@pytest.mark.beside
def test_socket_stays_in_the_namespace_it_was_opened_in(tmp_path: Path) -> None:
    result = in_capsule(
        tmp_path,
        PAIR,
        """
        from testbed.measurement.netlink import RouteSocket
        child = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo ready; exec sleep 60"], stdout=subprocess.PIPE)
        child.stdout.readline()
        run(["ip", "link", "set", "s1-eth1", "netns", str(child.pid), "name", "h1-eth0"])
        with RouteSocket.in_namespace_of(child.pid) as there, RouteSocket() as here:
            child.kill()
            child.wait()
            answer([[link.intf for link in sock.links()] for sock in (there, here)])
        """,
    )
    assert result == [["lo", "h1-eth0"], ["lo", "l1-eth1"]]


def test_sampler_sees_every_link_end_and_every_process(tmp_path: Path) -> None:
    fabric = {"leaves": 4, "spines": 4, "hosts_per_leaf": 2}  # 8 + 2 x 16 = 40 switch ends, 8 host ends
    stopped = in_capsule(
        tmp_path,
        FABRIC,
        """
        roles = {daemons.vswitchd_pid: "vswitchd", os.getpid(): "runner"}
        sampler = start("sampler", interval_s=0.1, roles=roles, host_pids=network.host_pids())
        said(sampler)
        ping = ["ping", "-c", "20", "-i", "0.1", "-s", "1000", topology.hosts[-1].ip]
        run(network.enter_argv("h1", ping), timeout_s=30)
        told(sampler, "stop")
        answer({**said(sampler), "status": sampler.wait(10)})
        """,
        fabric=fabric,
    )
    assert stopped["status"] == 0
    assert stopped["samples"] >= 18
    assert stopped["cpu_cores"] < 0.1  # 0.01 on an idle machine
    topology = Topology(FabricSpec(**fabric))
    hosts = {host.intf for host in topology.hosts}
    ends = {end.intf for link in topology.links for end in (link.lower, link.upper)}
    links, queues = load_rows(tmp_path, LinkRow), load_rows(tmp_path, QueueRow)
    for rows in (links, queues):
        times: dict[str, list[float]] = {}
        for row in rows:
            times.setdefault(row.intf, []).append(row.t_s)
        assert set(times) == ends
        assert all(len(seen) == (2 if intf in hosts else stopped["samples"]) for intf, seen in times.items())
        assert all(seen == sorted(seen) for seen in times.values())
    first, last = ([row for row in links if row.intf == "h1-eth0"][index] for index in (0, -1))
    assert last.tx_bytes - first.tx_bytes >= 20 * (1000 + 8 + 20 + 14)
    assert last.rx_packets - first.rx_packets >= 20
    assert last.rx_packets == [row for row in links if row.intf == "l1-eth1"][-1].tx_packets
    assert {row.core for row in load_rows(tmp_path, CpuRow)}
    roles = {row.role for row in load_rows(tmp_path, ThreadRow)}
    assert {"vswitchd", "ovsdb", "runner", "sampler", "other"} <= roles


@pytest.mark.beside
def test_sampler_on_a_full_disk_says_so_and_leaves_whole_lines(tmp_path: Path) -> None:
    result = in_capsule(
        tmp_path,
        FABRIC,
        """
        small = out / "small"
        small.mkdir()
        run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(small)])
        sampler = start("sampler", run_dir=str(small), interval_s=0.01, roles={}, host_pids={})
        events = [json.loads(line) for line in sampler.stdout]
        texts = {path.name: path.read_text() for path in small.iterdir()}
        answer({"events": events, "status": sampler.wait(10), "texts": texts})
        """,
        fabric=SMALL,
    )
    assert result["status"] == 1
    assert [event["event"] for event in result["events"]] == ["sampling", "error"]
    assert "No space left on device" in result["events"][-1]["message"]
    for name, text in result["texts"].items():
        assert text.endswith("\n"), name
        header, *lines = text.splitlines()
        assert all(line.count(",") == header.count(",") for line in lines), name


def test_latency_is_the_time_a_probe_waits_behind_a_known_backlog(tmp_path: Path) -> None:
    stopped = in_capsule(
        tmp_path,
        FABRIC,
        """
        from testbed.system.namespaces import network_namespace_of
        from testbed.measurement.netlink import RouteSocket
        h1, h2 = topology.hosts[0], topology.hosts[1]
        pid = network.pid_of(h1.name)
        with network_namespace_of(pid):
            sender = raw_sender(h1.intf)
        sender.setsockopt(socket.SOL_SOCKET, 32, 1 << 20)
        from testbed.measurement import probes
        hosts = {h.name: (network.pid_of(h.name), h.ip) for h in (h1, h2)}
        pairs = [(h1.name, h2.name)]
        config = probes.Config(
            run_dir=out, t0_s=T0, hosts=hosts, interval_s=1.0, probe_bytes=64, pairs=pairs, intfs={h1.name: h1.intf}
        )
        with probes.Probes(config) as running, RouteSocket.in_namespace_of(pid) as route:
            running.send(h1.name, h2.name, 0.0)  # the first packet of a flow takes the switch's slow path
            running.await_stragglers()
            for _ in range(20):
                sender.send(FRAME)
            queue = next(q for q in route.qdiscs() if q.intf == h1.intf)
            running.send(h1.name, h2.name, 0.0)
            running.await_stragglers()
            answer({"backlog_bytes": queue.backlog_bytes, "error_s": running.offset.error_ns / 1e9})
        """,
        fabric={"leaves": 1, "spines": 1, "hosts_per_leaf": 2},
    )
    latency_s = load_rows(tmp_path, ProbeRow)[-1].latency_s
    assert stopped["backlog_bytes"] >= 15 * 9014
    expected_s = (stopped["backlog_bytes"] + 106) / 1.25e6  # and itself: 64 + 8 + 20 + 14 bytes
    assert latency_s is not None
    # the token bucket may hold up to 11514 bytes when the backlog is read, and its timer is late now and then
    assert expected_s - 11514 / 1.25e6 - 0.001 <= latency_s <= expected_s + 0.03
    assert stopped["error_s"] < 0.001
    empty, before = load_rows(tmp_path, ProbeQueueRow)
    assert (empty.seq, empty.backlog_bytes, before.seq) == (0, 0, 1)
    # a moment after the test looked: not more than a frame has left meanwhile
    assert stopped["backlog_bytes"] - 9014 <= before.backlog_bytes <= stopped["backlog_bytes"]


def test_probes_cross_the_fabric(tmp_path: Path) -> None:
    stopped = in_capsule(
        tmp_path,
        FABRIC,
        """
        from random import Random
        from testbed.measurement.probes import choose_pairs, linger_s
        hosts = {h.name: {"pid": network.pid_of(h.name), "ip": h.ip} for h in topology.hosts}
        pairs = choose_pairs(topology, per_host=2, rng=Random(1))
        probes = start(
            "probes",
            interval_s=0.05,
            probe_bytes=64,
            hosts=hosts,
            pairs=pairs,
            linger_s=linger_s(topology),
            intfs={h.name: h.intf for h in topology.hosts},
        )
        said(probes)
        told(probes, "start")
        while (out / "probes.csv").stat().st_size < 4000:
            time.sleep(0.02)
        told(probes, "stop")
        answer({**said(probes), "status": probes.wait(10), "pairs": pairs})
        """,
        fabric=SMALL,
    )
    rows = load_rows(tmp_path, ProbeRow)
    assert stopped["status"] == 0
    assert stopped["sent"] == stopped["received"] == len(rows) > 50
    assert {(row.src_host, row.dst_host) for row in rows} == {tuple(pair) for pair in stopped["pairs"]}
    latencies = sorted(row.latency_s for row in rows if row.latency_s is not None)
    assert 0 < latencies[0] < latencies[len(latencies) // 2] < 0.02
    assert stopped["receive_error_estimate_s"] < 0.001
    queues = load_rows(tmp_path, ProbeQueueRow)
    assert {(row.seq, row.sent_s, row.src_host, row.dst_host) for row in queues} == {
        (row.seq, row.sent_s, row.src_host, row.dst_host) for row in rows
    }
    assert sum(row.backlog_bytes for row in queues) == 0  # nothing else is sent
    assert stopped["cpu_cores"] < 0.1  # 80 probes a second


CALIBRATE = """
from dataclasses import asdict
from testbed.measurement.calibrate import calibrate
from testbed.errors import NetworkError
from testbed.measurement.parsers import qdiscs
"""


def test_calibration_finds_every_rate_as_configured_and_leaves_queues_empty(tmp_path: Path) -> None:
    fabric = {**SMALL, "uplink_rate_mbps": 5.0}
    result = in_capsule(
        tmp_path,
        FABRIC,
        CALIBRATE,
        """
        began_s = time.monotonic()
        rows = calibrate(topology, network.host_pids())
        duration_s = time.monotonic() - began_s
        left = sum(q.backlog_bytes + q.dropped_packets for q in qdiscs(run(["tc", "-s", "-j", "qdisc"]).stdout))
        answer({"rows": [asdict(row) for row in rows], "left": left, "duration_s": duration_s})
        """,
        fabric=fabric,
    )
    topology = Topology(FabricSpec(**fabric))  # type: ignore[arg-type]
    assert [row["direction"] for row in result["rows"]] == [direction.name for direction in topology.directions]
    for row, direction in zip(result["rows"], topology.directions, strict=True):
        assert row["configured_mbps"] == direction.rate_mbps
        assert row["measured_mbps"] == pytest.approx(direction.rate_mbps, rel=0.03)
        assert row["error_fraction"] == pytest.approx(row["measured_mbps"] / direction.rate_mbps - 1)
    assert result["left"] == 0
    assert result["duration_s"] < 15  # 0.9 s on an idle machine


@pytest.mark.parametrize("slow", ["l1-eth3", "h2-eth0"])
def test_calibration_finds_the_link_that_is_slow(tmp_path: Path, slow: str) -> None:
    rows = in_capsule(
        tmp_path,
        FABRIC,
        CALIBRATE,
        f"""
        change = "tc qdisc change dev {slow} root handle 1: tbf rate 8mbit burst 11514 limit 262144".split()
        run(network.enter_argv("h2", change) if "{slow}".startswith("h2") else change)
        answer([asdict(row) for row in calibrate(topology, network.host_pids())])
        """,
        fabric=SMALL,
    )
    assert [row["direction"].startswith(slow + ">") for row in rows].count(True) == 1 < len(rows)
    for row in rows:
        expected = -0.2 if row["direction"].startswith(slow + ">") else 0.0
        assert row["error_fraction"] == pytest.approx(expected, abs=0.03), row


@pytest.mark.beside
def test_calibration_of_an_unshaped_link_is_an_error(tmp_path: Path) -> None:
    message = in_capsule(
        tmp_path,
        FABRIC,
        CALIBRATE,
        """
        run("tc qdisc del dev s1-eth2 root".split())
        try:
            calibrate(topology, network.host_pids())
        except NetworkError as error:
            answer(str(error))
        """,
        fabric=SMALL,
    )
    assert message == "calibration of s1-eth2>l2-eth3: queues of s1-eth2 are: noqueue; expected tbf"

"""Poisson flows, bursts and a replayed capture beside a collective, over real switches: one run per scheme for all."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from gse_runs import events, gse_run, table
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Raw
from scapy.utils import PcapWriter

from testbed.model.cross_flows import seeded_flows
from testbed.model.topology import Topology
from testbed.results.run import load

pytestmark = pytest.mark.root

CLIENT, SERVER = "192.168.1.10", "192.168.1.20"
FRAMES = 300
SETTINGS = {
    "fabric.leaves": 2,
    "fabric.spines": 2,
    "fabric.hosts_per_leaf": 2,
    "workload.size_bytes": 1_048_576,
    "workload.iterations": 2,
    "workload.warmup_size_bytes": 4096,
    "measure.calibrate": False,
    "measure.probe_interval_ms": 0,
}
POISSON = {"load": 0.15, "sizes": [[200, 0.5], [20_000, 1.0]], "partners": "other_leaf"}
BURSTS = {"storage": ["h4"], "period_s": 0.8, "first_s": 0.1, "size_bytes": 30_000, "senders": ["h1", "h2"]}


def capture(path: Path) -> None:
    """A conversation of TCP and UDP, 5 ms between frames, and an ARP request among them."""
    with PcapWriter(str(path)) as out:
        for number in range(FRAMES):
            src, dst = (CLIENT, SERVER) if number % 3 else (SERVER, CLIENT)
            transport = TCP(sport=5000, dport=443, flags="PA") if number % 2 else UDP(sport=5000, dport=4791)
            packet = Ether() / IP(src=src, dst=dst) / transport / Raw(bytes(number))
            if number == 7:
                packet = Ether() / ARP()
            packet.time = 1000 + number * 0.005
            out.write(packet)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    results = tmp_path_factory.mktemp("cross")
    path = results / "x.pcap"
    capture(path)
    replay = {"file": str(path), "first_s": 0.05, "map": {CLIENT: "h1", SERVER: "h3"}}
    settings = {**SETTINGS, "cross_traffic": {"poisson": POISSON, "bursts": BURSTS, "replay": replay}}
    found = gse_run(results, "allreduce_ring", settings, schemes="ecmp,gse2-n2n,gse2-e2e", seeds="1,").runs
    return {run["scheme"]: run for run in found}


def test_flows_are_those_of_the_seed_and_arrive_under_every_scheme(runs: dict[str, dict[str, Any]]) -> None:
    asked = load(Path(runs["ecmp"]["run_dir"])).scenario
    hosts = Topology(asked.fabric).hosts
    for run in runs.values():
        rows = sorted(table(run, "crossflows"), key=lambda row: int(row["seq"]))
        assert len(rows) > 20
        wanted = islice(seeded_flows(asked, hosts, hosts, 1), len(rows))  # they have no end
        for row, flow in zip(rows, wanted, strict=True):
            assert (row["src_host"], row["dst_host"], row["size_bytes"]) == (flow.src, flow.dst, str(flow.size_bytes))
        (stopped,) = events(run, "crossflows_stopped")
        assert (stopped["begun"], stopped["missing"]) == (len(rows), 0)
        assert run["flow_times"]["all"]["count"] > 10
        assert run["flow_times"]["all"]["missing"] == 0
        assert run["flow_times"]["all"]["slowdown_p50"] > 0


def test_bursts_end(runs: dict[str, dict[str, Any]]) -> None:
    for run in runs.values():
        assert run["bursts"]["count"] >= 2
        assert run["bursts"]["missing"] == 0
        for one in run["bursts"]["each"]:
            assert one["size_bytes"] == 60_000
            assert one["completion_s"] > one["ideal_s"] / 2  # full token buckets let the first frames pass at once


def test_every_frame_of_the_capture_is_accounted_for(runs: dict[str, dict[str, Any]]) -> None:
    for run in runs.values():
        (stopped,) = events(run, "replay_stopped")
        assert stopped["unmapped_frames"] == [[8, "not IPv4 (EtherType 0x0806)"]]
        assert stopped["sent"] + stopped["unsent"] == FRAMES - 1
        assert stopped["unsent"] == 0
        rows = table(run, "replay")
        assert sorted(int(row["frame"]) for row in rows) == [n for n in range(1, FRAMES + 1) if n != 8]
        arrived = [row for row in rows if row["latency_s"]]
        assert len(arrived) == stopped["received"]
        # Under ecmp full queues drop replayed frames like any other: 1 to 3% here. None is missing that nobody dropped.
        lost = len(rows) - len(arrived)
        assert lost <= run["dropped_packets"] if run["scheme"] == "ecmp" else lost <= 0.02 * len(rows)
        assert lost <= 0.1 * len(rows)
        assert {(row["src_host"], row["dst_host"]) for row in rows} == {("h1", "h3"), ("h3", "h1")}
        with open(Path(run["run_dir"], "raw", "replay-unmapped.csv"), newline="") as file:
            assert [row["frame"] for row in csv.DictReader(file)] == ["8"]
        sent_s = [float(row["sent_s"]) for row in sorted(rows, key=lambda row: int(row["frame"]))]
        assert sent_s[-1] - sent_s[0] == pytest.approx((FRAMES - 1) * 0.005, abs=0.1)


def test_nobody_answers_replayed_frames(runs: dict[str, dict[str, Any]]) -> None:
    """A reset or a "port unreachable" would be traffic the capture has not; agents would take it for a stranger's."""
    for run in runs.values():
        assert run["wrong_elements"] == 0
        assert not [reason for reason in run["reasons"] if "stranger" in reason]

"""GSOS with real Open vSwitch switches, under os-ken and under Ryu 4.34.

Each check is a function run as the first process of a capsule of its own: pytest starts this file as a program.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from gsos_fabric import PORT, Fabric, chi_squared, eventually, fabric, sh

from testbed.errors import ControllerError
from testbed.model.ranks import UDP, Flow, pair_flows, place_ranks
from testbed.system.capsule import capsule_argv

PROJECT = Path(__file__).resolve().parents[2]
SMALL = {"leaves": 3, "spines": 3, "hosts_per_leaf": 2}

# 99.9 % of uniform samples stay below this, three degrees of freedom (four paths); the bases are fixed, so no flakes.
CHI_SQUARED_3_DOF = 16.27
CHI_SQUARED_2_DOF = 13.82

CHECKS: dict[str, Callable[[str], None]] = {}


def check(function: Callable[[str], None]) -> Callable[[str], None]:
    CHECKS[function.__name__] = function
    return function


def ring_of(here: Fabric, flows_per_hop: int = 1) -> list[Flow]:
    from testbed.model.pattern import ring  # with all workloads, which the other checks need not wait for

    rng = Random(3)
    hosts = place_ranks(here.topology, here.topology.fabric.hosts, "cross_leaf", rng)
    hops = pair_flows(hosts, ring(len(hosts)).pairs, flows_per_pair=flows_per_hop, demand_bytes=1000, rng=rng)
    return [flow for hop in hops for flow in hop]


def announce(northbound, flows, job="ring"):
    return northbound.call("announce", job=job, flows=[{**vars(flow)} for flow in flows])


def where(placement):
    """Return a placement without what was measured of each flow since: that depends on when counters are read."""
    return [{name: value for name, value in answer.items() if name != "link_fraction"} for answer in placement]


def path_number(name: str) -> int:
    return int(name.removeprefix("s")) - 1


# --- ecmp ---------------------------------------------------------------------------------------------


@check
def every_switch_gets_its_rules(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("ecmp")
        assert "priority=200,ip,nw_dst=10.0.1.2 actions=output:2" in here.rules("l1")[3].removeprefix("table=0, ")
        assert len(here.rules("l1")) == 2 + 2
        assert len(here.rules("s3")) == 3
        assert northbound.call("status")["rules"] == {
            switch.name: len(here.rules(switch.name)) for switch in here.topology.switches
        }


@check
def hashing_is_uniform_and_depends_on_the_seed(runtime):
    with fabric(runtime, leaves=2, spines=4, hosts_per_leaf=2) as here:
        flows = here.flows(1000, seed=1)
        chosen = {}
        for seed in (1, 2, 3):
            here.ready("ecmp", seed=seed)
            chosen[seed] = here.paths_of(flows)
            assert chi_squared(Counter(chosen[seed]), 4) < CHI_SQUARED_3_DOF, Counter(chosen[seed])
            here.end_gsos(signal.SIGKILL)
        for one, two in ((1, 2), (2, 3), (1, 3)):
            same = sum(a == b for a, b in zip(chosen[one], chosen[two], strict=True)) / len(flows)
            # unrelated choices among four coincide in a quarter; 1000 of them within 0.25 +- 4 sigma (0.0137)
            assert 0.195 < same < 0.305, (one, two, same)
        here.ready("ecmp", seed=1)
        assert here.paths_of(flows) == chosen[1], "a seed fixes every flow's path"


@check
def two_leaves_choose_independently(runtime):
    """The same 5-tuples hashed at two switches: were the bases related, ECMP would be better or worse than it is."""
    with fabric(runtime, leaves=2, spines=4, hosts_per_leaf=2) as here:
        here.ready("ecmp")
        there = here.flows(1000, seed=2, src="h1", dst="h3")
        back = [Flow(flow.dst_ip, flow.src_ip, flow.proto, flow.dst_port, flow.src_port) for flow in there]
        same = sum(a == b for a, b in zip(here.paths_of(there), here.paths_of(back), strict=True)) / 1000
        assert 0.195 < same < 0.305, same


@check
def dead_port_is_repaired_by_the_switch_alone(runtime):
    with fabric(runtime, **SMALL) as here:
        here.ready("ecmp")
        here.end_gsos(signal.SIGKILL)
        flows = here.flows(300, seed=1)
        before, rules = here.paths_of(flows), here.rules("l1")
        here.set_link(0, 1, up=False)
        eventually(lambda: 1 not in here.paths_of(flows), "no flow on the dead uplink")
        after = here.paths_of(flows)
        assert None not in after
        assert all(a == b for a, b in zip(before, after, strict=True) if b != 1 and a != 1), "others stay"
        assert here.rules("l1") == rules
        here.set_link(0, 1, up=True)
        eventually(lambda: here.paths_of(flows) == before, "as before")


@check
def dead_far_link_is_repaired_by_gsos(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("ecmp")
        flows = here.flows(300, seed=1)  # from leaf 1 to leaf 3
        before = here.paths_of(flows)
        here.set_link(2, 1, up=False)  # l3-s2: leaf 1's own ports are all well
        eventually(lambda: 1 not in here.paths_of(flows), "no flow by the spine that lost the leaf")
        eventually(lambda: northbound.call("status")["failed_links"] == ["l3-s2"], "status knows")
        assert northbound.call("paths")["l1-l3"] == ["s1", "s3"]
        assert [event["event"] for event in northbound.call("events")] == ["link down"]
        here.set_link(2, 1, up=True)
        eventually(lambda: here.paths_of(flows) == before, "as before")


@check
def dead_port_keeps_its_flows_until_gsos_acts_where_repair_is_the_controllers(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("ecmp", repair="controller")
        flows = here.flows(300, seed=1)
        before, rules = here.paths_of(flows), here.rules("l1")
        assert chi_squared(Counter(before), 3) < CHI_SQUARED_2_DOF, Counter(before)
        with here.gsos_stopped():
            here.set_link(0, 1, up=False)
            eventually(lambda: here.has_lost_carrier(0, 1), "the leaf knows that its port is dead")
            assert here.paths_of(flows) == before, "and sends into it all the same"
            assert here.rules("l1") == rules
        eventually(lambda: 1 not in here.paths_of(flows), "GSOS has taken the port out")
        assert None not in here.paths_of(flows)
        here.set_link(0, 1, up=True)
        eventually(lambda: here.paths_of(flows) == before, "as before")
        assert northbound.call("status")["switch_errors"] == []


@check
def placed_flows_wait_for_gsos_too_where_repair_is_the_controllers(runtime):
    with fabric(runtime) as here:
        northbound = here.ready("gse1", repair="controller")
        flows = ring_of(here)
        announce(northbound, flows)
        before = here.paths_of(flows)
        with here.gsos_stopped():
            here.set_link(0, 1, up=False)
            eventually(lambda: here.has_lost_carrier(0, 1), "the leaf knows that its port is dead")
            assert here.paths_of(flows) == before
        hit = [i for i, flow in enumerate(flows) if before[i] == 1 and "10.0.1." in (flow.src_ip[:7], flow.dst_ip[:7])]
        eventually(lambda: all(here.paths_of([flows[i]]) != [1] for i in hit), "GSOS has moved them")
        assert len(hit) == 2


# --- gse1 ---------------------------------------------------------------------------------------------


@check
def announced_job_is_pinned_without_conflict(runtime):
    with fabric(runtime) as here:  # 4 x 4 x 4
        northbound = here.ready("gse1")
        flows = ring_of(here)
        placed = announce(northbound, flows)
        # What the switches say, at the moment the answer arrives: announced means confirmed.
        assert here.paths_of(flows) == [path_number(answer["path"]) for answer in placed]
        used = Counter(answer[end] for answer in placed for end in ("uplink", "downlink"))
        assert max(used.values()) == 1
        reverse = [Flow(flow.dst_ip, flow.src_ip, flow.proto, flow.dst_port, flow.src_port) for flow in flows]
        assert here.paths_of(reverse) == here.paths_of(flows)
        assert northbound.call("placement") == placed
        northbound.call("withdraw", job="ring")
        assert not any("priority=400" in rule for leaf in ("l1", "l2", "l3", "l4") for rule in here.rules(leaf))


@check
def parallel_links_are_lanes(runtime):
    with fabric(runtime, leaves=2, spines=2, hosts_per_leaf=4, links_per_pair=2) as here:
        northbound = here.ready("gse1")
        flows = ring_of(here)
        placed = announce(northbound, flows)
        used = Counter(answer[end] for answer in placed for end in ("uplink", "downlink"))
        assert max(used.values()) == 1
        flow, answer = flows[0], placed[0]
        spine, in_port = answer["path"].split(".")[0], int(answer["uplink"].removeprefix("l1-eth")) - 4
        lane = (in_port - 1) % 2
        text = here.unixctl.call(
            "ofproto/trace", spine, f"in_port={lane + 1},tcp,nw_src={flow.src_ip},nw_dst={flow.dst_ip},nw_ttl=64"
        )
        port = text.rsplit("Datapath actions: ", 1)[1].split()[0]
        assert f"{answer['downlink']} {lane + 3}/{port}:" in here.unixctl.call("dpif/show"), text


@check
def failed_path_is_left_and_taken_again(runtime):
    with fabric(runtime) as here:
        northbound = here.ready("gse1", restore_hold_s=0.5, poll_interval_s=0.1)
        flows = ring_of(here)
        announce(northbound, flows)
        before = here.paths_of(flows)
        here.set_link(0, 1, up=False)
        touched = {
            i
            for i, flow in enumerate(flows)
            if before[i] == 1 and (flow.src_ip.startswith("10.0.1.") or flow.dst_ip.startswith("10.0.1."))
        }
        assert len(touched) == 2

        def moved() -> bool:
            now = here.paths_of(flows)
            return {i for i in range(len(flows)) if now[i] != before[i]} == touched

        eventually(moved, "just the flows of the dead link have moved")
        here.set_link(0, 1, up=True)
        eventually(lambda: here.paths_of(flows) == before, "back where they were planned")
        kinds = Counter(event["event"] for event in northbound.call("events"))
        assert (kinds["rerouted"], kinds["restored"]) == (2, 2)


@check
def unannounced_flows_are_placed_on_first_packet_and_forgotten_when_idle(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("gse1", poll_interval_s=0.2)
        tcp_flow = here.flows(1, seed=5)[0]
        udp_flow = Flow(tcp_flow.src_ip, tcp_flow.dst_ip, UDP, 5000, 6000)
        here.send(tcp_flow, flags=0x10)  # an ACK of a connection GSOS never saw begin: by hash
        here.send(tcp_flow, flags=0x02)
        here.send(udp_flow, payload_bytes=100)
        eventually(lambda: len(northbound.call("placement")) == 2, "both are placed")
        placed = northbound.call("placement")
        eventually(
            lambda: here.paths_of([tcp_flow, udp_flow]) == [path_number(answer["path"]) for answer in placed],
            "the switches do as placed",
        )
        assert len({answer["path"] for answer in placed}) == 2, "the second avoids the first, still unmeasured"
        for _ in range(20):  # and now GSOS is not asked again
            here.send(tcp_flow, flags=0x10)
            here.send(udp_flow, payload_bytes=100)
        eventually(lambda: northbound.call("placement") == [], "idle flows are forgotten", timeout_s=20)
        eventually(
            lambda: not any("priority=400" in rule for rule in here.rules("l1") + here.rules("l3")), "and unpinned"
        )


@check
def without_gsos_unannounced_flows_keep_going_by_hash(runtime):
    with fabric(runtime, **SMALL) as here:
        here.ready("gse1")
        here.end_gsos(signal.SIGKILL)
        flow = here.flows(1, seed=6)[0]
        dst = here.topology.host_by_ip(flow.dst_ip)
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as caught:
            caught.bind((dst.intf, 3))
            caught.settimeout(5)
            here.send(flow, flags=0x02)
            while flow.src_port.to_bytes(2, "big") not in caught.recv(2000):
                pass


@check
def hot_link_is_relieved(runtime):
    """Two flows end up on one path; measured, they are parted. The rates are real, if small."""
    with fabric(runtime, leaves=2, spines=2, hosts_per_leaf=2, link_rate_mbps=0.4) as here:
        northbound = here.ready("gse1", poll_interval_s=0.5, hold_s=0.5, restore_hold_s=0.1, hot_utilization=0.9)
        here.set_link(0, 0, up=False)
        eventually(lambda: northbound.call("paths")["l1-l2"] == ["s2"], "one path left")
        flows = [Flow("10.0.1.1", "10.0.2.1", UDP, 1, 1), Flow("10.0.1.2", "10.0.2.2", UDP, 2, 2)]
        announce(northbound, flows)
        here.set_link(0, 0, up=True)
        eventually(lambda: len(northbound.call("paths")["l1-l2"]) == 2, "both paths live")
        assert here.paths_of(flows) == [1, 1]
        stop = threading.Event()

        def send() -> None:
            began_s, sent = time.monotonic(), 0
            while not stop.wait(0.01):
                due = int((time.monotonic() - began_s) * 25)  # 2 flows x 1042 bytes x 25/s = 0.42 Mbit/s
                for _ in range(due - sent):
                    for flow in flows:
                        here.send(flow, payload_bytes=1000)
                sent = due

        sender = threading.Thread(target=send)
        sender.start()
        try:
            eventually(lambda: sorted(here.paths_of(flows)) == [0, 1], "parted", timeout_s=15)
            (moved,) = [event for event in northbound.call("events") if event["event"] == "moved"]
            time.sleep(2)  # long enough for several polls: nothing moves back and forth
            assert [e for e in northbound.call("events") if e["event"] == "moved"] == [moved]
            assert max(northbound.call("counters").values()) < 0.9
        finally:
            stop.set()
            sender.join()


# --- dying and coming back -------------------------------------------------------------------------


@check
def killed_gsos_leaves_the_rules_and_its_successor_takes_them_over(runtime):
    with fabric(runtime) as here:
        northbound = here.ready("gse1")
        flows = ring_of(here)
        placed = announce(northbound, flows)
        names = [switch.name for switch in here.topology.switches]
        rules = {name: here.rules(name) for name in names}
        cookies = {name: here.cookies(name) for name in names}
        here.end_gsos(signal.SIGKILL)
        northbound.close()
        assert {name: here.rules(name) for name in names} == rules
        sh("ovs-ofctl -O OpenFlow13 add-flow l1 'cookie=0x77,priority=999,ip,nw_dst=10.0.4.4,actions=drop'")
        watch = LossWatch(here, flows[0])
        northbound = here.ready("gse1")
        eventually(lambda: watch.sent > 50, "enough frames were sent to notice a gap")
        watch.stop()
        assert {name: here.rules(name) for name in names} == rules, "the foreign rule is gone, all others are there"
        assert all(len(here.cookies(name)) <= 2 and not here.cookies(name) & cookies[name] for name in names)
        assert where(northbound.call("placement")) == where(placed)
        assert watch.lost == 0, f"{watch.lost} of {watch.sent} frames lost while the rules were taken over"


class LossWatch:
    """Sends frames of one flow from host to host all the time and counts those that do not arrive."""

    def __init__(self, here: Fabric, flow: Flow) -> None:
        self._here, self._flow = here, flow
        dst = here.topology.host_by_ip(flow.dst_ip)
        self._caught = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self._caught.bind((dst.intf, 3))
        self._caught.settimeout(2)
        self.sent = self.lost = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        mark = self._flow.src_port.to_bytes(2, "big") + self._flow.dst_port.to_bytes(2, "big")
        while not self._stop.wait(0.002):
            self._here.send(self._flow)
            self.sent += 1
            try:
                while mark not in self._caught.recv(2000):
                    pass
            except TimeoutError:
                self.lost += 1

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._caught.close()


@check
def stopped_gsos_removes_its_socket(runtime):
    with fabric(runtime, **SMALL) as here:
        here.ready("ecmp")
        here.end_gsos(signal.SIGTERM)
        assert here.gsos.returncode == 0
        assert not Path("/run/gse/gsos.sock").exists()


@check
def reconnect_storm_ends_with_the_right_rules(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("gse1")
        flows = ring_of(here)
        announce(northbound, flows)
        names = [switch.name for switch in here.topology.switches]
        rules = {name: here.rules(name) for name in names}
        watch = LossWatch(here, flows[0])
        for turn in range(15):
            here.unixctl.call("bridge/reconnect", *([] if turn % 5 == 0 else [names[turn % 6]]))
        eventually(lambda: watch.sent > 50, "enough frames were sent to notice a gap")
        watch.stop()
        assert watch.lost == 0, f"{watch.lost} of {watch.sent} frames lost"
        assert northbound.call("wait_ready", timeout_s=20.0, answer_within_s=25)["ready"]
        assert {name: here.rules(name) for name in names} == rules
        assert northbound.call("status")["switch_errors"] == []


@check
def strangers_and_emptied_switches_do_no_harm(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("gse1")
        announce(northbound, ring_of(here))
        names = [switch.name for switch in here.topology.switches]
        rules = {name: here.rules(name) for name in names}
        strangers = []
        for turn in range(12):
            some = names[turn % 3 :: 3]
            here.disconnect(*some)
            here.connect(*some)
            stranger = socket.create_connection(("127.0.0.1", PORT))
            stranger.sendall(b"\x04\x00\x00\x08\x00\x00\x00\x01" if turn % 2 else b"GET / HTTP/1.0\r\n\r\n")
            strangers.append(stranger)
        eventually(lambda: {name: here.rules(name) for name in names} == rules, "all rules are back", timeout_s=20)
        for stranger in strangers:
            stranger.close()
        assert northbound.call("wait_ready", timeout_s=20.0, answer_within_s=25)["ready"]
        assert northbound.call("status")["switch_errors"] == []


@check
def switch_that_comes_late_is_waited_for(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.start_gsos("ecmp")
        here.disconnect("s2")
        eventually(lambda: northbound.call("status")["not_ready"] == ["s2"], "all the others are there")
        began_s = time.monotonic()
        assert not northbound.call("wait_ready", timeout_s=0.3)["ready"]
        assert 0.3 <= time.monotonic() - began_s < 2
        here.connect("s2")
        assert northbound.call("wait_ready", timeout_s=10.0, answer_within_s=12)["ready"]


@check
def second_gsos_is_refused_and_the_first_goes_on(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("ecmp")
        first = here.gsos
        try:
            here.start_gsos("ecmp")
        except AssertionError as error:
            assert "GSOS died at its start" in str(error)
        else:
            assert here.gsos.poll() is not None or here.gsos.wait(timeout=10)
        here.gsos = first
        assert first.poll() is None
        assert northbound.call("status")["ready"]
        northbound.close()


@check
def bad_requests_are_answered(runtime):
    with fabric(runtime, **SMALL) as here:
        northbound = here.ready("gse1")
        for method, params, what in (
            ("fly", {}, "unknown method"),
            ("announce", {"job": "x"}, "flows"),
            ("announce", {"job": "x", "flows": [{**vars(here.flows(1, 1)[0]), "dst_ip": "10.7.7.7"}]}, "no host"),
            ("withdraw", {"job": "x"}, "unknown job"),
        ):
            try:
                northbound.call(method, **params)
            except ControllerError as error:
                assert what in str(error), error
            else:
                raise AssertionError(f"{method} {params} was accepted")
        assert northbound.call("status")["ready"]


# --- pytest ------------------------------------------------------------------------------------------

# What GSOS decides does not depend on the library that speaks OpenFlow for it. These have every kind of message both
# ways (rules and groups, ports that fail, packets and counters that are asked for, rules taken over, connections lost);
# the others run under Ryu with --full.
OFTEN_UNDER_RYU = {
    "every_switch_gets_its_rules",
    "dead_far_link_is_repaired_by_gsos",
    "announced_job_is_pinned_without_conflict",
    "failed_path_is_left_and_taken_again",
    "unannounced_flows_are_placed_on_first_packet_and_forgotten_when_idle",
    "killed_gsos_leaves_the_rules_and_its_successor_takes_them_over",
    "reconnect_storm_ends_with_the_right_rules",
}


def cases() -> list[Any]:
    """Return every check under both runtimes, as parameters."""
    assert CHECKS.keys() >= OFTEN_UNDER_RYU
    return [
        pytest.param(name, runtime, marks=[] if runtime == "os-ken" or name in OFTEN_UNDER_RYU else [pytest.mark.full])
        for runtime in ("os-ken", "ryu")
        for name in CHECKS
    ]


@pytest.fixture(scope="session")
def ryu_python() -> str:
    """Return the Python that has Ryu, after making its environment where that is still to be done."""
    done = subprocess.run([PROJECT / "tools" / "ryu-venv"], capture_output=True, text=True, timeout=600, check=False)
    if done.returncode == 2:
        pytest.skip(f"GSOS NOT TESTED UNDER RYU: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.root
@pytest.mark.beside
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces and Open vSwitch")
@pytest.mark.parametrize(("name", "runtime"), cases())
def test_gsos(name: str, runtime: str, request: pytest.FixtureRequest) -> None:
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    if runtime == "ryu":
        env["GSE_RYU_PYTHON"] = request.getfixturevalue("ryu_python")
    argv = capsule_argv([sys.executable, "-W", "error", __file__, name, runtime])
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{done.stdout[-6000:]}\n{done.stderr[-6000:]}"


def main() -> int:
    """Run one check as first process of a capsule; on failure show what GSOS logged."""
    name, runtime = sys.argv[1:]
    try:
        CHECKS[name](runtime)
    except BaseException:
        for path in sorted(Path("/run/gse").glob("*.log")):
            print(f"--- {path.name}\n{path.read_text()[-3000:]}")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""What is done to runs so that one check of the verdict trips, and which checks cannot be tripped so.

``SPOILERS``: name -> an experiment; test_tripped.py makes them, each in a lab of its own (lab.py). tests/unit/
test_fidelity.py sees that every check there is has an experiment here or a reason why not.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lab import OURS, Lab

from testbed.fabric.batch import ip_batch, tc_batch
from testbed.gse.dataplane.wire import ETHERNET, Hello, control_frame
from testbed.model.attachment import leaf_pair
from testbed.model.fabric_spec import FabricSpec
from testbed.model.shaping import VOID_INTFS, QueueSetting, queue_setting, tc_change_line
from testbed.model.topology import Topology
from testbed.system.namespaces import network_namespace_of

if TYPE_CHECKING:
    from attacks import Run

FABRIC = FabricSpec(leaves=2, spines=2, hosts_per_leaf=2)  # that of attacks.SMALL
TOPOLOGY = Topology(FABRIC)
HOSTS = {host.name for host in TOPOLOGY.hosts}
TO_RECEIVER = "l1-eth1"  # rank 0 is on h1, unless ranks are placed at random
UPLINKS_OF_L1 = ("l1-eth3", "l1-eth4")
UNKNOWN_ETHERTYPE, IPV4 = 0x88B7, 0x0800
NOBODY = bytes.fromhex("026773650001")
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20  # linux/if_packet.h
HELD_S = 0.08  # of the experiment with probes, which take some 15 ms
UDP = "protocol ip prio 1 u32 match ip protocol 17 0xff"  # nothing but probes
TCP = "protocol ip prio 1 u32 match ip protocol 6 0xff"
LARGE_BYTES = 2000  # no acknowledgement
# Takes its core before everything else for 80 ms of each 370 ms, until its stdin ends: a fifth, which is no doubt yet.
# Not of each 400 ms: what is due every 100 ms would meet every fourth time at one point of these 80 ms, or never.
HOG = """
import os, select, sys, time
os.sched_setaffinity(0, {int(sys.argv[1])})
os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
while not select.select([sys.stdin], [], [], 0.29)[0]:
    end_s = time.monotonic() + 0.08
    while time.monotonic() < end_s:
        pass
"""


@dataclass(frozen=True)
class Spoiler:
    """One experiment: ``act`` does something to a run in progress (None: the arguments are enough).

    ``trips``: the check it is for. ``may``: what follows from it by itself, so may trip as well. Nothing else may.
    """

    trips: str
    act: Callable[[Lab, Run], None] | None = None
    scheme: str = "gse1"
    arguments: tuple[str, ...] = ()
    may: frozenset[str] = field(default_factory=frozenset)


# --- where things are -----------------------------------------------------------------------------------------


@contextmanager
def switches(lab: Lab) -> Iterator[None]:
    """Be in the switches' network namespace."""
    pid = lab.find("ovs-vswitchd")
    assert pid is not None
    with network_namespace_of(pid):
        yield


@contextmanager
def host(lab: Lab, name: str) -> Iterator[None]:
    """Be in a host's network namespace."""
    pids = [one.pid for one in lab.processes() if f"mininet:{name}" in one.command.split()]
    with network_namespace_of(pids[0]):
        yield


def ends(names: Iterable[str] | None) -> dict[str, list[tuple[str, QueueSetting]]]:
    """Return host ("": the switches) -> its ends of links, all or those named, with their queues."""
    found: dict[str, list[tuple[str, QueueSetting]]] = {}
    for direction in TOPOLOGY.directions:
        node, intf = direction.src.node, direction.src.intf
        if names is None or intf in names:
            setting = queue_setting(FABRIC, direction.rate_mbps, in_host=node in HOSTS)
            found.setdefault(node if node in HOSTS else "", []).append((intf, setting))
    return found


def set_queues(lab: Lab, change: Callable[[QueueSetting], QueueSetting], names: Iterable[str] | None = None) -> None:
    """Give ends of links other queues than they were made with."""
    for node, queues in ends(names).items():
        with host(lab, node) if node else switches(lab):
            tc_batch(tc_change_line(intf, change(setting), FABRIC.mtu_bytes) for intf, setting in queues)


def at_rate(factor: float) -> Callable[[QueueSetting], QueueSetting]:
    return lambda setting: replace(setting, rate_bytes_per_s=round(setting.rate_bytes_per_s * factor))


def limit_of(factor: float) -> Callable[[QueueSetting], QueueSetting]:
    return lambda setting: replace(setting, limit_bytes=round(setting.limit_bytes * factor))


def send(lab: Lab, intf: str, frames: Iterable[bytes]) -> None:
    """Send frames out of an interface of the switches."""
    with switches(lab), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((intf, 0))
        for frame in frames:
            sender.send(frame)


def frame_of(ethertype: int, size_bytes: int) -> bytes:
    """Return a frame to nobody."""
    return (NOBODY + NOBODY + ethertype.to_bytes(2, "big")).ljust(size_bytes, b"\0")


def await_point(run: Run, point: str, times: int = 1) -> None:
    assert run.await_event(point, times=times), f"the run ended before {point!r}:\n{run.text}"


# --- what is done ---------------------------------------------------------------------------------------------


def a_link_is_slow_while_it_is_calibrated(lab: Lab, run: Run) -> None:
    await_point(run, "network", times=2)  # the phase, and then what was read back
    set_queues(lab, at_rate(0.94), ["l1-eth3"])
    await_point(run, "ranks")
    set_queues(lab, at_rate(1.0), ["l1-eth3"])


def a_queue_is_shortened(lab: Lab, run: Run) -> None:
    await_point(run, "iteration:1")
    set_queues(lab, limit_of(0.9), ["s1-eth1"])


def a_hosts_mtu_is_changed(lab: Lab, run: Run) -> None:
    await_point(run, "iteration:1")
    with host(lab, "h1"):
        ip_batch(["link set dev h1-eth0 mtu 9100"])


def links_have(factor: float) -> Callable[[Lab, Run], None]:
    """Two iterations of three at another rate, so their median; as it was again before settings are read back."""

    def act(lab: Lab, run: Run) -> None:
        await_point(run, "measurement")
        set_queues(lab, at_rate(factor))
        await_point(run, "iteration:2")
        set_queues(lab, at_rate(1.0))

    return act


def a_link_is_slow_while_frames_wait(lab: Lab, run: Run) -> None:
    """The link to the receiver, in all iterations but the last; as it was again before settings are read back."""
    await_point(run, "measurement")
    set_queues(lab, at_rate(0.95), [TO_RECEIVER])
    await_point(run, "iteration:7")
    set_queues(lab, at_rate(1.0), [TO_RECEIVER])


def a_link_stands_still(lab: Lab, run: Run) -> None:
    """The link to the receiver, for 60 ms and what it takes to say so, in the middle of an iteration.

    At a twentieth of its rate a frame that is on its way takes 0.1 s, in which the link would go on by itself: less
    would leave its queue without a timer until somebody sends.
    """
    await_point(run, "iteration:1")
    run.hear(1.2)
    ((_node, [(intf, setting)]),) = ends([TO_RECEIVER]).items()
    still, again = (tc_change_line(intf, at_rate(share)(setting), FABRIC.mtu_bytes) for share in (0.05, 1.0))
    with switches(lab):
        tc_batch([still])
        run.hear(0.06)
        tc_batch([again])


def a_leaf_leaks(lab: Lab, run: Run) -> None:
    """Lose probes on their way into the uplinks of a leaf: no queue counts them, and no TCP misses them."""
    await_point(run, "measurement")
    into, end = VOID_INTFS
    with switches(lab):
        ip_batch([f"link add name {into} type veth peer name {end}", *(f"link set dev {one} up" for one in VOID_INTFS)])
        for intf in UPLINKS_OF_L1:
            tc_batch(
                [
                    f"qdisc add dev {intf} clsact",
                    f"filter add dev {intf} egress {UDP} action mirred egress redirect dev {into}",
                ]
            )


def a_host_drops(lab: Lab, run: Run) -> None:
    """Send a host what it has no use for: as large as a segment without payload, so that no bytes are too many."""
    await_point(run, "iteration:1")
    send(lab, "l1-eth1", [frame_of(UNKNOWN_ETHERTYPE, 66)] * 30)


def a_host_is_brought_more(lab: Lab, run: Run) -> None:
    """22 full frames more to a host that is brought 12.6 MB: 1.6%, in two parts that its queue holds."""
    for point in ("iteration:1", "iteration:3"):
        await_point(run, point)
        send(lab, "l1-eth1", [frame_of(IPV4, 9014)] * 11)


def an_agent_meets_a_stranger(lab: Lab, run: Run) -> None:
    """Three control frames of another version, in the middle of an iteration: agents' counters are of these."""
    await_point(run, "iteration:1")
    run.hear(0.4)
    frame = bytearray(control_frame(Hello(src=2, dst=1, path=1, seq=1), 1))
    frame[ETHERNET.size] = 0xF0
    send(lab, leaf_pair(TOPOLOGY, 0).switch_intf, [bytes(frame)] * 3)


def hold_up(module: str) -> Callable[[Lab, Run], None]:
    """Have one program share its core with one that comes first, and everything else on the other core."""

    def act(lab: Lab, run: Run) -> None:
        await_point(run, "warm-up")
        first, second, *_others = sorted(os.sched_getaffinity(0))
        for one in lab.processes():
            if one.depth == 2:
                pin(one.pid, second if f"-m testbed.{module} " in f"{one.command} " else first)
        hog = subprocess.Popen([sys.executable, "-c", HOG, str(second)], stdin=subprocess.PIPE)
        OURS.add(hog.pid)
        try:
            await_point(run, "evaluation")
        finally:
            hog.communicate()
            OURS.discard(hog.pid)

    return act


def pin(pid: int, core: int) -> None:
    """Keep every thread of a process on a core."""
    with contextlib.suppress(OSError):  # gone meanwhile
        for thread in os.listdir(f"/proc/{pid}/task"):
            os.sched_setaffinity(int(thread), {core})


def probes_are_held(lab: Lab, run: Run) -> None:
    """Take probes out in front of their hosts' queues and send them later, past these: what no queue has keeps them.

    They leave the host once, as they would have, so that nobody's counters miss one.
    """
    await_point(run, "warm-up")
    into, end = VOID_INTFS
    ways: dict[socket.socket, socket.socket] = {}  # from where a host's probes come -> where they go on
    over = threading.Event()
    with ExitStack() as opened:
        for one in TOPOLOGY.hosts:
            with host(lab, one.name):
                up = [f"link set dev {name} up" for name in VOID_INTFS]
                ip_batch([f"link add name {into} type veth peer name {end}", *up])
                taken = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                taken.bind((end, IPV4))
                taken.setblocking(False)
                onward = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
                onward.bind((one.intf, 0))
                onward.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)  # past the filter, too
                ways[taken] = onward
                tc_batch(
                    [
                        f"qdisc add dev {one.intf} clsact",
                        f"filter add dev {one.intf} egress {UDP} action mirred egress redirect dev {into}",
                    ]
                )
        holding = threading.Thread(target=hold, args=(ways, over))
        holding.start()
        try:
            await_point(run, "stop")  # when the last probes have arrived
        finally:
            over.set()
            holding.join()


def hold(ways: Mapping[socket.socket, socket.socket], over: threading.Event) -> None:
    """Send on what comes, each frame ``HELD_S`` later."""
    held: deque[tuple[float, socket.socket, bytes]] = deque()
    while not over.is_set():
        wait_s = min(held[0][0] - time.monotonic(), 0.1) if held else 0.1
        for taken in select.select(ways, [], [], max(wait_s, 0.0))[0]:
            held.append((time.monotonic() + HELD_S, ways[taken], taken.recv(2048)))
        while held and held[0][0] <= time.monotonic():
            _due_s, onward, frame = held.popleft()
            onward.send(frame)


def a_number_is_changed(lab: Lab, run: Run) -> None:
    """Change one byte of what a host sends, and its checksum, so that TCP does not notice.

    Frames are taken out in front of the host's queue until there is a large one, and go on the usual way.
    """
    await_point(run, "iteration:1")
    into, end = VOID_INTFS
    intf = next(one.intf for one in TOPOLOGY.hosts if one.name == "h1")
    with host(lab, "h1"), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as taken:
        ip_batch(
            [
                f"link add name {into} mtu {FABRIC.mtu_bytes} type veth peer name {end} mtu {FABRIC.mtu_bytes}",
                *(f"link set dev {name} up" for name in VOID_INTFS),
            ]
        )
        taken.bind((end, IPV4))
        taken.settimeout(5)
        tc_batch(
            [
                f"qdisc add dev {intf} clsact",
                f"filter add dev {intf} egress {TCP} action mirred egress redirect dev {into}",
            ]
        )
        frames = [taken.recv(1 << 16)]
        while len(frames[-1]) < LARGE_BYTES:
            frames.append(taken.recv(1 << 16))
        frames[-1] = with_byte_changed(frames[-1], len(frames[-1]) // 2)
        tc_batch([f"qdisc del dev {intf} clsact"])
        taken.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                frames.append(taken.recv(1 << 16))
        with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as onward:
            onward.bind((intf, 0))
            for frame in frames:
                onward.send(with_checksum(frame))


def with_byte_changed(frame: bytes, at: int) -> bytes:
    """Return a frame with some bits of one byte turned, wherever in a number that is."""
    return frame[:at] + bytes([frame[at] ^ 0x55]) + frame[at + 1 :]


def with_checksum(frame: bytes) -> bytes:
    """Return an Ethernet frame of IPv4 and TCP with TCP's checksum right (RFC 9293, 3.1; RFC 1071)."""
    ip, tcp = 14, 14 + 4 * (frame[14] & 0xF)
    end = ip + int.from_bytes(frame[ip + 2 : ip + 4], "big")
    segment = bytearray(frame[tcp:end])
    segment[16:18] = b"\0\0"
    summed = frame[ip + 12 : ip + 20] + bytes([0, 6]) + len(segment).to_bytes(2, "big") + segment
    total = sum(memoryview(summed.ljust(-(-len(summed) // 2) * 2, b"\0")).cast("H"))  # in this machine's byte order
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    segment[16:18] = (total ^ 0xFFFF).to_bytes(2, sys.byteorder)
    return frame[:tcp] + bytes(segment) + frame[end:]


def paths_are_changed_at_the_end(lab: Lab, run: Run) -> None:
    """Send both hosts of a leaf by one uplink when all but the last iteration's end has been measured."""
    await_point(run, "iteration:7")
    run.hear(1.1)
    management = f"unix:/proc/{lab.find('ovs-vswitchd')}/root/run/openvswitch/l1.mgmt"
    rules = "\n".join(f"priority=999,in_port={port},ip,actions=output:3" for port in (1, 2))
    argv = ["ovs-ofctl", "-O", "OpenFlow13", "add-flows", management, "-"]
    OURS.add((ofctl := subprocess.Popen(argv, stdin=subprocess.PIPE)).pid)
    ofctl.communicate(rules.encode())
    OURS.discard(ofctl.pid)
    assert ofctl.returncode == 0


def wait(_lab: Lab, run: Run) -> None:
    """Do nothing but look that the run gets so far."""
    await_point(run, "measurement")


# --- the experiments ------------------------------------------------------------------------------------------


def settings(**fields: object) -> tuple[str, ...]:
    """Return ``--set`` options; of a field's name two underscores stand for a dot."""
    return tuple(word for name, value in fields.items() for word in ("--set", f"{name.replace('__', '.')}={value}"))


LONG = settings(workload__size_bytes="4M", workload__iterations=3)  # 5 s an iteration: its start is a percent of it
USUAL = settings(workload__size_bytes="1M", workload__iterations=8)
SLOW = settings(fabric__link_rate_mbps=5, workload__size_bytes="1M", workload__iterations=4)
# three hosts send to one: frames wait for its link all the time, 2.5 s an iteration
INCAST = (*USUAL, *settings(workload__kind="incast"))
# what ovs-vswitchd gives up behind a frame that a full queue refused is sent again, and no counter has it
FULL_QUEUES = frozenset({"resent"})
DEFAULT_FABRIC = settings(fabric__leaves=4, fabric__spines=4, fabric__hosts_per_leaf=4)
# of SPOILERS: need two cores
TWO_CORES = frozenset({"probe_lateness", "sampler_lateness", "sender_lateness", "rank_wait"})

SPOILERS = {
    "clean": Spoiler("", wait, arguments=USUAL),
    "clean, grants": Spoiler("", wait, "gse2-n2n", LONG),
    "slow link": Spoiler("calibration", a_link_is_slow_while_it_is_calibrated, arguments=USUAL),
    "shorter queue": Spoiler("settings_after", a_queue_is_shortened, arguments=USUAL),
    "wrong MTU": Spoiler("settings_after", a_hosts_mtu_is_changed, arguments=USUAL),
    "slow links": Spoiler("short_of_paths", links_have(0.92), arguments=LONG),
    "slow link to a receiver": Spoiler("link_rate", a_link_is_slow_while_frames_wait, "ecmp", INCAST, may=FULL_QUEUES),
    "standstill": Spoiler("link_stall", a_link_stands_still, "ecmp", INCAST, may=FULL_QUEUES),
    "fast links": Spoiler("impossible", links_have(1.1), arguments=LONG),
    # grants go on as if links were as fast as they should be: queues fill, and what they drop is sent again
    "slow links, grants": Spoiler(
        "short_of_grants",
        links_have(0.9),
        "gse2-n2n",
        LONG,
        frozenset({"agents", "resent", "receive_window", "uplink_bytes", "link_rate"}),
    ),
    "changed number": Spoiler("wrong_elements", a_number_is_changed, arguments=USUAL),
    "other paths": Spoiler("beyond_placement", paths_are_changed_at_the_end, arguments=USUAL),
    "leaking switch": Spoiler("lost_in_switch", a_leaf_leaks, arguments=USUAL),
    "host that drops": Spoiler("interface_drops", a_host_drops, arguments=USUAL),
    "bytes nobody asked for": Spoiler("host_bytes", a_host_is_brought_more, arguments=USUAL),
    "stranger": Spoiler("agents", an_agent_meets_a_stranger, "gse2-n2n", LONG),
    "late probes": Spoiler("probe_lateness", hold_up("measurement.probes"), arguments=SLOW),
    "held probes": Spoiler("probe_delay", probes_are_held, arguments=USUAL),
    "late sampler": Spoiler("sampler_lateness", hold_up("measurement.sampler"), arguments=SLOW),
    # several flows on shared links: nothing knows how fast these should be
    "ranks without a core": Spoiler(
        "rank_wait",
        hold_up("workload.nursery"),
        "ecmp",
        (*SLOW, *settings(workload__flows_per_hop=4)),
        frozenset({"receive_window", "rank_lateness"}),
    ),
    "late small messages": Spoiler(
        "sender_lateness", hold_up("workload.mice"), arguments=(*SLOW, *settings(workload__mice_interval_ms=100))
    ),
    "deep queues": Spoiler(
        "receive_window",
        scheme="ecmp",
        arguments=(
            *DEFAULT_FABRIC,
            *settings(workload__size_bytes="8M", workload__iterations=1, fabric__queue_bytes="1M"),
        ),
        may=frozenset({"short_of_paths"}),
    ),
    "fault too late": Spoiler(
        "missing", arguments=(*USUAL, "--set", 'faults=[{"t_s": 600, "action": "fail", "target": "l1-s1"}]')
    ),
    # what verdicts look at first where a machine cannot keep up; which of them is a matter of the machine
    "too high a rate": Spoiler(
        "busy_cores",
        scheme="gse2-e2e",
        arguments=(
            *DEFAULT_FABRIC,
            *settings(fabric__link_rate_mbps=64, workload__size_bytes="8M", workload__iterations=3),
            *settings(workload__flows_per_hop=4),  # one flow a hop left cores 94.9% busy once, of 95% allowed
        ),
        may=frozenset(
            {
                "switch_core",
                "switch_wait",
                "agents_wait",
                "agent_core",
                "short_of_grants",
                "agents",
                "receive_window",
                "resent",
                "rank_lateness",
                "rank_wait",
                "socket_drops",
                "upcalls_lost",
                "link_rate",
                "link_stall",
                "lost_in_switch",
                "probe_lateness",
                "sampler_lateness",
                "uplink_bytes",
                "host_bytes",
            }
        ),
    ),
}
# Tripped by what other files of this folder do to runs.
ELSEWHERE = {
    "process_died": "test_survival.py",
    "process_stopped": "test_survival.py",
    "jobs": "test_survival.py",
    "foreign_load": "test_verdicts.py",
    "resent": "test_verdicts.py",
}
# What would trip these alone is not to be had, or not to be done: tests/unit/test_fidelity.py spoils rows instead.
ROWS_ONLY = {
    "iterations": "a run with an iteration less does not end",
    "settings": "a network that is not as specified is not measured: the run fails",
    "switch_core": "a core that is full trips busy_cores or switch_wait on two cores; see 'too high a rate'",
    "switch_bound": "as switch_core",
    "switch_wait": "what takes the core from the switches is foreign_load first; see 'too high a rate'",
    "agents_wait": "as switch_wait",
    "agent_core": "agents that compute more than they are asked to would be other agents",
    "rank_core": "as agent_core",
    "steal": "a hypervisor's doing",
    "rank_lateness": "a rank that is held up makes its ring late, too (short_of_paths)",
    "compute_lateness": "as rank_lateness; beside a program that takes a fifth of its core a rank's timers are in time",
    "clock_step": "setting the clock is done to the whole machine",
    "socket_drops": "sockets of 8 MB overflow only while a process stands still, which is noticed first",
    "upcalls_lost": "rules are asked for as a run begins, a few at a time; a switch that loses some is stopped first",
    "softnet_drops": "a core's backlog is set for the whole machine, and virtual links count what it drops, too",
    "unaccounted": "both ends of a virtual link are counted by one counter",
    "uplink_bytes": "a frame more that crosses leaves is one too many at a host or lost in a switch, too",
}

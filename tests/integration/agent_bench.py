"""One GSP agent alone in a network namespace of its own, with both its sides in our hands.

    unshare --net python agent_bench.py fuzz FRAMES SEED
    unshare --net python agent_bench.py sockets

Prints one JSON object. ``fuzz``, with the agent as a process: what it counted, its memory before and after, what the
host got. ``sockets``, with the agent in this process and its time in our hands: what it makes of carriers, of
interfaces that refuse, and of too many frames.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT))

from testbed.agent.agent import Agent  # noqa: E402
from testbed.agent.config import Config  # noqa: E402
from testbed.agent.sockets import CarrierWatch  # noqa: E402
from testbed.gse.dataplane import wire  # noqa: E402
from testbed.gse.dataplane.place import Place, Where  # noqa: E402
from testbed.gse.dataplane.profile import Profile  # noqa: E402

OWN, PEER = wire.address(1), wire.address(2)
HOST, FAR_HOST = bytes.fromhex("020000000101"), bytes.fromhex("020000000201")
FRAME_BYTES = 1600
WARM_UP = 20_000  # frames after which memory is read first


PAYLOAD = b"the frame that counts"


def make_pairs(*pairs: tuple[str, str]) -> None:
    """Make pairs of interfaces over which nobody sends but us."""
    for ours, its in pairs:
        subprocess.run(["ip", "link", "add", ours, "type", "veth", "peer", "name", its], check=True)
        for intf in (ours, its):
            Path(f"/proc/sys/net/ipv6/conf/{intf}/disable_ipv6").write_text("1")  # no frames but ours
            subprocess.run(["ip", "link", "set", intf, "up", "mtu", "1586"], check=True)


def config_of_the_leaf(uplinks: tuple[str, ...] = ()) -> Config:
    """Return the configuration of leaf 1's agent; it watches its paths when its uplinks are given."""
    return Config(
        name="l1",
        place=Place(
            gsp=OWN,
            ports={1: 1.25e8},
            paths=4,
            uplink_bytes_per_s=1.25e8,
            hosts={HOST: Where(OWN, 1), FAR_HOST: Where(PEER, 1)},
            peers=[PEER],
            watches_paths=bool(uplinks),
        ),
        profile=Profile(back_pressure=False),  # the host is us, and has no shaper
        passthrough=False,
        seed=1,
        fabric_intf="l1-gsp",
        host_intfs={1: "l1-eth1"},
        uplink_intfs=uplinks,
        frame_bytes=FRAME_BYTES,
        buffer_bytes=1 << 20,
    )


def open_socket(intf: str) -> socket.socket:
    """Return a packet socket that sees what comes in by an interface."""
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    sock.bind((intf, 0))
    sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
    return sock


def waiting_frames(sock: socket.socket) -> list[bytes]:
    """Return what has arrived, without waiting."""
    found = []
    while True:
        try:
            found.append(sock.recv(2048, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return found


class Bench:
    """The agent as a process, the host's interface and the switch's."""

    def __init__(self, folder: Path) -> None:
        make_pairs(("h1", "l1-eth1"), ("l1-fab", "l1-gsp"))
        config = config_of_the_leaf()
        path = folder / "gsp.json"
        path.write_text(json.dumps({"agents": [config.to_json()]}))
        self.agent = subprocess.Popen(
            [sys.executable, "-m", "testbed.agent.gsp", "--config", str(path)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.host, self.fabric = open_socket("h1"), open_socket("l1-fab")
        assert self._heard()["event"] == "ready"

    def _heard(self) -> dict[str, Any]:
        assert self.agent.stdout is not None
        assert select.select([self.agent.stdout], [], [], 30)[0], "the agent says nothing"
        return dict(json.loads(self.agent.stdout.readline()))

    def stats(self) -> dict[str, Any]:
        """Ask the agent; an answer means that it has read what was sent before."""
        assert self.agent.stdin is not None
        self.agent.stdin.write('{"command": "stats"}\n')
        self.agent.stdin.flush()
        return dict(self._heard()["agents"][0])

    def read_all(self, sent: int) -> dict[str, Any]:
        """Return the stats when all frames sent so far are accounted for."""
        deadline_s = time.monotonic() + 30
        while True:
            stats = self.stats()
            if frames_taken(stats) >= sent or time.monotonic() > deadline_s:
                return stats

    def rss_bytes(self) -> int:
        """Return the agent's resident memory."""
        pages = int(Path(f"/proc/{self.agent.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def close(self) -> int:
        """End the agent and return its exit status."""
        assert self.agent.stdin is not None
        self.agent.stdin.close()
        return self.agent.wait(10)


def frames_taken(stats: dict[str, Any]) -> int:
    """Return how many frames from the fabric the agent has judged, one way or another."""
    counters = stats["counters"]
    refused = ("malformed", "misdirected", "foreign", "too_many_queues")
    # data and control frames that were refused later are counted when they come in
    return sum(counters[name] for name in (*refused, "control_in", "data_in")) + stats["socket_drops"]


def valid_frame(rng: Random) -> bytes:
    """Return a frame of the peer's: data to the host, or control."""
    path, qid, epoch = rng.randrange(1, 5), rng.randrange(0x1_0000), rng.choice([1, 2, 3])
    u32 = rng.choice([0, 1, 5000, rng.getrandbits(32), 0xFFFF_FFFF])
    if rng.random() < 0.5:
        inner = (HOST + FAR_HOST + b"\x08\x00").ljust(rng.randrange(14, 1500), b"\x45")
        header = wire.DataHeader(
            1, rng.randrange(256), epoch, PEER, OWN, 1, path, qid, u32, 0, 0, len(inner), u32, u32, 0
        )
        return wire.data_prefix(header) + inner
    message = rng.choice(
        [
            wire.Request(PEER, OWN, epoch, qid, 1, rng.randrange(256), u32, u32, u32, 0),
            wire.Grant(PEER, OWN, tuple(wire.GrantEntry(qid, epoch, u32) for _ in range(rng.randrange(1, 60)))),
            wire.Close(PEER, OWN, epoch, qid, 1, u32, u32),
            wire.Congestion(PEER, OWN, path, 2),
            wire.Fault(
                PEER, OWN, rng.randrange(1 << 16), rng.randrange(256), rng.randrange(256), rng.random() < 0.5, u32
            ),
            wire.Hello(PEER, OWN, rng.randrange(256), u32),
            wire.Loss(PEER, OWN, epoch, qid, u32, rng.randrange(1, 0x1_0000), rng.random() < 0.5),
        ]
    )
    return wire.control_frame(message, path)


def hostile_frame(rng: Random) -> bytes:
    """Return a frame that is wrong somewhere: bytes changed, cut, extended, or nothing but noise."""
    frame = bytearray(valid_frame(rng))
    kind = rng.randrange(4)
    if kind == 0:
        for _ in range(rng.randrange(1, 8)):
            frame[rng.randrange(12, min(len(frame), 64))] = rng.randrange(256)
    elif kind == 1:
        del frame[rng.randrange(14, len(frame)) :]
    elif kind == 2:
        frame = bytearray(frame[:14] + rng.randbytes(rng.randrange(0, 300)))
    else:
        at = rng.randrange(14, min(len(frame), 60))
        frame[at : at + 4] = b"\xff\xff\xff\xff"
    return bytes(frame[:1580]).ljust(14, b"\0")


def fuzz(frames: int, seed: int) -> dict[str, Any]:
    """Send hostile frames, then see whether the agent still does its work."""
    rng = Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        rss = []
        for number in range(1, frames + 1):
            bench.fabric.send(hostile_frame(rng))
            if number % 500 == 0:
                stats = bench.read_all(number)  # in step, so that every frame is judged
            if number in (min(WARM_UP, frames // 2), frames):
                rss.append(bench.rss_bytes())
        stats = bench.read_all(frames)
        # a mangled frame that still names the host and its peer is a valid one
        strange = sum(frame[:6] != HOST for frame in waiting_frames(bench.host))
        delivered = still_delivers(bench)
        status = bench.close()
    return {
        "status": status,
        "judged": frames_taken(stats),
        "rss_bytes": rss,
        "strange_frames_at_host": strange,
        "valid_frame_delivered": delivered,
        "counters": stats["counters"],
        "socket_drops": stats["socket_drops"],
    }


def data_to_host(qid: int, epoch: int = 1) -> bytes:
    """Return a new queue's first frame, from the peer to the host."""
    inner = (HOST + FAR_HOST + b"\x88\xff" + PAYLOAD).ljust(100, b"\0")
    header = wire.DataHeader(1, 1, epoch, PEER, OWN, 1, 1, qid, 0, 0, 0, len(inner), 0, len(inner), 0)
    return wire.data_prefix(header) + inner


def still_delivers(bench: Bench) -> bool:
    """Return whether a valid frame of a queue the agent does not know gets to the host.

    Hostile frames may have left as many queues as an agent keeps: they are forgotten when they have been silent.
    """
    deadline_s = time.monotonic() + 20
    for qid in range(0x1_0000):
        bench.fabric.send(data_to_host(qid))
        bench.stats()  # an answer: it has read the frame, or will have by the next
        if any(PAYLOAD in frame for frame in waiting_frames(bench.host)):
            return True
        if time.monotonic() > deadline_s:
            break
        time.sleep(0.02)
    return False


# -- the agent in this process --------------------------------------------------------------------------------

UPLINKS = ("l1-up1", "l1-up2", "l1-up3", "l1-up4")


class InProcess:
    """An agent whose time is ours, and the far ends of its interfaces."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.agent = Agent(config_of_the_leaf(UPLINKS), self.now_s)
        self.host, self.fabric = open_socket("h1"), open_socket("l1-fab")

    def __enter__(self) -> InProcess:
        self.agent.__enter__()
        self.handlers = self.agent.handlers()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.agent.__exit__()
        self.host.close()
        self.fabric.close()

    def turn(self, wait_s: float = 0.0) -> bool:
        """Let the agent read what is there (for ``wait_s`` nothing may be) and do what is due."""
        readable = select.select(list(self.handlers), [], [], wait_s)[0]
        for fd in readable:
            self.handlers[fd](self.now_s)
        self.agent.advance(self.now_s)
        return bool(readable)

    def stats(self) -> dict[str, Any]:
        return self.agent.stats(self.now_s)

    def moves_frames(self) -> bool:
        """Return whether a frame of the peer's gets to the host, and the host's request for another out."""
        self.now_s += 0.001
        waiting_frames(self.host), waiting_frames(self.fabric)
        self.fabric.send(data_to_host(int(self.now_s * 1000) & 0xFFFF))
        self.host.send((FAR_HOST + HOST + b"\x88\xff").ljust(100 + int(self.now_s) % 7, b"\0"))
        while self.turn(0.05):
            pass
        out = [wire.parse_control(frame) for frame in waiting_frames(self.fabric) if frame[12:14] == b"\x88\xb6"]
        asked = any(isinstance(message, wire.Request) and message.dst == PEER for message in out)
        return asked and any(PAYLOAD in frame for frame in waiting_frames(self.host))


def ip_link(*words: str) -> None:
    subprocess.run(["ip", "link", "set", *words], check=True)


def heard_of(watch: CarrierWatch, wanted: tuple[int, bool]) -> list[tuple[int, bool]]:
    """Return what a watch hears until it is the wanted change, or 5 s are over."""
    found = []
    deadline_s = time.monotonic() + 5
    while wanted not in found and time.monotonic() < deadline_s:
        select.select([watch.sock], [], [], 0.5)
        found += watch.changes()
    return found


def carrier_of_uplinks() -> dict[str, Any]:
    """Take the far end of the second uplink down, and of an interface that is none."""
    with InProcess() as own:
        watch = CarrierWatch(UPLINKS)
        ip_link("lo", "up")
        ip_link("lo", "down")
        others = watch.changes()
        own.turn()
        before = own.stats()["paths_down"]
        ip_link("up2", "down")
        gone = heard_of(watch, (1, False))
        own.now_s += 0.01
        own.turn()
        after = own.stats()["paths_down"]
        waiting_frames(own.fabric)
        used = set()
        for _ in range(8):
            own.now_s += 0.11  # so long that it asks again
            own.host.send((FAR_HOST + HOST + b"\x88\xff").ljust(100, b"\0"))
            own.turn(0.1)
            frames = [frame for frame in waiting_frames(own.fabric) if frame[12:14] == b"\x88\xb6"]
            used |= {frame[3] for frame in frames if not isinstance(wire.parse_control(frame), wire.Hello)}
        ip_link("up2", "up")
        came = heard_of(watch, (1, True))
        watch.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)  # no room for more than a message or two
        for _ in range(4):
            ip_link("lo", "up")
            ip_link("lo", "down")
        ip_link("up2", "down")
        watch.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
        missed = heard_of(watch, (1, False))
        watch.close()
        return {
            **{"others": others, "before": before, "gone": gone, "after": after, "used": sorted(used), "came": came},
            "missed": missed,
        }


def frames_others_send() -> dict[str, Any]:
    """Send out by the agent's own interfaces, as the kernel may; those frames do not come from a host or a switch."""
    with InProcess() as own, open_socket("l1-eth1") as beside_host, open_socket("l1-gsp") as beside_fabric:
        beside_host.send((FAR_HOST + HOST + b"\x88\xff").ljust(100, b"\0"))
        beside_fabric.send(data_to_host(1))
        seen = own.turn(0.1)
        counters = own.stats()["counters"]
        return {
            "out": len([frame for frame in waiting_frames(own.host) if frame[6:12] == HOST]),
            "seen": seen,
            "taken": counters["host_in_frames"] + counters["data_in"],
            "moves_frames": own.moves_frames(),
        }


def frames_not_read_in_time() -> dict[str, Any]:
    """Send until the agent's socket is full, then let it read."""
    with InProcess() as own:
        sent = 0
        frame = (b"\xff" * 12 + b"\x88\xff").ljust(1500, b"\0")  # of nobody: counted as foreign
        while sent < 100_000 and not own.stats()["socket_drops"]:
            for _ in range(2000):
                own.fabric.send(frame)
            sent += 2000
        while own.turn():
            pass
        first, again = own.stats(), own.stats()
        return {
            "sent": sent,
            "dropped": first["socket_drops"],
            "dropped_again": again["socket_drops"],
            "read": again["counters"]["foreign"],
            "moves_frames": own.moves_frames(),
        }


def frames_an_interface_refuses() -> dict[str, Any]:
    """Give the fabric's interface a short slow queue for a while, then take it down for a while."""
    with InProcess() as own:
        tbf = ["root", "tbf", "rate", "8kbit", "burst", "2000", "limit", "4000"]
        subprocess.run(["tc", "qdisc", "add", "dev", "l1-gsp", *tbf], check=True)
        hellos = 0
        while hellos < 400:
            own.now_s += 0.02
            own.turn()
            hellos = own.stats()["counters"]["hellos"]
        full = own.stats()["queue_full"]
        arrived = len(waiting_frames(own.fabric))
        subprocess.run(["tc", "qdisc", "del", "dev", "l1-gsp", "root"], check=True)
        moves = own.moves_frames()
        before = own.stats()["queue_full"].get("l1-gsp", 0)
        ip_link("l1-gsp", "down")
        for _ in range(10):
            own.now_s += 0.02
            own.turn()
        down = own.stats()["queue_full"].get("l1-gsp", 0) - before
        sent = own.stats()["counters"]["control_out"]
        ip_link("l1-gsp", "up")
        deadline_s = time.monotonic() + 5  # the far end sees the carrier a while later
        while not (moves_again := own.moves_frames()) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        return {
            "sent": sent,
            "full": full,
            "arrived": arrived,
            "moves_frames": moves,
            "refused_when_down": down,
            "moves_frames_when_up": moves_again,
        }


def sockets() -> dict[str, Any]:
    """Try everything about the agent's sockets."""
    make_pairs(("h1", "l1-eth1"), ("l1-fab", "l1-gsp"), *((intf.removeprefix("l1-"), intf) for intf in UPLINKS))
    trials = (carrier_of_uplinks, frames_others_send, frames_not_read_in_time, frames_an_interface_refuses)
    return {trial.__name__: trial() for trial in trials}


if __name__ == "__main__":
    print(json.dumps(sockets() if sys.argv[1] == "sockets" else fuzz(int(sys.argv[2]), int(sys.argv[3]))))

"""One GSP agent alone in a network namespace of its own, with both its sides in our hands.

    unshare --net python agent_bench.py fuzz FRAMES SEED

Prints one JSON object: what the agent counted, its memory before and after, what the host got.
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

from testbed.agent.config import Config  # noqa: E402
from testbed.gse.dataplane import wire  # noqa: E402
from testbed.gse.dataplane.place import Place, Where  # noqa: E402
from testbed.gse.dataplane.profile import Profile  # noqa: E402

OWN, PEER = wire.address(1), wire.address(2)
HOST, FAR_HOST = bytes.fromhex("020000000101"), bytes.fromhex("020000000201")
FRAME_BYTES = 1600
WARM_UP = 20_000  # frames after which memory is read first


class Bench:
    """The agent as a process, the host's interface and the switch's."""

    def __init__(self, folder: Path) -> None:
        for ours, its in (("h1", "l1-eth1"), ("l1-fab", "l1-gsp")):
            subprocess.run(["ip", "link", "add", ours, "type", "veth", "peer", "name", its], check=True)
            for intf in (ours, its):
                Path(f"/proc/sys/net/ipv6/conf/{intf}/disable_ipv6").write_text("1")  # no frames but ours
                subprocess.run(["ip", "link", "set", intf, "up", "mtu", "1586"], check=True)
        config = Config(
            name="l1",
            place=Place(
                gsp=OWN,
                ports={1: 1.25e8},
                paths=4,
                uplink_bytes_per_s=1.25e8,
                hosts={HOST: Where(OWN, 1), FAR_HOST: Where(PEER, 1)},
                peers=[PEER],
                watches_paths=False,
            ),
            profile=Profile(),
            passthrough=False,
            seed=1,
            fabric_intf="l1-gsp",
            host_intfs={1: "l1-eth1"},
            uplink_intfs=(),
            frame_bytes=FRAME_BYTES,
            buffer_bytes=1 << 20,
        )
        path = folder / "gsp.json"
        path.write_text(json.dumps({"agents": [config.to_json()]}))
        self.agent = subprocess.Popen(
            [sys.executable, "-m", "testbed.agent.gsp", "--config", str(path)],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.host, self.fabric = self._socket("h1"), self._socket("l1-fab")
        assert self._heard()["event"] == "ready"

    def _socket(self, intf: str) -> socket.socket:
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
        sock.bind((intf, 0))
        sock.setsockopt(263, 23, 1)  # SOL_PACKET, PACKET_IGNORE_OUTGOING
        return sock

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
        got = 0
        bench.host.setblocking(False)
        try:
            while True:
                frame = bench.host.recv(2048)
                got += frame[:6] != HOST  # a mangled frame that still names the host and its peer is a valid one
        except BlockingIOError:
            pass
        status = bench.close()
    return {
        "status": status,
        "judged": frames_taken(stats),
        "rss_bytes": rss,
        "strange_frames_at_host": got,
        "counters": stats["counters"],
        "socket_drops": stats["socket_drops"],
    }


if __name__ == "__main__":
    print(json.dumps(fuzz(int(sys.argv[2]), int(sys.argv[3]))))

"""Senders that never slow down, at the ``mininet>`` prompt: every datagram that reaches their agent arrives.

A busy machine may lose some before that: vswitchd's packet sockets hold a fifth of a second of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
from test_prompt import said

pytestmark = [pytest.mark.root, pytest.mark.beside]

SMALL = ["--set", "fabric.leaves=2", "--set", "fabric.spines=2", "--set", "fabric.hosts_per_leaf=2"]
SHORT_QUEUES = [*SMALL, "--set", "fabric.queue_bytes=128K"]  # source queues hold 16 times that
FLOOD_S = 4

FLOOD = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
count, end_s = 0, time.monotonic() + float(sys.argv[2])
while time.monotonic() < end_s:
    sock.sendto(bytes(8000), (sys.argv[1], 5001))
    count += 1
print(f"sent {count}")
"""
SINK = """
import pathlib, socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.setsockopt(socket.SOL_SOCKET, 33, 16 << 20)  # SO_RCVBUFFORCE: a busy machine reads late
sock.bind(("0.0.0.0", 5001))
pathlib.Path(sys.argv[1] + ".ready").touch()
counts = {}
sock.settimeout(30)
try:
    while True:
        _data, (sender, _port) = sock.recvfrom(9000)
        counts[sender] = counts.get(sender, 0) + 1
        sock.settimeout(4)
except TimeoutError:
    pathlib.Path(sys.argv[1]).write_text("\\n".join(f"{sender} {count}" for sender, count in counts.items()))
"""
UNTIL = "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.05)"


def flooded(tmp_path: Path, scheme: str, *settings: str) -> dict[str, str]:
    """Let h1 and h2 send h3 all they can for a while; return what the prompt said, and h3 under ``h3``."""
    for name, text in (("flood", FLOOD), ("sink", SINK), ("until", UNTIL)):
        (tmp_path / f"{name}.py").write_text(text)
    sink = tmp_path / "h3"
    commands = [
        f"h3 python3 {tmp_path}/sink.py {sink} &",
        f"h4 python3 {tmp_path}/until.py {sink}.ready",
        f"h2 python3 {tmp_path}/flood.py 10.0.2.1 {FLOOD_S} > {tmp_path}/h2 &",
        f"h1 python3 {tmp_path}/flood.py 10.0.2.1 {FLOOD_S}",
        f"h4 python3 {tmp_path}/until.py {sink}",
        *(f"gsp {agent}" for agent in ("l1", "l2", "h1", "h2", "h3")),
        "h1 tc -j qdisc show",
        "py ' '.join(host.IP() for host in net.hosts)",
    ]
    answers = said(commands, "--scheme", scheme, *settings, fabric=SHORT_QUEUES)
    return {**answers, "h1": answers[commands[3]], "h2": (tmp_path / "h2").read_text(), "h3": sink.read_text()}


def counter(text: str, name: str) -> int:
    found = re.search(rf"(?m)^{name} +(\d+)$", text)
    return int(found[1]) if found else 0


def sent_and_got(answers: dict[str, str]) -> dict[str, tuple[int, int]]:
    """Return host -> datagrams it was let send, and those that arrived."""
    ips = answers["py ' '.join(host.IP() for host in net.hosts)"].split()
    got = dict(line.split() for line in answers["h3"].splitlines())
    sent = {host: int(re.search(r"sent (\d+)", answers[host])[1]) for host in ("h1", "h2")}  # type: ignore[index]
    return {host: (count, int(got[ips[int(host[1]) - 1]])) for host, count in sent.items()}


def agents_took_and_gave(answers: dict[str, str], senders: Sequence[str], receiver: str) -> tuple[int, int]:
    """Return how many of the hosts' frames the senders' agents took, and the receiver's gave to its host."""
    taken = sum(counter(answers[f"gsp {name}"], "host_in_frames") for name in senders)
    return taken, counter(answers[f"gsp {receiver}"], "host_out_frames")


@pytest.mark.parametrize(
    ("scheme", "senders", "receiver", "shaper"),
    [("gse2-n2n", ["l1"], "l2", "h1-eth0"), ("gse2-e2e", ["h1", "h2"], "h3", "h1-gse")],
)
def test_senders_that_never_slow_down_are_paused_and_lose_nothing(
    tmp_path: Path, scheme: str, senders: list[str], receiver: str, shaper: str
) -> None:
    answers = flooded(tmp_path, scheme)
    taken, given = agents_took_and_gave(answers, senders, receiver)
    assert taken == given > 100
    for sent, got in sent_and_got(answers).values():
        assert 0.9 * sent < got <= sent
    for name in senders:
        assert counter(answers[f"gsp {name}"], "pauses") >= 1
        assert counter(answers[f"gsp {name}"], "queue_full_drops") == 0
    (tbf,) = [
        one for one in json.loads(answers["h1 tc -j qdisc show"]) if one["dev"] == shaper and one["kind"] == "tbf"
    ]
    assert tbf["options"]["rate"] == pytest.approx(1.25e6 * (1.1 if scheme == "gse2-e2e" else 1.0), rel=0.001)


def test_without_back_pressure_the_same_senders_lose_frames(tmp_path: Path) -> None:
    answers = flooded(tmp_path, "gse2-n2n", "--set", "gsp.back_pressure=false")
    dropped = counter(answers["gsp l1"], "queue_full_drops")
    assert dropped > 30
    taken, given = agents_took_and_gave(answers, ["l1"], "l2")
    assert taken - given == dropped
    assert sum(sent - got for sent, got in sent_and_got(answers).values()) >= dropped
    assert counter(answers["gsp l1"], "pauses") == 0

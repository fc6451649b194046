"""How fast this machine switches: a short burst of full frames over three real switches in a capsule of its own.

``measure_crossings_per_s`` runs ``python -m testbed.fabric.burst`` in a capsule. There the switches of one daemon are
chained and a fixed number of frames is kept under way from one end to the other, as TCP would: nothing is shaped,
nothing lost.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path
from typing import Final

from testbed.errors import NetworkError, ParseError
from testbed.fabric import offloads, ovs
from testbed.model.capacity import Datapath
from testbed.system import capsule
from testbed.system.command import run
from testbed.wire import ETHERNET_HEADER_BYTES, frame_bytes

SWITCHES: Final = 3
MTU_BYTES: Final = 9000
UNDER_WAY: Final = 64  # frames; two receive batches of the userspace datapath
ETHERTYPE: Final = 0x88B5  # IEEE 802 local experimental
WARM_UP_S: Final = 0.2
MEASURED_S: Final = 0.6
FIRST_FRAME_TIMEOUT_S: Final = 10.0
OVS_DATAPATH_TYPE: Final = {"kernel": "system", "userspace": "netdev"}


def measure_crossings_per_s(datapath: Datapath, *, timeout_s: float = 60.0) -> float:
    """Return switch crossings per second of one flow of full frames; takes 1 to 2 s. Needs root.

    Raises CommandError when the capsule or the switches do not come up, ParseError when the answer is not one.
    """
    argv = capsule.capsule_argv([sys.executable, "-m", "testbed.fabric.burst", datapath])
    result = run(argv, timeout_s=timeout_s, cwd=Path(__file__).resolve().parents[2])
    try:
        return float(json.loads(result.stdout)["crossings_per_s"])
    except (ValueError, KeyError, TypeError):
        raise ParseError("testbed.fabric.burst", result.stdout, '{"crossings_per_s": number}') from None


def _build(datapath: Datapath) -> tuple[str, str]:
    """Chain the switches of this capsule by veth pairs; return the two open ends."""
    daemons = ovs.start_daemons(Path("/run/gse"))
    ends = [(f"b{i}a", f"b{i}z") for i in range(SWITCHES + 1)]
    names = [name for pair in ends for name in pair]
    lines = [f"link add {left} mtu {MTU_BYTES} type veth peer name {right} mtu {MTU_BYTES}" for left, right in ends]
    run(["ip", "-batch", "-"], stdin="\n".join([*lines, *(f"link set {name} up" for name in names)]) + "\n")
    offloads.disable_offloads(names)
    vsctl = ["ovs-vsctl"]
    for number in range(SWITCHES):
        bridge, left, right = f"br{number}", ends[number][1], ends[number + 1][0]
        settings = [f"datapath_type={OVS_DATAPATH_TYPE[datapath]}", "fail_mode=secure"]
        vsctl += ["--", "add-br", bridge, "--", "set", "bridge", bridge, *settings]
        for port, name in ((1, left), (2, right)):
            vsctl += ["--", "add-port", bridge, name, "--", "set", "interface", name, f"ofport_request={port}"]
    run(vsctl)
    for number in range(SWITCHES):
        run(["ovs-ofctl", "add-flow", f"br{number}", "in_port=1,actions=output:2"])
    if datapath == "userspace":
        ovs.enlarge_packet_buffers(daemons.vswitchd_pid, ovs.RECEIVE_BUFFER_BYTES)
    return ends[0][0], ends[-1][1]


def _open(intf: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
    sock.bind((intf, ETHERTYPE))
    return sock


def _frames_per_s(sender: socket.socket, receiver: socket.socket) -> float:
    """Keep ``UNDER_WAY`` frames on the way; return how many arrive per second once warm."""
    header = bytes.fromhex("020000000002020000000001") + ETHERTYPE.to_bytes(2, "big")
    frame = header + bytes(frame_bytes(MTU_BYTES) - ETHERNET_HEADER_BYTES)
    for _ in range(UNDER_WAY):
        sender.send(frame)
    buffer = bytearray(len(frame))
    receiver.settimeout(FIRST_FRAME_TIMEOUT_S)
    arrived, warm_s = 0, None
    began_s = time.monotonic()
    while True:
        try:
            receiver.recv_into(buffer)
        except TimeoutError:
            raise NetworkError(f"no frame arrived over {SWITCHES} switches for {FIRST_FRAME_TIMEOUT_S:g} s") from None
        sender.send(frame)
        now_s = time.monotonic()
        if warm_s is None:
            if now_s - began_s >= WARM_UP_S:
                warm_s, arrived = now_s, 0
            continue
        arrived += 1
        if now_s - warm_s >= MEASURED_S:
            return arrived / (now_s - warm_s)


def main() -> int:
    """Measure in this capsule and print the result as JSON."""
    datapath: Datapath = "kernel" if sys.argv[1] == "kernel" else "userspace"
    capsule.enter()
    first, last = _build(datapath)
    with _open(first) as sender, _open(last) as receiver:
        crossings_per_s = SWITCHES * _frames_per_s(sender, receiver)
    print(json.dumps({"crossings_per_s": crossings_per_s}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

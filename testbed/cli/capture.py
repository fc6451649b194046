"""Capture what crosses an interface of a running fabric, as text or into a file for Wireshark; read such a file.

examples:
  sudo ./gse capture l1                     all that leaf l1's GSP sends to and gets from the fabric, until Ctrl-C
  sudo ./gse capture l1 l1-eth5 -c 100      100 frames of one uplink
  sudo ./gse capture h3 -w h3.pcap          host h3's own interface into a file
  ./gse capture --read h3.pcap              the file as text (Wireshark and tcpdump read it too)

The fabric is that of the run or prompt that is going on (with several: --pid says which), and the capture ends with
it. tcpdump captures, scapy decodes.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Final

from testbed.errors import MachineError, Problem, ResultsError, ScenarioError
from testbed.files import MAX_CAPTURE_BYTES, open_input
from testbed.system.capsule import require_root
from testbed.system.interrupts import Interrupted, interruptible
from testbed.system.recording import tcpdump
from testbed.system.running import Capsule, running_capsules

INTERRUPTED: Final = 130  # exit status after Ctrl-C
DEFAULT_INTFS: Final = ("-fab", "-eth0")  # a leaf's port to its agent; a host's link


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("node", metavar="NODE", nargs="?", help="a switch (l1, s2) or host (h3) of the running fabric")
    parser.add_argument(
        "intf", metavar="INTF", nargs="?", help="one of its interfaces; unset: a host's own, a leaf's to its GSP agent"
    )
    parser.add_argument("-w", dest="write", metavar="FILE", type=Path, help="write a pcap file instead of text")
    parser.add_argument("-c", dest="count", metavar="N", type=_frames, help="stop after N frames, captured or read")
    parser.add_argument(
        "--pid", metavar="PID", type=int, help="which run, where several are going on (the message lists them)"
    )
    parser.add_argument("--read", metavar="FILE", type=Path, help="print a capture file as text and exit")


def run(args: argparse.Namespace) -> int:
    """Capture, or read a file; return the exit status."""
    if args.read is not None:
        _check_reading(args)
        with _capture_file(args.read) as file:
            return _print(islice(_packets_of(file, args.read), args.count))
    if args.node is None:
        print("gse capture: expected a NODE of the running fabric, or --read FILE", file=sys.stderr)
        return 2
    require_root("capture")
    capsule = _choose(running_capsules(), args.pid)
    options = _options(capsule, args)
    with interruptible():
        try:
            return _record(capsule, args, options)
        except Interrupted as stop:
            if args.write is None or stop.exit_status != INTERRUPTED:
                raise
            return 0  # Ctrl-C is how one ends a capture into a file


def _frames(text: str) -> int:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"got {text[:80]!r}, expected a number of frames from 1")
    return number


def _check_reading(args: argparse.Namespace) -> None:
    """Refuse what means nothing where a file is read. Raises ScenarioError."""
    given = {"NODE": args.node, "-w": args.write, "--pid": args.pid}
    if names := [name for name, value in given.items() if value is not None]:
        raise ScenarioError(Problem("a file is only read", "--read", ", ".join(names), "--read FILE alone, or with -c"))


def _record(capsule: Capsule, args: argparse.Namespace, options: list[str]) -> int:
    """Capture until the frames asked for are there or the fabric ends; return the exit status."""
    to_file = args.write is not None
    with tcpdump(capsule, args.node, options, stdout=None if to_file else subprocess.PIPE) as recording:
        if not to_file and (status := _print(_packets_of(recording.stdout, args.node))):
            return status
        status = recording.wait()
        if recording.fabric_ended:
            print(f"gse capture: {capsule.what} {capsule.pid} has ended, and the capture with it", file=sys.stderr)
        return status


def _options(capsule: Capsule, args: argparse.Namespace) -> list[str]:
    """Return tcpdump's arguments. Raises MachineError when the interface is not the node's, or has to be named."""
    own = capsule.interfaces(args.node)
    default = own if len(own) == 1 else [name for name in own if name.endswith(DEFAULT_INTFS)]
    intf = args.intf or (default[0] if default else None)
    if intf not in own:
        what = "no such interface" if args.intf else "several interfaces"
        raise MachineError(Problem(what, args.node, str(args.intf), f"one of {', '.join(own)}"))
    count = [] if args.count is None else ["-c", str(args.count)]
    return ["-U", "-n", "-s", "0", "-i", str(intf), "-w", str(args.write or "-"), *count]


def _choose(capsules: list[Capsule], pid: int | None) -> Capsule:
    """Return the capsule meant. Raises MachineError when there is none, or none can be told."""
    found = ", ".join(f"{capsule.pid} ({capsule.what})" for capsule in capsules) or "none"
    chosen = [capsule for capsule in capsules if pid in (None, capsule.pid)]
    if len(chosen) != 1:
        expected = "a run or prompt going on" if not capsules else "--pid with one of them"
        raise MachineError(Problem("cannot tell which fabric", "gse capture", found, expected))
    return chosen[0]


def _capture_file(path: Path) -> BinaryIO:
    try:
        return open_input(path, MAX_CAPTURE_BYTES)
    except OSError as error:
        raise ResultsError(Problem("cannot be read", str(path), str(error.strerror), "a pcap file")) from None


def _packets_of(source: Any, name: object) -> Iterator[Any]:
    """Yield the packets of a capture. Raises ResultsError when it is none, or damaged further on."""
    logging.getLogger("scapy.runtime").setLevel(logging.ERROR)
    from scapy.utils import PcapReader

    from testbed.capture import layers

    layers.load()  # before the reader decides what a frame of this kind of capture is
    try:
        yield from PcapReader(source)
    except Exception as error:  # scapy raises its own for what is no capture, and whatever damaged ones lead to
        raise ResultsError(Problem("cannot be read", str(name), str(error), "a pcap file")) from None


def _print(packets: Iterable[Any]) -> int:
    from testbed.capture.decode import lines

    for line in lines(packets):
        print(line, flush=True)
    return 0

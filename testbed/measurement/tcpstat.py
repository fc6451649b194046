"""What the TCP of a host has counted: /proc/net/snmp and netstat of its network namespace (proc(5), RFC 4022)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from testbed.errors import ParseError

# our name -> (file, line, the kernel's name)
COUNTERS: Final = {
    "sent_segments": ("snmp", "Tcp", "OutSegs"),
    "retransmitted_segments": ("snmp", "Tcp", "RetransSegs"),
    "out_of_order_packets": ("netstat", "TcpExt", "TCPOFOQueue"),
}


def parse_counters(text: str, line: str) -> dict[str, int]:
    """Return the counters of one pair of lines, names above values. Raises ParseError."""
    found = [row.split()[1:] for row in text.splitlines() if row.startswith(f"{line}:")]
    try:
        names, values = found
        return {name: int(value) for name, value in zip(names, values, strict=True)}
    except ValueError:
        raise ParseError("/proc/net", text, f"a line of names and a line of numbers that begin with {line}:") from None


def host_counters(pid: int) -> dict[str, int]:
    """Return ``COUNTERS`` of the network namespace of a process. Raises OSError or ParseError."""
    return pick({name: Path(f"/proc/{pid}/net/{name}").read_text() for name in ("snmp", "netstat")})


def pick(texts: Mapping[str, str]) -> dict[str, int]:
    """Return ``COUNTERS`` out of the files' texts by name. Raises ParseError."""
    counted: dict[str, int] = {}
    for ours, (file, line, theirs) in COUNTERS.items():
        known = parse_counters(texts[file], line)
        if theirs not in known:
            raise ParseError(f"/proc/net/{file}", " ".join(known), f"a counter {theirs}")
        counted[ours] = known[theirs]
    return counted

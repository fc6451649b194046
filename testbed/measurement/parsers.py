"""Text of the kernel and of tools -> records. Pure; what is not understood raises ParseError, nothing is guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from testbed.errors import ParseError

UNKNOWN_PROCESS: Final = "unknown"  # ss names no owner: it lives in another PID namespace or is just ending
SOFTNET_LEAST, SOFTNET_CORE = 3, 12
CPU_STATES: Final = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")

_PACKET_SOCKET = re.compile(r"^p_(?:raw|dgr)\s+\d+\s+\d+\s+(?P<protocol>[^\s:]+):(?P<intf>\S+)\s")
_OWNER = re.compile(r'users:\(\("(?P<name>[^"]*)",pid=\d+,fd=\d+\)')
_DROPS = re.compile(r"skmem:\([^)]*\bd(?P<drops>\d+)\)")
_HEXADECIMAL = re.compile("[0-9a-f]+")
_DATAPATH = re.compile(r"^\S+@\S+:[ \t]*$", re.MULTILINE)
_LOOKUPS = re.compile(
    r"^(?P<name>\S+@\S+):[ \t]*\n[ \t]+lookups: hit:(?P<hit>\d+) missed:(?P<missed>\d+) lost:(?P<lost>\d+)[ \t]*$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class SocketDrops:
    """Frames lost at the packet sockets of one process on one interface (``*``: on all), since they were opened."""

    process: str
    port: str
    drops: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DatapathLookups:
    """What a datapath of Open vSwitch has done with packets since it exists: found a rule, asked for one, lost them."""

    datapath: str
    hit: int
    missed: int
    lost: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSoftnet:
    """What a core has done with received packets since the machine started: see ``SoftnetRow``."""

    core: int
    dropped: int
    squeezed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreTimes:
    """Cumulative seconds of one core; user time includes niced programs, guests count as user."""

    core: int
    user_s: float
    system_s: float
    idle_s: float
    iowait_s: float
    irq_s: float
    softirq_s: float
    steal_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class QdiscText:
    """A queueing discipline as ``tc -s -j qdisc`` tells it; ``options`` verbatim."""

    intf: str
    kind: str
    sent_bytes: int
    sent_packets: int
    backlog_bytes: int
    backlog_packets: int
    dropped_packets: int
    overlimits: int
    options: Mapping[str, Any]


def packet_socket_drops(text: str) -> list[SocketDrops]:
    """Read ``ss -0 -m -n -p`` (with or without header): one record per process and interface, in order.

    A process with several sockets on an interface gets their sum.
    """
    drops: dict[tuple[str, str], int] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("Netid"):
            continue
        address, lost, owner = _PACKET_SOCKET.match(line), _DROPS.search(line), _OWNER.search(line)
        if not address or not lost or ("users:" in line and not owner):
            raise ParseError("ss -0 -m -n -p", line, "'p_raw N N PROTOCOL:INTERFACE ... skmem:(...,dDROPS)'")
        key = (owner["name"] if owner else UNKNOWN_PROCESS, address["intf"])
        drops[key] = drops.get(key, 0) + int(lost["drops"])
    return [SocketDrops(process, port, lost) for (process, port), lost in drops.items()]


def datapath_lookups(text: str) -> list[DatapathLookups]:
    """Read ``ovs-appctl dpctl/show``: one record per datapath, ``netdev@ovs-netdev`` or ``system@ovs-system``."""
    found = [
        DatapathLookups(
            datapath=lookups["name"],
            hit=int(lookups["hit"]),
            missed=int(lookups["missed"]),
            lost=int(lookups["lost"]),
        )
        for lookups in _LOOKUPS.finditer(text)
    ]
    if not found or len(found) != len(_DATAPATH.findall(text)):
        raise ParseError("ovs-appctl dpctl/show", text, "'TYPE@NAME:', below each 'lookups: hit:N missed:N lost:N'")
    return found


def softnet_counts(text: str) -> list[CoreSoftnet]:
    """Read /proc/net/softnet_stat: a line per core that is online, of hexadecimal numbers.

    The first three are packets, dropped ones and how often the core had to stop; the thirteenth, since Linux 5.10, is
    the core (net/core/net-procfs.c): older kernels do not say, cores are numbered as they come.
    """
    found = []
    for number, line in enumerate(text.splitlines()):
        fields = line.split()
        if len(fields) < SOFTNET_LEAST or not all(_HEXADECIMAL.fullmatch(field) for field in fields):
            raise ParseError("/proc/net/softnet_stat", line, f"at least {SOFTNET_LEAST} hexadecimal numbers")
        core = int(fields[SOFTNET_CORE], 16) if len(fields) > SOFTNET_CORE else number
        found.append(CoreSoftnet(core=core, dropped=int(fields[1], 16), squeezed=int(fields[2], 16)))
    if not found:
        raise ParseError("/proc/net/softnet_stat", text, "a line per core")
    return found


def core_times(text: str, ticks_per_s: int) -> list[CoreTimes]:
    """Read /proc/stat (proc(5)); ``ticks_per_s`` is ``sysconf(SC_CLK_TCK)``."""
    cores = []
    for line in text.splitlines():
        name, _, rest = line.partition(" ")
        if not name.startswith("cpu") or name == "cpu":
            continue
        fields = rest.split()
        if not name[3:].isdigit() or len(fields) < len(CPU_STATES) or not all(field.isdigit() for field in fields):
            raise ParseError("/proc/stat", line, f"cpuN and at least {len(CPU_STATES)} tick counts")
        user, nice, system, idle, iowait, irq, softirq, steal = (
            int(f) / ticks_per_s for f in fields[: len(CPU_STATES)]
        )
        cores.append(
            CoreTimes(
                core=int(name[3:]),
                user_s=user + nice,
                system_s=system,
                idle_s=idle,
                iowait_s=iowait,
                irq_s=irq,
                softirq_s=softirq,
                steal_s=steal,
            )
        )
    if not cores:
        raise ParseError("/proc/stat", text, "a line for each core")
    return cores


def schedstat(text: bytes | str) -> tuple[float, float]:
    """Read /proc/PID/task/TID/schedstat: seconds the thread ran, and waited for a core (scheduler/sched-stats.rst)."""
    try:
        ran_ns, waited_ns, _slices = (int(field) for field in text.split())
    except ValueError:
        shown = text if isinstance(text, str) else text.decode(errors="replace")
        raise ParseError("schedstat", shown, "three integers") from None
    return ran_ns / 1e9, waited_ns / 1e9


def qdiscs(text: str) -> list[QdiscText]:
    """Read ``tc -s -j qdisc``."""
    try:
        return [
            QdiscText(
                intf=record["dev"],
                kind=record["kind"],
                sent_bytes=record["bytes"],
                sent_packets=record["packets"],
                backlog_bytes=record["backlog"],
                backlog_packets=record["qlen"],
                dropped_packets=record["drops"],
                overlimits=record["overlimits"],
                options=record.get("options") or {},
            )
            for record in json.loads(text)
        ]
    except json.JSONDecodeError:
        raise ParseError("tc -s -j qdisc", text, "JSON") from None
    except KeyError as error:
        raise ParseError("tc -s -j qdisc", text, f"a field {error} in every record") from None
    except (TypeError, AttributeError):
        raise ParseError("tc -s -j qdisc", text, "a list of objects") from None

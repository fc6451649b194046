"""The vocabulary between GSOS decisions and OpenFlow: what a switch should do, as plain values.

Policies (``testbed.gse``) return rules; ``apps/openflow.py`` alone turns them into messages.
"""

from __future__ import annotations

from dataclasses import dataclass

ETH_TYPE_IPV4 = 0x0800
IN_PORT = 0xFFFF_FFF8  # OpenFlow's name for "back out of the port it came in"; a plain Output never does that
TCP_SYN = 0x02


@dataclass(frozen=True)
class Match:
    """What a rule applies to; None means any. Addresses are dotted or with colons, optionally with a mask after /."""

    in_port: int | None = None
    eth_type: int | None = None
    eth_dst: str | None = None
    ip_src: str | None = None
    ip_dst: str | None = None
    ip_proto: int | None = None
    l4_src: int | None = None
    l4_dst: int | None = None
    tcp_flags: int | None = None  # these flags set, others don't matter
    bucket: int | None = None  # what HashBucket found; such rules apply to nothing else


@dataclass(frozen=True)
class Output:
    """Send out of one port."""

    port: int


@dataclass(frozen=True)
class HashLive:
    """Send out of one of the live ``ports``, chosen by a 5-tuple hash seeded with ``basis`` (16 bits)."""

    ports: tuple[int, ...]
    basis: int


@dataclass(frozen=True)
class HashBucket:
    """Find one of ``buckets`` by a 5-tuple hash seeded with ``basis``, whichever ports live, and go by its rule."""

    buckets: int
    basis: int


@dataclass(frozen=True)
class FirstLive:
    """Send out of the first of ``ports`` whose carrier is up: local repair without the controller."""

    ports: tuple[int, ...]


@dataclass(frozen=True)
class PacketIn:
    """Also send the first ``max_bytes`` of the packet to GSOS."""

    max_bytes: int = 128


Action = Output | HashLive | HashBucket | FirstLive | PacketIn


@dataclass(frozen=True)
class Rule:
    """One flow entry; no actions means drop. ``idle_timeout_s`` 0 means for ever."""

    priority: int
    match: Match
    actions: tuple[Action, ...]
    idle_timeout_s: int = 0

    @property
    def identity(self) -> tuple[int, Match]:
        """Priority and match: what OpenFlow uses to tell entries of one table apart."""
        return (self.priority, self.match)

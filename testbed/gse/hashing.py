"""Which port Open vSwitch's hash picks for a flow: what ``ecmp`` does under a seed, known before it runs. Pure.

GSOS asks for Nicira's ``bundle`` with rendezvous hashing over ``symmetric_l3l4+udp`` (``apps.openflow``). From Open
vSwitch's documentation and sources (lib/bundle.c, lib/flow.c, lib/hash.h): the fields' hash is MurmurHash3's over
source XOR destination address, protocol, and source XOR destination port, starting from the basis; each member's
number is hashed with that, and the largest wins. EMULATION: builds for processors with SSE4.2 (``-march``) hash by
CRC32 instead; distributions' packages do not. Checked against the paths of stored runs
(``tests/unit/test_fluid_predict.py``), which ``ofproto/trace`` tells.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from testbed.gse.policy import hash_basis
from testbed.model.oracle import FlowPath
from testbed.model.ranks import Flow
from testbed.model.topology import Host, Topology

_WORD = 0xFFFF_FFFF
_END_OF_TWO_WORDS = 8  # what is mixed in at the end: the bytes hashed


def _rotated(value: int, bits: int) -> int:
    return (value << bits | value >> (32 - bits)) & _WORD


def _add(seed: int, word: int) -> int:
    word = _rotated(word * 0xCC9E2D51 & _WORD, 15) * 0x1B873593 & _WORD
    return (_rotated(seed ^ word, 13) * 5 + 0xE6546B64) & _WORD


def _finish(value: int, end: int) -> int:
    value ^= end
    value = (value ^ value >> 16) * 0x85EBCA6B & _WORD
    value = (value ^ value >> 13) * 0xC2B2AE35 & _WORD
    return value ^ value >> 16


def _address(text: str) -> int:
    (value,) = struct.unpack("<I", bytes(map(int, text.split("."))))  # network order, read by a little-endian machine
    return int(value)


def _port(number: int) -> int:
    return (number & 0xFF) << 8 | number >> 8


def flow_hash(flow: Flow, basis: int) -> int:
    """Return the hash of a TCP or UDP flow's fields; the same for its reverse."""
    value = _add(basis, _address(flow.src_ip) ^ _address(flow.dst_ip))
    value = _add(_add(value, flow.proto), _port(flow.src_port) ^ _port(flow.dst_port))
    return _finish(value, basis)


def member(flow: Flow, basis: int, members: int) -> int:
    """Return which of so many members, all live, the flow is sent to."""
    hashed = flow_hash(flow, basis)
    return max(range(members), key=lambda number: (_finish(_add(_add(number, 0), hashed), _END_OF_TWO_WORDS), -number))


def hashed_path(topology: Topology, flow: Flow, src: Host, dst: Host, seed: int) -> FlowPath | None:
    """Return the way a flow from ``src`` to ``dst`` takes under ``ecmp`` with every link up; None within a leaf."""
    if src.leaf == dst.leaf:
        return None
    up = member(flow, hash_basis(seed, topology.leaves[src.leaf].dpid), topology.fabric.paths)
    links = topology.fabric.links_per_pair
    if links == 1:
        return FlowPath(up, 0)
    spine, _link = topology.path_spine_link(up)
    return FlowPath(up, member(flow, hash_basis(seed, topology.spines[spine].dpid), links))


def hashed_paths(
    topology: Topology, flows: Sequence[Sequence[Flow]], pairs: Sequence[tuple[Host, Host]], seed: int
) -> list[list[FlowPath | None]]:
    """Return the ways of all flows of all pairs, ``[pair][flow]``."""
    return [
        [hashed_path(topology, flow, src, dst, seed) for flow in own]
        for own, (src, dst) in zip(flows, pairs, strict=True)
    ]

"""Sizes on the wire: what a frame costs and what fraction of it a program gets.

Rates in this project are rates of Ethernet frames as the kernel counts them: with the 14-byte
header, without FCS, preamble and inter-frame gap (that is what tc shapes).
"""

from __future__ import annotations

ETHERNET_HEADER_BYTES = 14
IPV4_HEADER_BYTES = 20
TCP_HEADER_BYTES = 20
TCP_TIMESTAMP_OPTION_BYTES = 12  # net.ipv4.tcp_timestamps=1, read back when the network is built
UDP_HEADER_BYTES = 8
PROBE_PORT = 19_000  # UDP, at both ends of a latency probe; below the ranks' ports


def frame_bytes(mtu_bytes: int) -> int:
    """Return the size in bytes of a full frame as tc counts it."""
    return mtu_bytes + ETHERNET_HEADER_BYTES


def tcp_payload_bytes(mtu_bytes: int) -> int:
    """Return the TCP payload in bytes of a full frame."""
    return mtu_bytes - IPV4_HEADER_BYTES - TCP_HEADER_BYTES - TCP_TIMESTAMP_OPTION_BYTES


def tcp_payload_fraction(mtu_bytes: int) -> float:
    """Return payload / wire bytes of a full plain TCP frame: 8948/9014 at an MTU of 9000."""
    return tcp_payload_bytes(mtu_bytes) / frame_bytes(mtu_bytes)

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from apps.packets import flow_of_frame
from testbed.model.ranks import Flow


def ip(**fields):
    return Ether() / IP(src="10.0.1.1", dst="10.0.2.3", **fields)


def test_tcp_and_udp_flows_are_read():
    assert flow_of_frame(bytes(ip() / TCP(sport=40000, dport=20001))) == Flow("10.0.1.1", "10.0.2.3", 6, 40000, 20001)
    assert flow_of_frame(bytes(ip() / UDP(sport=5, dport=65535))) == Flow("10.0.1.1", "10.0.2.3", 17, 5, 65535)


def test_ip_options_are_skipped():
    frame = bytes(ip(options=[struct.pack("!BBBB", 148, 4, 0, 0)]) / UDP(sport=7, dport=8))
    assert flow_of_frame(frame) == Flow("10.0.1.1", "10.0.2.3", 17, 7, 8)


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(ip() / UDP())[:37],  # cut before the second port
        bytes(ip() / ICMP()),
        bytes(ip(frag=100, proto=17) / b"abcdefgh"),  # a later fragment has no ports
        bytes(Ether() / ARP()),
        bytes(Ether() / IPv6() / UDP()),
        bytes(Ether() / Dot1Q() / IP() / UDP()),
        b"\xff" * 60,
        bytes(ip(ihl=2) / UDP()),
    ],
)
def test_anything_else_is_no_flow(frame):
    assert flow_of_frame(frame) is None

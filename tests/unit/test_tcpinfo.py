from __future__ import annotations

import ctypes
import socket

from testbed.measurement.tcpinfo import TCP_INFO_BYTES, received_counters, sent_counters

FIELDS = """\
8 state ca_state retransmits probes backoff options wscale flags
32 rto ato snd_mss rcv_mss unacked sacked lost retrans fackets
32 last_data_sent last_ack_sent last_data_recv last_ack_recv
32 pmtu rcv_ssthresh rtt rttvar snd_ssthresh snd_cwnd advmss reordering rcv_rtt rcv_space total_retrans
64 pacing_rate max_pacing_rate bytes_acked bytes_received
32 segs_out segs_in notsent_bytes min_rtt data_segs_in data_segs_out
64 delivery_rate busy_time rwnd_limited sndbuf_limited
32 delivered delivered_ce
64 bytes_sent bytes_retrans
32 dsack_dups reord_seen rcv_ooopack snd_wnd rcv_wnd rehash
16 total_rto total_rto_recoveries
32 total_rto_time
"""


class TcpInfo(ctypes.Structure):
    """include/uapi/linux/tcp.h of Linux 6.7, field by field."""

    _fields_ = [
        (name, {"8": ctypes.c_uint8, "16": ctypes.c_uint16, "32": ctypes.c_uint32, "64": ctypes.c_uint64}[width])
        for width, *names in (line.split() for line in FIELDS.splitlines())
        for name in names
    ]


def test_every_counter_is_read_from_its_place() -> None:
    info = TcpInfo(
        rtt=1, snd_cwnd=2, total_retrans=3, bytes_acked=2**40, data_segs_out=5, delivered=6, bytes_sent=7,
        busy_time=2**42, rwnd_limited=14, sndbuf_limited=15,
        bytes_retrans=8, dsack_dups=9, reord_seen=10, bytes_received=2**41, data_segs_in=12, rcv_ooopack=13,
        total_rto=16, total_rto_time=17,
    )  # fmt: skip
    assert list(sent_counters(bytes(info)).values()) == [1, 2, 3, 2**40, 5, 2**42, 14, 15, 6, 7, 8, 9, 10, 16]
    assert list(received_counters(bytes(info)).values()) == [2**41, 12, 13]


def test_what_an_old_kernel_does_not_have_is_missing_not_zero() -> None:
    linux_4_15 = bytes(TcpInfo(total_retrans=3, bytes_received=4))[: TcpInfo.delivered.offset]
    assert sent_counters(linux_4_15)["retransmitted_segments"] == 3
    assert sent_counters(linux_4_15)["delivered_segments"] is None
    assert received_counters(linux_4_15) == {
        "bytes_received": 4,
        "data_segments_received": 0,
        "out_of_order_packets": None,
    }


def test_a_counter_cut_in_half_is_missing() -> None:
    cut = bytes(TcpInfo())[: TcpInfo.bytes_acked.offset + 4]
    assert sent_counters(cut)["bytes_acked"] is None


def test_the_kernel_agrees() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            sender.sendall(b"x" * 5000)
            received = b""
            while len(received) < 5000:
                received += receiver.recv(5000)
            raw = receiver.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            assert received_counters(raw)["bytes_received"] == 5000
            raw = sender.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, TCP_INFO_BYTES)
            assert sent_counters(raw)["bytes_sent"] == 5000
            assert sent_counters(raw)["retransmitted_segments"] == 0

"""Decode the kernel's ``struct tcp_info`` (include/uapi/linux/tcp.h). Pure.

The structure has grown at its end with every other kernel; getsockopt returns as much as the running one
has. A counter the kernel does not have is None, never 0.
"""

from __future__ import annotations

import struct

TCP_INFO_BYTES = 512  # more than any kernel returns so far

# name -> (offset in struct tcp_info, format)
_SENT = {
    "rtt_us": (68, "=I"),
    "congestion_window_segments": (80, "=I"),
    "retransmitted_segments": (100, "=I"),
    "bytes_acked": (120, "=Q"),
    "data_segments_sent": (156, "=I"),
    "busy_us": (168, "=Q"),  # Linux 4.10, as the next two: time with data to send,
    "rwnd_limited_us": (176, "=Q"),  # of it held back by the receiver's window,
    "sndbuf_limited_us": (184, "=Q"),  # or by the send buffer
    "delivered_segments": (192, "=I"),
    "bytes_sent": (200, "=Q"),
    "bytes_retransmitted": (208, "=Q"),
    "spurious_retransmits": (216, "=I"),  # tcpi_dsack_dups: the receiver had the segment already
    "reordering_events": (220, "=I"),
    # tcpi_total_rto, Linux 6.7: retransmission timers that expired. (tcpi_total_rto_time beside it sometimes falls.)
    "timeouts": (240, "=H"),
}
_RECEIVED = {
    "bytes_received": (128, "=Q"),
    "data_segments_received": (152, "=I"),
    "out_of_order_packets": (224, "=I"),  # Linux 5.4
}


def _decode(raw: bytes, fields: dict[str, tuple[int, str]]) -> dict[str, int | None]:
    return {
        name: struct.unpack_from(form, raw, offset)[0] if offset + struct.calcsize(form) <= len(raw) else None
        for name, (offset, form) in fields.items()
    }


def sent_counters(raw: bytes) -> dict[str, int | None]:
    """Return what a sending socket's tcp_info says; counters since the connection began."""
    return _decode(raw, _SENT)


def received_counters(raw: bytes) -> dict[str, int | None]:
    """Return what a receiving socket's tcp_info says; counters since the connection began."""
    return _decode(raw, _RECEIVED)

"""Unit constants and conversions. Mbit is 10**6 bits; KiB and MiB are powers of two; times are seconds."""

from __future__ import annotations

import re

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# More digits than any size has; 309 would be infinite as a float.
_SIZE = re.compile(r"^\s*(\d{1,15}(?:\.\d{1,15})?)\s*([KMG]?)(?:i?B)?\s*$", re.IGNORECASE)
_FACTORS = {"": 1, "K": KIB, "M": MIB, "G": GIB}


def mbps_to_bytes_per_s(rate_mbps: float) -> float:
    """Return bytes per second for a rate in Mbit/s (10**6 bits)."""
    return rate_mbps * 1e6 / 8


def bytes_to_mbps(size_bytes: float, duration_s: float) -> float:
    """Return the mean rate in Mbit/s of ``size_bytes`` moved in ``duration_s``."""
    return size_bytes * 8 / 1e6 / duration_s


def text_to_bytes(text: str) -> int:
    """Read ``64K``, ``8MiB``, ``4194304`` as bytes; K, M, G are powers of two, as in nccl-tests.

    Raises ValueError when the text is not a whole number of bytes.
    """
    match = _SIZE.match(text)
    if not match:
        raise ValueError(f"{text!r} is not a size like 64K, 8MiB or 4194304")
    size = float(match[1]) * _FACTORS[match[2].upper()]
    if size != int(size):
        raise ValueError(f"{text!r} is not a whole number of bytes")
    return int(size)


def bytes_to_text(size_bytes: int) -> str:
    """Return the shortest exact form: 8388608 -> ``8 MiB``, 1500 -> ``1500 B``."""
    for name, factor in (("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if size_bytes >= factor and size_bytes % factor == 0:
            return f"{size_bytes // factor} {name}"
    return f"{size_bytes} B"

"""Numbers that wrap, of 32 bits and (epochs) of 16: differences and order by serial arithmetic (RFC 1982)."""

from __future__ import annotations

from typing import Final

MODULUS: Final = 1 << 32
_MASK: Final = MODULUS - 1
_HALF: Final = 1 << 31


def wrap(count: int) -> int:
    """Return a count as the 32 bits that travel."""
    return count & _MASK


def unwrap(received: int, near: int) -> int:
    """Return the count whose 32 bits are ``received`` and that is nearest to ``near``; may be negative."""
    return near + ((received - near + _HALF) & _MASK) - _HALF


def is_newer(number: int, than: int) -> bool:
    """Return whether a 32-bit number comes after another."""
    return 0 < (number - than) & _MASK < _HALF


def is_newer_epoch(epoch: int, than: int) -> bool:
    """Return whether a 16-bit epoch began after another."""
    return 0 < (epoch - than) & 0xFFFF < 0x8000

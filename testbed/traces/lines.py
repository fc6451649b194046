"""Lines of a file, one at a time and not for ever long. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from testbed.traces.findings import Findings
from testbed.units import KIB

MAX_LINE_BYTES: Final = 64 * KIB


def raw_lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield number (from 1) and bytes of each line without its end; nothing follows the last line end.

    They are looked for one by one: a list of a file of line ends would be many times its size.
    """
    number = begin = 0
    while begin < len(data):
        number += 1
        end = data.find(b"\n", begin)
        end = len(data) if end < 0 else end
        # One byte too many is enough to see that a line is too long.
        yield number, data[begin : min(end, begin + MAX_LINE_BYTES + 1)].removesuffix(b"\r")
        begin = end + 1


def lines(data: bytes, findings: Findings) -> Iterator[tuple[int, str]]:
    """Yield number and text of each line. What is no UTF-8 or too long is a problem, and left out."""
    for number, raw in raw_lines(data):
        text = decoded(number, raw, findings)
        if text is not None:
            yield number, text


def decoded(number: int, raw: bytes, findings: Findings) -> str | None:
    """Return the text of a line, or None: then it is a problem."""
    if len(raw) > MAX_LINE_BYTES:
        expected = f"lines of at most {MAX_LINE_BYTES:,} bytes"
        findings.problem(number, "line too long", raw[:40].decode(errors="replace") + "...", expected)
        return None
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        got = f"byte {raw[error.start]:#04x} at {error.start}"
        findings.problem(number, "is not UTF-8", got, "UTF-8 text")
        return None

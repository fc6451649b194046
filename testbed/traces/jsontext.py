"""JSON of strangers: one value, or one after the other as Chakra's jsonizer writes them. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final, NoReturn

from testbed.errors import Problem, TraceError
from testbed.units import MIB

MAX_JSON_BYTES: Final = 32 * MIB  # as Python objects up to 33 times that, measured with small objects in a list
MAX_DIGITS: Final = 400  # of a number: converting a long one takes quadratic time

_SPACE = re.compile(r"[ \t\r\n]*")
_SNIFFED_BYTES = 4096


def looks_like_json(data: bytes) -> bool:
    """Whether this is JSON rather than protobuf, which may begin with a brace too: as a length.

    Protobuf has tags below 32 within the first messages, and JSON no such characters but white space.
    """
    head = data[:_SNIFFED_BYTES]
    return head.lstrip()[:1] in (b"{", b"[") and not any(byte < 32 and byte not in b"\t\r\n" for byte in head)


def begins_with_list(data: bytes) -> bool:
    """Whether the first JSON value is a list."""
    return data[:_SNIFFED_BYTES].lstrip().startswith(b"[")  # not all of it: that would be a copy of the file


def values(data: bytes, source: str) -> Iterator[Any]:
    """Yield every JSON value of a text, in order. Raises TraceError."""
    if len(data) > MAX_JSON_BYTES:
        raise _error(source, "is too large", f"{len(data):,} bytes", f"at most {MAX_JSON_BYTES:,} bytes of JSON")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise _error(source, "is not UTF-8", f"byte {data[error.start]:#04x} at {error.start}", "UTF-8 text") from None
    decoder = json.JSONDecoder(parse_constant=_no_number, parse_int=_int)
    at = _after_space(text, 0)
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            got = f"{error.msg} in line {error.lineno}, column {error.colno}"
            raise _error(source, "is not JSON", got, "JSON") from None
        except ValueError as error:
            raise _error(source, "is not JSON", str(error)[:80], "JSON") from None
        except RecursionError:
            raise _error(source, "is not JSON", "too many levels", "JSON of a trace") from None
        yield value
        at = _after_space(text, at)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _int(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits")
    return int(digits)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def _error(source: str, what: str, got: str, expected: str) -> TraceError:
    return TraceError(Problem(what, source, got, expected))

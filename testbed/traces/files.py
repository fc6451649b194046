"""Reads traces from files: the only module of its room that touches one."""

from __future__ import annotations

import errno
import hashlib
from codecs import BOM_UTF8
from io import BytesIO
from pathlib import Path
from typing import Final

from testbed.errors import Problem, TraceError
from testbed.files import open_input
from testbed.traces.detect import parse
from testbed.traces.trace import Format, Trace
from testbed.units import MIB

MAX_TRACE_BYTES: Final = 256 * MIB


def load(path: Path, format: Format | None = None) -> Trace:
    """Read the trace in a file. Raises TraceError, also for what is no ordinary file or too large."""
    return parse(_data(path), str(path), format)


def load_digested(path: Path) -> tuple[Trace, str]:
    """Read the trace in a file; return it with the SHA-256 of the file, in hexadecimal. Raises TraceError."""
    data = _data(path)
    return parse(data, str(path), None), hashlib.sha256(data).hexdigest()


def _data(path: Path) -> bytes:
    try:
        return _read(path)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL in it
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise TraceError(Problem("cannot be read", str(path), str(reason), "a trace of collectives")) from None


def _read(path: Path) -> bytes:
    """Return what is in a file, without a byte order mark.

    Piece by piece: asked for all of it at once, Python takes the memory of the limit. Into a ``BytesIO``: it gives its
    bytes away without a copy.
    """
    data = BytesIO()
    with open_input(path, MAX_TRACE_BYTES) as file:
        data.write(file.read(MIB).removeprefix(BOM_UTF8))
        while piece := file.read(MIB):
            data.write(piece)
            if data.tell() > MAX_TRACE_BYTES:  # it grows while it is read
                raise OSError(errno.EFBIG, f"more than {MAX_TRACE_BYTES:,} bytes", str(path))
    return data.getvalue()

"""JSON as all our files have it: written so that nobody sees half of it, read with limits."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.errors import Problem, ResultsError
from testbed.files import MAX_JSON_BYTES, give_to_caller, read_input
from testbed.results.checks import parse_json
from testbed.results.disk import os_errors


def json_text(value: Mapping[str, Any]) -> str:
    """Return JSON as all our files have it: indented, readable, no NaN.

    Half a surrogate (a file name that is no UTF-8, in what a program prints or a path) stays what it is, escaped.
    """
    text = json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON atomically, indented. Raises ResultsError."""
    text = json_text(value)
    # in a folder nobody else can have put a link into: folders of strangers are written to, and by root
    with (
        os_errors("cannot write", path),
        tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder,
    ):
        temporary = Path(folder, "new")
        temporary.write_text(text, encoding="utf-8")
        give_to_caller(temporary)
        temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a regular file of bounded size. Raises ResultsError."""
    try:
        value = parse_json(read_input(path, MAX_JSON_BYTES).decode())
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ResultsError(Problem("cannot read a result", str(path), reason, "a finished run directory")) from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(Problem("damaged JSON", str(path), str(error)[:120], "a JSON object")) from None
    if not isinstance(value, dict):
        raise ResultsError(Problem("damaged JSON", str(path), type(value).__name__, "a JSON object"))
    return value

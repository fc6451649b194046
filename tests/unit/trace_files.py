"""Traces to test with: small ones of our own, and real ones where somebody has them.

``GSE_TRACE_FILES`` names a folder with ``aicb/*.csv``, ``simai/*.txt``, ``chakra/*.json`` and so on. Real traces are
other projects' and not kept here; a test that takes them always has our own as well.
"""

from __future__ import annotations

import os
from pathlib import Path

from testbed.traces.trace import FORMATS, Format

OURS = Path(__file__).resolve().parents[1] / "data" / "traces"


def trace_files(*formats: Format) -> list[Path]:
    """Return the files of these formats (of all, without): ours, then real ones that are there."""
    wanted = formats or FORMATS
    ours = [path for path in sorted(OURS.iterdir()) if format_of(path) in wanted]
    folder = os.environ.get("GSE_TRACE_FILES")
    real = sorted(Path(folder).glob("*/*")) if folder else []
    return ours + [path for path in real if path.parent.name in wanted and "spec" not in path.name]


def format_of(path: Path) -> Format:
    """Return the format of a file by its name (ours), or by its folder's."""
    name = path.stem if path.parent == OURS else path.parent.name
    return next(format for format in FORMATS if name.startswith(format))


def file_id(path: object) -> str:
    """Return what a test is called."""
    return f"{path.parent.name}-{path.name}" if isinstance(path, Path) else str(path)

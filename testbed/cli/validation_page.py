"""The page of ``gse predict validate --write``: what stands above its tables, its writing. Not a command."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from testbed.errors import Problem, ResultsError
from testbed.files import write_together
from testbed.results.disk import REMEDIES
from testbed.views.cells import Grid
from testbed.views.fluid import markdown

UNWRITTEN: Final = "cannot write the tables"
INTRODUCTION: Final = """\
# The fluid model against emulation

Made by `sudo ./gse predict validate --write docs/validation.md` (with `--full`: hashing over twenty seeds and GSE2.0 on
the same fabrics, too; with `--stored`: from what is stored, nothing is run). No number in [the model](fluid.md) is
fitted to them.
A double tree under gse1 and a hierarchical all-reduce under ecmp were among the small cases at first and missed by 19%
and 27%: since then they stand where the model claims to be a bound only.
The first small case, a ring under ecmp whose flows share links by twos, was off by 6.1% once: it was made seven times,
off by 0.3 to 6.1%, before the runs below were. Of a case with several runs the median is shown; all that are
not INVALID count.
Hashing with several flows a hop moved 1 and 2 MiB at first: with 16 flows no mean was inside what paths allow (2x2x2:
0.737 of 0.808 to 0.871, where the paths allowed 0.849), with four one of six was not. The model leaves out how flows
get going, how unevenly they share a link for a while, and TCP's timers, which cost the less the more is moved: the
median run of 4x8x4 with 16 flows made 0.983 of what its paths allow with 8 MiB, 0.993 with 16. Since then arrays grow
with the flows (1, 4 and 16 MiB), at 20 Mbit/s instead of 10 where there are several; smaller ones are slower than the
model says. With 8 MiB and 16 flows 4x2x4 (0.815) and 4x8x4 (0.971) were outside what paths allow, and the four others
inside. Only what paths allow was asked until then, which no TCP can quite reach (0.996 without a collision): what the
model has itself was set beside it afterwards.
4x2x4 with 16 flows has 512 KiB of queue at each port since then: with 256 KiB, less than a frame for each flow of an
uplink, a quarter of its segments was lost, TCP waited for timers, and it measured 0.774 (20 VALID runs) where the paths
allowed 0.830 and 0.824 to 0.872 was expected.
With 16 MiB the runs with 16 flows were made twice. The first time 4x2x4 (0.819: one run of twenty waited for 429
expired TCP timers, 0.883 of what its paths allow) was outside both bands, and 4x8x4 (0.980) outside what paths allow.
"""


def unwritable(path: Path) -> list[Problem]:
    """Return why the tables could not be written, which is to be known before hours of runs; leaves nothing behind."""
    try:
        if path.is_dir():
            return [Problem(UNWRITTEN, str(path), "a folder", "a file's name, e.g. validation.md")]
        if not _is_stream(path):  # whoever reads a pipe is not to see its end yet
            with tempfile.TemporaryFile(dir=path.parent):  # where the page is put together before it is put in place
                pass
    except OSError as error:
        return [_unwritten(path, error)]
    return []


def write_page(path: Path, grids: Iterable[Grid]) -> None:
    """Put the page of these tables in place whole, or leave what is there. Raises ResultsError."""
    text = "\n".join([INTRODUCTION, *map(markdown, grids)])
    try:
        if _is_stream(path):
            path.write_text(text, encoding="utf-8")
        else:
            write_together(path.parent, {path.name: text.encode()})
    except OSError as error:
        raise ResultsError(_unwritten(path, error)) from None


def _is_stream(path: Path) -> bool:
    """Whether it is a pipe or a terminal, in whose place nothing can be put."""
    return path.exists() and not path.is_file()


def _unwritten(path: Path, error: OSError) -> Problem:
    expected = REMEDIES.get(error.errno or 0, "a file in a writable folder")
    return Problem(UNWRITTEN, str(path), error.strerror or str(error), expected)

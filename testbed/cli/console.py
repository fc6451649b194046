"""Rich's console, but a reader that leaves ends the program the way ``testbed.cli.main`` ends it.

Not a command. And nothing that is shown steers the terminal: names, reasons and values of stored results may be a
stranger's. Rich has its colours beside the text, so this is the one place for whatever any table or sentence is made
of.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator

import rich.console
from rich.segment import Segment

from testbed.errors import printable


class Console(rich.console.Console):
    """A terminal, a file or a pipe to write tables to."""

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Return what is to be written, escapes written out; but for rich's own, which move the cursor."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                text = "\n".join(map(printable, segment.text.split("\n")))
                yield Segment(text, segment.style)

    def on_broken_pipe(self) -> None:
        """Raise what rich has caught; rich itself would exit with status 1, as if the work had failed."""
        error = sys.exc_info()[1]
        assert error is not None
        raise error

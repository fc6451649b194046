"""Rich's console, but a reader that leaves ends the program the way ``testbed.cli.main`` ends it."""

from __future__ import annotations

import sys

import rich.console


class Console(rich.console.Console):
    """A terminal, a file or a pipe to write tables to."""

    def on_broken_pipe(self) -> None:
        """Raise what rich has caught; rich itself would exit with status 1, as if the work had failed."""
        error = sys.exc_info()[1]
        assert error is not None
        raise error

"""A journal read event by event; one that ends too early is read up to there, a damaged one is refused."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from testbed.errors import Problem, ResultsError
from testbed.journal import format as journal


class Journal:
    """``where`` names it in messages. ``events`` can be read once. Everything raises ResultsError.

    ``incomplete`` says, once all events are read, why they are not all there were; None: nothing speaks against it.
    """

    def __init__(self, file: BinaryIO, where: str) -> None:
        self._file, self._where = file, where
        self._at = 0  # bytes read
        self.incomplete: str | None = None
        try:
            journal.check_preamble(self._read(journal.PREAMBLE.size))
            body = self._block()
            if body is None:
                raise ValueError(f"its first {self._at} bytes only, without how the core began")
            self.birth = journal.parse_birth(body)
        except ValueError as error:
            expected = f"a journal of a GSP (raw/*.journal, format version {journal.VERSION})"
            raise ResultsError(Problem("no journal that can be replayed", where, str(error), expected)) from None

    def events(self) -> Iterator[journal.Event]:
        """Yield what happened to the core, in order; a last record that is cut is left out."""
        while True:
            began_at = self._at
            try:
                body = self._block()
                if body is None:
                    return
                if self.incomplete is not None:
                    raise ValueError("something behind its end")
                found = journal.parse_events(body)
            except ValueError as error:
                problem = Problem("damaged", f"{self._where}: byte {began_at:,}", str(error), "what was recorded")
                raise ResultsError(problem) from None
            for event in found:
                if isinstance(event, journal.End):
                    self.incomplete = event.why
                else:
                    yield event

    def _block(self) -> bytes | None:
        """Return the next body; None at the end. Raises ValueError when it is damaged."""
        began_at = self._at
        head = self._read(journal.HEAD.size)
        if not head:
            return None
        if len(head) == journal.HEAD.size:
            size = journal.body_bytes(head)
            body = self._read(size)
            if len(body) == size:
                journal.check_body(head, body)
                return body
        self.incomplete = (
            f"its last record, from byte {began_at:,} on, is cut: the GSP was killed, or is still recording"
        )
        return None

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._at += len(data)
        return data

"""Tables of a run as CSV files: appended to while it lasts, read with limits. docs/results-format.md has columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Final, TextIO

from testbed.errors import Problem, ResultsError
from testbed.evaluation.records import Row, RowT, cells_from_row, columns, rows_from_columns
from testbed.files import MAX_TABLE_BYTES, open_input
from testbed.results.checks import FORMAT_VERSION
from testbed.results.disk import os_errors
from testbed.units import MIB

MOST_ROW_CHARACTERS: Final = 10_000  # of a table; the longest column names together are some 250
LINES_PER_ROW: Final = 2  # at most, of all rows together: hardly any name of a thread has a line end in it


def append_rows(folder: Path, rows: Iterable[Row]) -> None:
    """Append rows of one or several tables to their files; a new file begins with its header. Raises ResultsError."""
    by_type: dict[type[Row], list[list[str]]] = {}
    for row in rows:
        by_type.setdefault(type(row), []).append(cells_from_row(row))
    for row_type, lines in by_type.items():
        path = folder / row_type.FILE
        with os_errors("cannot write", path), path.open("a", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            if file.tell() == 0:
                writer.writerow(columns(row_type))
            writer.writerows(lines)


def load_rows(path: Path, row_type: type[RowT], *, version: int = FORMAT_VERSION) -> tuple[RowT, ...]:
    """Read one table of a run; () when the file does not exist. Raises ResultsError naming file and row.

    It has ``row_type.MOST`` rows at most: a file of so many bytes may have ten times as many, and take gigabytes.

    ``version`` is the run's format version: tables of an older one may lack columns that were added since.
    """
    file_path = path / row_type.FILE
    try:
        with io.TextIOWrapper(open_input(file_path, MAX_TABLE_BYTES), encoding="utf-8", newline="") as file:
            _check_lines(file.buffer, row_type.MOST)
            lines = _cells(file)
            header = next(lines, None)
            if header is None:
                return ()
            return tuple(rows_from_columns(row_type, header, lines, older=version < FORMAT_VERSION))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ResultsError(Problem("cannot read a table", str(file_path), reason, "a CSV file")) from None
    except ValueError as error:
        raise ResultsError(Problem("damaged table", str(file_path), str(error), "see docs/results-format.md")) from None


def _check_lines(file: IO[bytes], most_rows: int) -> None:
    """Raise ValueError where a file has far more lines than rows are read of it: before any of them is in memory."""
    lines, most = 0, LINES_PER_ROW * (most_rows + 1)
    while block := file.read(MIB):
        lines += block.count(b"\n")
        if lines > most:
            raise ValueError(f"more than {most_rows:,} rows")
    file.seek(0)


def _cells(file: TextIO) -> Iterator[list[str]]:
    """Yield the cells of each row of a table. Raises ValueError for a row longer than any has, once it is that long."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        while line := file.readline(MOST_ROW_CHARACTERS + 1):
            taken += len(line)  # a name in quotes may have a line end in it: then a row is of several lines
            if taken > MOST_ROW_CHARACTERS:
                raise ValueError(f"a row of more than {MOST_ROW_CHARACTERS:,} characters")
            yield line

    for cells in csv.reader(lines()):
        taken = 0
        yield cells

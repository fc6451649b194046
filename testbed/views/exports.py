"""Tables as text for papers, documents and programs: Markdown, LaTeX (booktabs), CSV. Cells may be a stranger's."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from typing import Final

from testbed.errors import printable
from testbed.views.cells import NOT_MEASURED, Grid

LATEX: Final = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    '"': r"\textquotedbl{}",
    "|": r"\textbar{}",
    "µ": r"\textmu{}",
}
MARKDOWN: Final = {character: f"\\{character}" for character in "\\`*_[]|#~"} | {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
FORMULA: Final = ("=", "+", "-", "@")  # what makes a spreadsheet compute a cell


def markdown(grids: Sequence[Grid]) -> str:
    """Return the tables as GitHub's Markdown, notes in italics below each."""
    return "\n".join(_markdown(grid) for grid in grids)


def _markdown(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(cells)} |"

    headers = [markdown_text(header) for header in grid.headers]
    rules = [":--" if index < grid.labels else "--:" for index in range(len(headers))]
    rows = [[_indented(markdown_text(cell)) for cell in row] for row in grid.rows]
    notes = [f"*{markdown_text(note)}*  " for note in grid.notes]
    title = f"**{markdown_text(grid.title)}**"
    return "\n".join([title, "", line(headers), line(rules), *map(line, rows), "", *notes, ""])


def markdown_text(text: str) -> str:
    """Return text as it is to be read in Markdown: on one line, with nothing in it that is markup or an escape."""
    return _one_line(_escaped(text, MARKDOWN))


def _indented(text: str) -> str:
    """Keep what a leading gap means: a part of the line above."""
    bare = text.lstrip(" ")
    return "&nbsp;" * (len(text) - len(bare)) + bare


def latex(grids: Sequence[Grid]) -> str:
    r"""Return the tables for ``\usepackage[T1]{fontenc}`` and ``\usepackage{booktabs}``, notes below each."""
    return "\n".join(_latex(grid) for grid in grids)


def _latex(grid: Grid) -> str:
    def line(cells: Sequence[str]) -> str:
        return f"{' & '.join(cells)} \\\\"

    headers = [_one_line(_escaped(header, LATEX)) for header in grid.headers]
    spec = "l" * grid.labels + "r" * (len(headers) - grid.labels)
    rows = [line([_latex_cell(cell) for cell in row]) for row in grid.rows]
    notes = [f"\n\\smallskip\\raggedright {_escaped(note, LATEX)}" for note in grid.notes]
    return "\n".join(
        [
            r"\begin{table}",
            rf"\caption{{{_escaped(grid.title, LATEX)}}}",
            r"\centering\footnotesize",
            rf"\begin{{tabular}}{{{spec}}}",
            r"\toprule",
            line(headers),
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            *notes,
            r"\end{table}",
            "",
        ]
    )


def _latex_cell(cell: str) -> str:
    bare = cell.lstrip(" ")
    gap = r"\quad " if bare != cell else ""
    return gap + _one_line(_escaped(bare, LATEX)).replace("..", "--") if bare != NOT_MEASURED else "--"


def csv_text(grids: Sequence[Grid]) -> str:
    """Return the tables as CSV, several with an empty line between; an empty cell is "not measured". No notes."""
    return "\n".join(_csv(grid) for grid in grids)


def _csv(grid: Grid) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([_csv_cell(_one_line(header)) for header in grid.headers])
    writer.writerows([_csv_cell(cell) for cell in row] for row in grid.rows)
    return buffer.getvalue()


def _csv_cell(cell: str) -> str:
    text = printable(cell).strip()
    if text == NOT_MEASURED:
        return ""
    return f"'{text}" if text.startswith(FORMULA) and not _is_number(text) else text


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _one_line(text: str) -> str:
    """Return a header or a cell, which may break lines in terminals, as one."""
    return text.replace("/\n", "/").replace(".\n", ".").replace("\n", " ")


def _escaped(text: str, table: dict[str, str]) -> str:
    lines = text.split("\n")
    return "\n".join("".join(table.get(character, character) for character in printable(line)) for line in lines)


EXPORTS: Final[dict[str, Callable[[Sequence[Grid]], str]]] = {"markdown": markdown, "latex": latex, "csv": csv_text}

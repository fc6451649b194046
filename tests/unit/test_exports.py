"""Tables as Markdown, LaTeX and CSV, whatever is in their cells."""

from __future__ import annotations

import csv
import io
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testbed.views.cells import Grid
from testbed.views.exports import EXPORTS, csv_text, latex, markdown
from testbed.views.fluid import markdown as page_of_the_model

GRID = Grid(
    title="ring_1: 50% & more",
    headers=("", "time\ns", "dropped/\nresent"),
    rows=(("ecmp", "1.5 (1.0..2.0)", "-"), ("  its paths_allow", "-", "0/1")),
    notes=("mean <of> runs",),
)
cells = st.text(st.characters(codec="utf-8"), max_size=12)
grids = st.builds(
    lambda title, headers, rows, notes: Grid(title, headers, tuple(rows), tuple(notes)),
    cells,
    st.tuples(cells, cells),
    st.lists(st.tuples(cells, cells), max_size=3),
    st.lists(cells, max_size=2),
)


def test_markdown_is_a_table_with_words_left_and_numbers_right() -> None:
    lines = markdown([GRID]).splitlines()
    assert lines[0] == r"**ring\_1: 50% &amp; more**"
    assert lines[2:6] == [
        "|  | time s | dropped/resent |",
        "| :-- | --: | --: |",
        "| ecmp | 1.5 (1.0..2.0) | - |",
        r"| &nbsp;&nbsp;its paths\_allow | - | 0/1 |",
    ]
    assert lines[7].strip() == "*mean &lt;of&gt; runs*"


def test_latex_is_booktabs_and_escapes_what_latex_would_read() -> None:
    text = latex([GRID])
    assert r"\caption{ring\_1: 50\% \& more}" in text
    assert r"\begin{tabular}{lrr}" in text
    assert r"\quad its paths\_allow & -- & 0/1 \\" in text
    assert "1.5 (1.0--2.0)" in text
    assert r"mean \textless{}of\textgreater{} runs" in text


def test_csv_has_empty_cells_for_what_was_not_measured_and_no_notes() -> None:
    rows = list(csv.reader(io.StringIO(csv_text([GRID]))))
    assert rows == [["", "time s", "dropped/resent"], ["ecmp", "1.5 (1.0..2.0)", ""], ["its paths_allow", "", "0/1"]]


@pytest.mark.parametrize("cell", ["=1+1", "@SUM(A1)", "+cmd|' /C calc'!A0", "-2+3"])
def test_csv_makes_no_spreadsheet_compute(cell: str) -> None:
    (_header, row) = csv.reader(io.StringIO(csv_text([Grid("t", ("a", "b"), ((cell, "-1.5"),), ())])))
    assert row == [f"'{cell}", "-1.5"]


@pytest.mark.parametrize("name", EXPORTS)
def test_several_tables_have_an_empty_line_between(name: str) -> None:
    one, two = EXPORTS[name]([GRID]), EXPORTS[name]([GRID, GRID])
    assert two == f"{one}\n{one}"


@example(Grid(title="", headers=("", ""), rows=(("", "\n"),), notes=(), labels=1))
@given(grids)
def test_markdown_has_a_line_per_row_whatever_is_in_it(grid: Grid) -> None:
    lines = [line for line in markdown([grid]).splitlines() if line.startswith("| ")]
    assert len(lines) == len(grid.rows) + 2
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
        assert "<" not in line


def test_a_page_of_the_fluid_model_has_no_markup_of_a_stranger() -> None:
    """Names of folders of stored runs are in it."""
    hostile = "x|y `code` <script>z</script> **b** \x1b[2J [a](http://x)\n# heading"
    text = page_of_the_model(Grid(hostile, ("case", "a|b"), ((hostile, "1"),), (hostile,)))
    assert "\x1b" not in text and "<" not in text and "\n#" not in text.removeprefix("##")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == 3
    for line in (rows[0], rows[2]):
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 3
    assert not re.search(r"(?<!\\)[`*\[\]]", text)


def test_titles_and_notes_in_markdown_stay_on_their_line() -> None:
    text = markdown([Grid("a\n# b", ("x",), (), ("c\n| d |",))])
    assert not re.search(r"^(#|\|) [bd]", text, re.MULTILINE)


@given(grids)
def test_latex_is_balanced_and_has_no_command_of_a_stranger(grid: Grid) -> None:
    text = latex([grid])
    ours = r"begin|end|caption|centering|footnotesize|toprule|midrule|bottomrule|quad|smallskip|raggedright|text[a-z]+"
    for command in re.findall(r"\\([A-Za-z]+)", text):
        assert re.match(f"(?:{ours})", command), command
    bare = re.sub(r"\\[\\{}$&#%_]", "", text)
    assert bare.count("{") == bare.count("}")
    assert not re.search(r"[$#%^~]", bare)


@given(grids)
def test_csv_can_be_read_back_row_by_row(grid: Grid) -> None:
    rows = list(csv.reader(io.StringIO(csv_text([grid])), strict=True))
    assert len(rows) == len(grid.rows) + 1
    assert {len(row) for row in rows} == {2}

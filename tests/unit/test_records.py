"""Rows as text and back: every value as it was, columns by name, and what comes again kept once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.evaluation.records import (
    IterationRow,
    LinkRow,
    RankRow,
    Row,
    cells_from_row,
    columns,
    rows_from_columns,
)
from testbed.results.checks import FORMAT_VERSION
from tests.unit.synthetic_runs import ITERATION


@given(
    st.builds(
        RankRow,
        iteration=st.integers(-5, 10**6),
        warmup=st.booleans(),
        rank=st.integers(0, 10**4),
        host=st.from_regex(r"h[0-9]{1,4}", fullmatch=True),
        start_s=st.integers(0, 10**13).map(lambda ns: round(ns / 1e9, 9)),
        end_s=st.integers(0, 10**13).map(lambda ns: round(ns / 1e9, 9)),
        wrong_elements=st.integers(0, 2**40),
        max_gap_s=st.none() | st.integers(0, 10**10).map(lambda ns: round(ns / 1e9, 9)),
        max_gap_at_s=st.none() | st.just(0.5),
        start_lateness_s=st.none() | st.just(1e-9),
    )
)
def test_every_row_survives_the_way_through_text(row: RankRow) -> None:
    assert rows_from_columns(RankRow, columns(RankRow), [cells_from_row(row)]) == [row]


def test_columns_may_stand_in_another_order() -> None:
    header = tuple(reversed(columns(IterationRow)))
    assert rows_from_columns(IterationRow, header, [list(reversed(cells_from_row(ITERATION)))]) == [ITERATION]


def test_an_older_table_lacks_what_nobody_measured_then() -> None:
    row = RankRow(
        iteration=1, warmup=False, rank=0, host="h1", start_s=1.0, end_s=2.0, wrong_elements=0, max_gap_s=None,
        max_gap_at_s=None, start_lateness_s=0.001,
    )  # fmt: skip
    header, cells = columns(RankRow)[:-1], cells_from_row(row)[:-1]
    assert rows_from_columns(RankRow, header, [cells], older=True) == [replace(row, start_lateness_s=None)]
    for wrong in (header[1:], (*header, "rank"), (*header, "colour")):
        with pytest.raises(ValueError, match="columns are"):
            rows_from_columns(RankRow, wrong, [], older=True)
    with pytest.raises(ValueError, match="columns are"):
        rows_from_columns(RankRow, header, [cells])


def test_what_comes_again_is_in_memory_once() -> None:
    cells = [[f"{n // 48}.123456", f"l1-eth{n % 48}", *["123456"] * 6] for n in range(48 * 60)]
    rows = rows_from_columns(LinkRow, columns(LinkRow), cells)
    assert [(row.t_s, row.intf) for row in rows] == [(float(line[0]), line[1]) for line in cells]
    for name in ("t_s", "intf", "tx_bytes"):
        assert len({id(getattr(row, name)) for row in rows}) == len({getattr(row, name) for row in rows}), name
    distinct = [["0.5", "l1-eth1", str(number), *["0"] * 5] for number in range(1000, 9000)]
    assert [row.tx_bytes for row in rows_from_columns(LinkRow, columns(LinkRow), distinct)] == list(range(1000, 9000))


def test_what_comes_once_is_not_kept_to_be_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("testbed.evaluation.records.SHARED_TEXTS", 4)
    cells = [["0.5", "l1-eth1", str(number), *["0"] * 5] for number in (1000, 1000, *range(1001, 1009), 1000)]
    rows = rows_from_columns(LinkRow, columns(LinkRow), cells)
    assert rows[1].tx_bytes is rows[0].tx_bytes
    assert rows[-1].tx_bytes == 1000 and rows[-1].tx_bytes is not rows[0].tx_bytes, "forgotten meanwhile"


def test_every_file_and_column_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "results-format.md").read_text()
    sections = {part.splitlines()[0]: part for part in text.split("\n### ")[1:]}
    for row_type in Row.__subclasses__():
        section = sections[row_type.FILE]
        missing = [name for name in columns(row_type) if f"`{name}`" not in section]
        assert not missing, f"docs/results-format.md, {row_type.FILE}"
    assert f"format version {FORMAT_VERSION}" in text.splitlines()[0]

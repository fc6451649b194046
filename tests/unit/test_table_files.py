"""Tables on disk: what was appended comes back, and what is damaged or without end is refused while it is small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from annotated_types import Le
from pydantic import BaseModel

from testbed.errors import ResultsError
from testbed.evaluation.records import (
    CalibrationRow,
    FlowRow,
    IterationRow,
    LinkRow,
    ReplayRow,
    ThreadRow,
    cells_from_row,
    columns,
)
from testbed.model.cross_spec import ReplaySpec
from testbed.model.estimate import run_duration_s
from testbed.model.fabric_spec import MAX_HOSTS, MAX_LINKS, FabricSpec
from testbed.model.scenario import MAX_PEER_FLOWS
from testbed.model.topology import Topology
from testbed.model.workload_spec import WorkloadSpec
from testbed.results.table_files import append_rows, load_rows
from testbed.runs.scenario_files import builtin_names, load_builtin
from tests.unit.synthetic_runs import ITERATION

HEADER, LINE = ",".join(columns(IterationRow)), "0,0,64,1.0,1.25,0.25,0"


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    second = replace(ITERATION, iteration=1, warmup=True)
    append_rows(tmp_path, [ITERATION])
    append_rows(tmp_path, [second])
    assert load_rows(tmp_path, IterationRow) == (ITERATION, second)
    assert (tmp_path / "iterations.csv").read_text().splitlines() == [
        "iteration,warmup,size_bytes,start_s,end_s,completion_s,wrong_elements",
        "0,0,64,1.0,1.25,0.25,0",
        "1,1,64,1.0,1.25,0.25,0",
    ]


def test_what_was_not_measured_is_an_empty_cell_not_zero(tmp_path: Path) -> None:
    row = FlowRow(
        rank=0,
        flow=0,
        src_host="h1",
        dst_host="h2",
        src_ip="10.0.1.1",
        dst_ip="10.0.2.1",
        src_port=1,
        dst_port=2,
        path=None,
        retransmitted_segments=None,
        out_of_order_packets=0,
        bytes_acked=None,
        bytes_received=5,
    )
    assert cells_from_row(row)[-9:] == ["", "", "0", "", "5", *[""] * 4]
    append_rows(tmp_path, [row])
    assert load_rows(tmp_path, FlowRow) == (row,)


def test_a_table_without_a_file_has_no_rows(tmp_path: Path) -> None:
    assert load_rows(tmp_path, LinkRow) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("iteration,warmup\n0,0\n", "columns are iteration,warmup, expected iteration,warmup,size_bytes"),
        ("{header}\n0,0,64,1.0,1.25\n", "row 1 has 5 cells, expected 7"),
        ("{header}\n0,0,64,1.0,1.25,0.25,0\n0,0,64,1.0,1.2", "row 2 has 5 cells"),
        ("{header}\n0,2,64,1.0,1.25,0.25,0\n", "row 1, column warmup: '2' is neither 0 nor 1"),
        ("{header}\n0,0,big,1.0,1.25,0.25,0\n", "column size_bytes"),
        ("{header}\n0,0,64,nan,1.25,0.25,0\n", "column start_s: 'nan' is not a finite number"),
        ("{header}\n0,0,64,,1.25,0.25,0\n", "column start_s"),
        ("\x00\x00{header}", "iterations.csv"),
    ],
)
def test_damaged_tables_are_refused_with_file_row_and_column(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "iterations.csv").write_text(text.replace("{header}", ",".join(columns(IterationRow))))
    with pytest.raises(ResultsError) as caught:
        load_rows(tmp_path, IterationRow)
    assert said in str(caught.value)
    assert str(tmp_path / "iterations.csv") in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_table_of_more_rows_than_a_run_can_make_is_refused_before_any_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(IterationRow, "MOST", 3)
    path = tmp_path / "iterations.csv"
    path.write_text("\n".join([HEADER, *[LINE] * 3]))
    assert len(load_rows(tmp_path, IterationRow)) == 3
    path.write_text("\n".join([HEADER, *[LINE] * 4]))
    with pytest.raises(ResultsError, match=r"iterations.csv: damaged table; got more than 3 rows, expected see docs"):
        load_rows(tmp_path, IterationRow)
    path.write_text("\r".join([HEADER, *[LINE] * 50]))  # lines that are counted as they are read
    with pytest.raises(ResultsError, match="got more than 3 rows"):
        load_rows(tmp_path, IterationRow)
    monkeypatch.setattr(
        "testbed.results.table_files.rows_from_columns", lambda *_args, **_options: pytest.fail("was read")
    )
    path.write_text("\n".join([HEADER, *[LINE] * 50]))
    with pytest.raises(ResultsError, match="got more than 3 rows"):
        load_rows(tmp_path, IterationRow)


def test_no_scenario_can_ask_for_more_rows_than_are_read() -> None:
    def most(spec: type[BaseModel], field: str) -> int:
        (found,) = [limit.le for limit in spec.model_fields[field].metadata if isinstance(limit, Le)]
        assert isinstance(found, int)
        return found

    assert most(WorkloadSpec, "iterations") + most(WorkloadSpec, "warmup_iterations") == IterationRow.MOST
    assert most(ReplaySpec, "most_frames") == ReplayRow.MOST
    assert 2 * (MAX_LINKS + MAX_HOSTS) == CalibrationRow.MOST
    assert MAX_HOSTS * MAX_PEER_FLOWS == FlowRow.MOST
    scenarios = [load_builtin(name) for name in builtin_names()]
    shortest_s = min(one.measure.sample_interval_s for one in scenarios)
    switches = [one for one in Topology(FabricSpec()).directions if one.kind != "host_tx"]
    assert len(switches) * 3600 / shortest_s < LinkRow.MOST, "an hour of the default fabric"
    assert max(run_duration_s(one, one.schemes[0]) for one in scenarios) < 3600


@pytest.mark.parametrize(
    "row",
    [",".join("0" * 6000), '"' + "x\n" * 6000 + '"', ",".join(['"x\n"'] * 6000)],
    ids=["cells", "a cell of many lines", "cells of many lines"],
)
def test_a_row_without_end_is_refused_while_it_is_short(tmp_path: Path, row: str) -> None:
    (tmp_path / "iterations.csv").write_text(f"{HEADER}\n{LINE}\n{row}\n")
    with pytest.raises(ResultsError, match="got a row of more than 10,000 characters"):
        load_rows(tmp_path, IterationRow)


def test_a_name_may_have_a_line_end_in_it(tmp_path: Path) -> None:
    row = ThreadRow(t_s=1.0, pid=1, tid=2, role="other", name="a\nb,c", run_s=0.0, wait_s=0.0)
    append_rows(tmp_path, [row])
    assert load_rows(tmp_path, ThreadRow) == (row,)

"""Sums over records are sums over records, however they are grouped; and the command shows them."""

from __future__ import annotations

import json
import time
import weakref
from pathlib import Path
from typing import Any, get_args

import pytest
from gse_command import Gse, assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_files import OURS, file_id, trace_files

from testbed.cli import workload
from testbed.collectives.operation import OPERATIONS
from testbed.traces.files import load
from testbed.traces.totals import By, communications, computing, computing_by_stage, group_sizes, sums, total
from testbed.traces.trace import Kind, Record, Trace
from testbed.views import traces as views
from testbed.views.traces import MOST_ROWS, operation_grid, stage_grid, trace_json

times = st.none() | st.floats(0, 1000)
records = st.builds(
    Record,
    place=st.integers(1, 100),
    kind=st.sampled_from(get_args(Kind)),
    operation=st.sampled_from(OPERATIONS),
    group=st.none() | st.sampled_from(["dp", "tp", "pg 1"]),
    group_size=st.none() | st.integers(1, 100),
    size_bytes=st.none() | st.integers(0, 2**60),
    stage=st.none() | st.sampled_from(["forward", "backward"]),
    compute_s=times,
    measured_s=times,
    rank=st.none() | st.sampled_from(["a", "b"]),
)


def trace_of(records: list[Record]) -> Trace:
    return Trace(
        source="x", format="aicb", places="line", records=tuple(records), unknown=(), n_unknown=0, known=(), n_ranks=8
    )


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@settings(deadline=None)
@given(st.lists(records, max_size=30), st.lists(st.sampled_from(get_args(By)), unique=True))
def test_sums_add_up_to_the_records(found: list[Record], by: list[By]) -> None:
    trace = trace_of(found)
    communicated = communications(trace)
    totals = sums(found, by)
    assert sum(one.count for one in totals) == len(communicated)
    assert sum(one.size_bytes for one in totals) == sum(record.size_bytes or 0 for record in communicated)
    assert sum(one.n_unsized for one in totals) == sum(record.size_bytes is None for record in communicated)
    measured = [record.measured_s for record in communicated if record.measured_s is not None]
    assert sum(one.measured_s or 0 for one in totals) == pytest.approx(sum(measured))
    assert all(one.measured_s is not None for one in totals) or len(measured) < len(communicated)
    assert sum(one.n_unmeasured for one in totals) == len(communicated) - len(measured)
    whole = total(totals)
    assert (whole.count, whole.size_bytes) == (len(communicated), sum(one.size_bytes for one in totals))
    assert (whole.n_unsized, whole.n_unmeasured) == (
        sum(one.n_unsized for one in totals),
        len(communicated) - len(measured),
    )
    assert (whole.measured_s is None) == (not measured)
    assert len({one.key for one in totals}) == len(totals)
    assert [one.size_bytes for one in totals] == sorted((one.size_bytes for one in totals), reverse=True)


@settings(deadline=None)
@given(st.lists(records, max_size=30))
def test_computing_of_stages_adds_up_and_the_host_is_not_in_it(found: list[Record]) -> None:
    trace = trace_of(found)
    whole, stages = computing(trace), computing_by_stage(trace)
    times = [r.compute_s for r in found if r.kind in ("compute", "communicate") and r.compute_s is not None]
    assert (whole.compute_s is None) == (not times)
    assert whole.compute_s is None or whole.compute_s == pytest.approx(sum(times))
    assert sum(one.compute_s or 0 for one in stages) == pytest.approx(sum(times))
    assert sum(one.count for one in stages) == whole.count
    assert whole.count - whole.n_untimed == len(times)


@settings(deadline=None)
@given(st.lists(records, max_size=30))
def test_json_has_the_same_sums(found: list[Record]) -> None:
    document = trace_json(trace_of(found))
    assert sum(one["size_bytes"] for one in document["operations"]) == sum(
        record.size_bytes or 0 for record in found if record.kind == "communicate"
    )
    assert json.loads(json.dumps(document)) == document


def test_group_sizes_are_the_headers_and_the_records() -> None:
    assert group_sizes(load(OURS / "aicb-workload.csv")) == {"all": (8,), "dp": (4,), "pp": (1,), "tp": (2,)}
    assert group_sizes(load(OURS / "simai.txt"))["dp_ep"] == (2,)


# --- gse workload inspect -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", trace_files(), ids=file_id)
def test_inspect_shows_every_trace(gse: Gse, path: Path) -> None:
    answer = gse("workload", "inspect", str(path))
    assert (answer.status, answer.err) == (0, "")
    trace = load(path)
    for record in communications(trace)[:5]:
        assert str(record.operation) in answer.out
    assert ("unknown: nothing" in answer.out) == (trace.n_unknown == 0)
    assert sum(one.size_bytes for one in sums(trace.records, ())) == sum(
        entry["size_bytes"]
        for entry in json.loads(gse("workload", "inspect", str(path), "--json").out)[0]["operations"]
    )


def test_inspect_lists_totals_and_what_is_unknown_with_its_line(gse: Gse) -> None:
    out = gse("workload", "inspect", str(OURS / "aicb-workload.csv")).out
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "reduce_scatter dp 4 1 65,536 54.2% -" in lines  # 65536 / 120880
    assert "all 8 120,880 100.0% -" in lines
    assert "8 ranks; groups of all 8, dp 4, pp 1, tp 2" in out
    assert "computing: 0.0015 s in 1 records; 1 more do not say how long" in out
    assert "iterations end at 2 marks; sums are over all of them" in " ".join(out.split())
    assert json.loads(gse("workload", "inspect", str(OURS / "aicb-workload.csv"), "--json").out)[0]["marks"] == 2
    assert "marks" not in gse("workload", "inspect", str(OURS / "simai.txt")).out
    assert "unknown: 1" in lines
    assert "line 12: no operation we know: CommType.scan,CommGroup.dp_group,4,64" in " ".join(out.split())


def test_inspect_says_when_sums_are_over_several_ranks(gse: Gse) -> None:
    assert "2 ranks have records of their own here" in gse("workload", "inspect", str(OURS / "nccl.log")).out


def test_inspect_takes_several_files_and_shows_those_that_can_be_read(gse: Gse, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("nothing\n")
    good = str(OURS / "param.json")
    answer = gse("workload", "inspect", good, str(bad), good, "--json")
    assert answer.status == 2
    assert [entry["format"] for entry in json.loads(answer.out)] == ["param", "param"]
    assert f"gse: {bad}: is no trace we know" in answer.err
    assert "param.json: param" in gse("workload", "inspect", good, str(bad)).out


def test_inspect_prints_json_as_one_document_also_of_nothing(gse: Gse, tmp_path: Path) -> None:
    paths = [str(path) for path in trace_files()]
    out = gse("workload", "inspect", *paths, "--json").out
    assert out == json.dumps(json.loads(out), indent=2) + "\n"
    assert json.loads(out) == json.loads(json.dumps([trace_json(load(Path(path))) for path in paths]))
    answer = gse("workload", "inspect", str(tmp_path / "none"), "--json")
    assert (answer.status, answer.out) == (2, "[]\n")


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_inspect_has_one_trace_at_a_time(gse: Gse, monkeypatch: pytest.MonkeyPatch, option: list[str]) -> None:
    alive: list[weakref.ref[Held]] = []

    def loaded(path: Path, _format: object) -> Held:
        assert not any(one() for one in alive), "an earlier trace is still there"
        held = Held(trace_of([a_record()]))
        alive.append(weakref.ref(held))
        return held

    monkeypatch.setattr(workload, "load", loaded)
    assert gse("workload", "inspect", "a", "b", "c", *option).status == 0
    assert len(alive) == 3


class Held:
    """A trace that can be referred to weakly."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def __getattr__(self, name: str) -> object:
        return getattr(self._trace, name)


def a_record(**values: Any) -> Record:
    return Record(**{"place": 1, "kind": "communicate", "operation": "allreduce", "size_bytes": 8, **values})


def test_sums_of_times_say_of_how_many_they_have_none() -> None:
    timed = [a_record(stage="a", measured_s=0.5, compute_s=0.25), a_record(stage="a"), a_record(stage="a")]
    trace = trace_of([*timed, Record(place=1, kind="compute", stage="a")])
    assert [row[-1] for row in operation_grid(trace).rows] == ["0.5 + 2 unmeasured"] * 2
    assert [row[-2:] for row in stage_grid(trace).rows] == [("0.5 + 2 unmeasured", "0.25 + 1 untimed")]
    document = trace_json(trace)
    assert [(one["measured_s"], one["unmeasured"]) for one in document["operations"]] == [(0.5, 2)]
    assert document["computing"]["by_stage"] == [{"stage": "a", "compute_s": 0.25, "records": 2, "untimed": 1}]
    assert document["computing"]["compute_s"] == 0.25
    unmeasured = trace_of([a_record(stage="a"), Record(place=1, kind="compute", stage="a")])
    assert stage_grid(unmeasured).rows[0][-2:] == ("-", "-")


def test_long_names_are_cut_in_tables_and_marked_and_whole_in_json() -> None:
    long = "n" * 60_000
    escapes = "\x1b" * 100
    silent = Record(place=1, kind="compute", stage=escapes, compute_s=1)
    trace = trace_of([a_record(group=long, stage=long, group_size=2), silent])
    shown = "n" * views.MOST_CHARACTERS + "..."
    assert operation_grid(trace).rows[0][1] == shown
    assert stage_grid(trace).rows[0][0] == shown
    assert len(stage_grid(trace).rows[1][0]) == len(shown)
    assert all(len(note) < 500 for grid in (operation_grid(trace), stage_grid(trace)) for note in grid.notes)
    assert (trace_json(trace)["operations"][0]["group"], trace_json(trace)["operations"][0]["stage"]) == (long, long)


def test_many_sizes_and_groups_are_counted_where_they_are_not_shown() -> None:
    trace = trace_of([a_record(group="g", group_size=size) for size in range(1, 100)])
    assert operation_grid(trace).rows[0][2].endswith("7, 8, ... 91 more")
    trace = trace_of([a_record(group=f"g{number:03}", group_size=2) for number in range(100)])
    assert "g039 2, ... 60 more" in " ".join(operation_grid(trace).notes)


def test_json_says_how_many_groups_it_leaves_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(views, "MOST_IN_JSON", 3)
    monkeypatch.setattr(views, "MOST_ROWS", 2)
    found = [
        a_record(group=f"g{number}", group_size=2, stage=f"s{number}", rank=f"r{number}", compute_s=1)
        for number in range(5)
    ]
    document = trace_json(trace_of(found))
    assert [len(document[name]) for name in ("operations", "group_sizes", "ranks_in_file")] == [3, 3, 3]
    assert len(document["computing"]["by_stage"]) == 3
    assert document["left_out"] == {"operations": 2, "group_sizes": 2, "ranks_in_file": 2, "by_stage": 2, "unknown": 0}
    assert (document["all_operations"]["count"], document["all_operations"]["size_bytes"]) == (5, 40)
    assert "--json has more, but at most 3" in " ".join(operation_grid(trace_of(found)).notes)


def test_tables_of_very_many_groups_take_no_time() -> None:
    found = [a_record(group=f"g{number}", stage=f"s{number}", compute_s=1) for number in range(5000)]
    found += [Record(place=1, kind="compute", stage=f"c{number}", compute_s=1) for number in range(5000)]
    trace = trace_of(found)
    began_s = time.process_time()
    grids = (operation_grid(trace), stage_grid(trace))
    assert time.process_time() - began_s < 1  # of CPU: squares of these numbers take ten times that
    assert [len(grid.rows) for grid in grids] == [MOST_ROWS + 1, MOST_ROWS]
    assert "... and 9,960 lines more: --json has them" in grids[1].notes


def test_inspect_refuses_what_it_cannot_read(gse: Gse, tmp_path: Path) -> None:
    assert_refused(gse("workload", "inspect", str(tmp_path / "none")), "none: cannot be read; got No such file")
    assert_refused(gse("workload", "inspect", str(OURS / "param.json"), "--format", "aicb"), "no record of format aicb")
    assert gse("workload", "inspect", "x", "--format", "what").status == 2
    assert gse("workload").status == 2


def test_inspect_shortens_long_tables_and_steers_no_terminal(gse: Gse, tmp_path: Path) -> None:
    header = (OURS / "aicb-log.csv").read_text().splitlines()[0]
    rows = [f"CommType.all_reduce,CommGroup.g\x1b[31m{n}_group,4,8,s{n},,,,,,,1" for n in range(MOST_ROWS + 5)]
    path = tmp_path / "many.csv"
    path.write_text("\n".join([header, *rows, "odd \x1b[2J line"]))
    answer = gse("workload", "inspect", str(path))
    assert answer.status == 0
    assert "\x1b" not in answer.out
    assert "... and 5 lines more" in answer.out

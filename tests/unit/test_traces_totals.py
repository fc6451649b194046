"""Sums over records are sums over records, however they are grouped; and the command shows them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from gse_command import Gse, assert_refused
from hypothesis import given, settings
from hypothesis import strategies as st
from trace_files import OURS, file_id, trace_files

from testbed.traces.files import load
from testbed.traces.totals import By, communications, computing, computing_by_stage, group_sizes, sums
from testbed.traces.trace import OPERATIONS, Kind, Record, Trace
from testbed.views.traces import MOST_ROWS, trace_json

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
    assert len({one.key for one in totals}) == len(totals)
    assert [one.size_bytes for one in totals] == sorted((one.size_bytes for one in totals), reverse=True)


@settings(deadline=None)
@given(st.lists(records, max_size=30))
def test_computing_of_stages_adds_up_and_the_host_is_not_in_it(found: list[Record]) -> None:
    trace = trace_of(found)
    whole, stages = computing(trace), computing_by_stage(trace)
    times = [r.compute_s for r in found if r.kind in ("compute", "communicate") and r.compute_s is not None]
    assert (whole.seconds is None) == (not times)
    assert whole.seconds is None or whole.seconds == pytest.approx(sum(times))
    assert sum(one.seconds or 0 for one in stages) == pytest.approx(sum(times))
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

"""Run directories: created once, complete or clearly not, and never misread."""

from __future__ import annotations

import csv
import errno
import json
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from annotated_types import Le
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from testbed.errors import MOST_NAMED, Problem, ResultsError, first_problems
from testbed.evaluation.records import (
    CalibrationRow,
    FlowRow,
    IterationRow,
    LinkRow,
    RankRow,
    ReplayRow,
    Row,
    ThreadRow,
    cells_from_row,
    columns,
    rows_from_columns,
)
from testbed.model.cross_spec import ReplaySpec
from testbed.model.estimate import run_duration_s
from testbed.model.fabric_spec import MAX_HOSTS, MAX_LINKS, FabricSpec
from testbed.model.scenario import MAX_PEER_FLOWS
from testbed.model.topology import Topology
from testbed.model.workload_spec import WorkloadSpec
from testbed.results.store import (
    FORMAT_VERSION,
    RunDirectory,
    json_text,
    list_runs,
    load,
    load_rows,
    read_json,
    write_json,
)
from testbed.results.summary import summarise
from testbed.runs.scenario_files import builtin_names, load_builtin
from tests.unit.synthetic_runs import healthy, scenario_of, store, with_rows

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
ITERATION = IterationRow(
    iteration=0, warmup=False, size_bytes=64, start_s=1.0, end_s=1.25, completion_s=0.25, wrong_elements=0
)


def create(results_dir: Path, seed: int = 1) -> RunDirectory:
    return RunDirectory.create(
        results_dir, scenario="ring", scheme="ecmp", seed=seed, commit="abcdef0123456", now_utc=NOW
    )


def test_run_id_says_when_what_and_from_which_code(tmp_path: Path) -> None:
    directory = create(tmp_path, seed=7)
    assert directory.run_id == "20260102T030405Z-ecmp-seed7-abcdef0"
    assert directory.path == tmp_path / "ring" / "20260102T030405Z-ecmp-seed7-abcdef0.partial"
    assert directory.raw.is_dir()


def test_run_outside_git_says_so(tmp_path: Path) -> None:
    directory = RunDirectory.create(tmp_path, scenario="ring", scheme="gse1", seed=1, commit=None, now_utc=NOW)
    assert directory.run_id.endswith("-seed1-nogit")


def test_runs_of_the_same_second_get_names_of_their_own_in_every_state(tmp_path: Path) -> None:
    first = create(tmp_path).finish()
    second = create(tmp_path).fail("no luck")
    third = create(tmp_path).path
    base = "20260102T030405Z-ecmp-seed1-abcdef0"
    assert [path.name for path in (first, second, third)] == [base, f"{base}-2.failed", f"{base}-3.partial"]


def test_concurrent_runs_never_share_a_directory(tmp_path: Path) -> None:
    paths, barrier = [], threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        paths.extend(create(tmp_path).finish() for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(paths)) == 40
    assert len(list((tmp_path / "ring").iterdir())) == 40


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    directory = create(tmp_path)
    second = replace(ITERATION, iteration=1, warmup=True)
    directory.append([ITERATION])
    directory.append([second])
    assert load_rows(directory.path, IterationRow) == (ITERATION, second)
    assert (directory.path / "iterations.csv").read_text().splitlines() == [
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
    assert cells_from_row(row)[-8:] == ["", "", "0", "", "5", "", "", ""]
    directory = create(tmp_path)
    directory.append([row])
    assert load_rows(directory.path, FlowRow) == (row,)


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


def as_version_1(path: Path, without: tuple[str, ...]) -> Path:
    """Make a stored run one of format version 1 whose flows.csv lacks columns."""
    for name in ("manifest.json", "summary.json"):
        value = json.loads((path / name).read_text())
        (path / name).write_text(json.dumps({**value, "format_version": 1}))
    with (path / "flows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (path / "flows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name not in without], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


LATER = ("busy_us", "rwnd_limited_us", "sndbuf_limited_us")


@pytest.mark.parametrize("without", [(), LATER], ids=["with", "without"])
def test_run_of_version_1_is_read_with_and_without_later_columns(tmp_path: Path, without: tuple[str, ...]) -> None:
    record = healthy(scenario_of())
    record = with_rows(record, flows=[replace(row, busy_us=5) for row in record.tables.flows])
    run = load(as_version_1(store(tmp_path, record), without))
    assert {row.busy_us for row in run.tables.flows} == {None if without else 5}
    assert json.loads(json.dumps(summarise(run))) == run.summary, "made again it is still of the version of the run"


def test_run_of_version_2_has_every_column(tmp_path: Path) -> None:
    path = as_version_1(store(tmp_path, healthy(scenario_of())), LATER)
    for name in ("manifest.json", "summary.json"):
        (path / name).write_text((path / name).read_text().replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(ResultsError, match=r"flows.csv: damaged table; got columns are .*,bytes_received, expected"):
        assert load(path).tables


def test_reference_runs_are_read() -> None:
    found = sorted(path.parent for path in REFERENCE.rglob("manifest.json"))
    assert found
    for path in found:
        run = load(path)
        assert run.rows(FlowRow) and run.rows(IterationRow), path


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


HEADER, LINE = ",".join(columns(IterationRow)), "0,0,64,1.0,1.25,0.25,0"


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
    monkeypatch.setattr("testbed.results.store.rows_from_columns", lambda *_args, **_options: pytest.fail("was read"))
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
    directory = create(tmp_path)
    row = ThreadRow(t_s=1.0, pid=1, tid=2, role="other", name="a\nb,c", run_s=0.0, wait_s=0.0)
    directory.append([row])
    assert load_rows(directory.path, ThreadRow) == (row,)


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


def test_of_many_problems_the_first_are_named_and_the_others_counted(tmp_path: Path) -> None:
    run = load(store(tmp_path, healthy(scenario_of())))
    (run.path / "iterations.csv").write_text("\n".join([HEADER, *["0,0,64,2.0,1.25,0.25,0"] * 1020]))
    with pytest.raises(ResultsError) as caught:
        run.rows(IterationRow)
    assert len(caught.value.problems) == 21
    first, *_others, last = str(caught.value).splitlines()
    assert "iterations.csv: row 1, column end_s: not possible here" in first
    assert last.endswith("iterations.csv: more than is named here; got 1,000 more problems, expected none")
    manifest = json.loads((run.path / "manifest.json").read_text())
    (run.path / "manifest.json").write_text(json.dumps({**manifest, "events": [7] * 50}))
    with pytest.raises(ResultsError) as caught:
        load(run.path)
    assert len(caught.value.problems) == 21
    assert str(caught.value).endswith("manifest.json: more than is named here; got 30 more problems, expected none")


def test_problems_beyond_the_first_are_not_kept() -> None:
    alive: set[int] = set()

    class Noted(Problem):
        def __del__(self) -> None:
            alive.discard(id(self))

    def found(most: int) -> Iterator[Problem]:
        for number in range(most):
            problem = Noted("wrong", f"row {number}", "x", "y")
            alive.add(id(problem))
            assert len(alive) <= MOST_NAMED + 2
            yield problem

    rows = [f"row {number}" for number in range(MOST_NAMED)]
    assert [problem.where for problem in first_problems(found(500), "a table")] == [*rows, "a table"]
    assert [problem.where for problem in first_problems(found(MOST_NAMED), "a table")] == rows
    assert first_problems([], "a table") == []


def test_a_table_without_a_file_has_no_rows(tmp_path: Path) -> None:
    assert load_rows(tmp_path, LinkRow) == ()


def test_stored_run_loads_as_it_was(tmp_path: Path) -> None:
    record = healthy(scenario_of())
    run = load(store(tmp_path, record))
    assert run.tables.iterations[1].completion_s == pytest.approx(record.tables.iterations[1].completion_s, abs=1e-9)
    assert (run.scheme, run.seed, run.scenario) == ("gse1", 1, record.scenario)
    assert [len(getattr(run.tables, name)) for name in ("links", "queues", "probes", "threads")] == [
        len(getattr(record.tables, name)) for name in ("links", "queues", "probes", "threads")
    ]
    assert run.summary is not None
    assert run.summary["run_dir"] == str(run.path)


def test_listing_counts_what_is_not_finished(tmp_path: Path) -> None:
    finished = store(tmp_path, healthy(scenario_of()))
    parent = finished.parent
    (parent / "x.partial").mkdir()
    (parent / "y.failed").mkdir()
    (parent / "z.failed").mkdir()
    (parent / "figures").mkdir()
    listing = list_runs(tmp_path, "synthetic")
    assert (listing.finished, listing.partial, listing.failed) == ((finished,), 1, 2)
    assert list_runs(tmp_path, "never_run") == type(listing)((), 0, 0)


def test_failed_run_keeps_everything_and_the_reason(tmp_path: Path) -> None:
    directory = create(tmp_path)
    directory.append([ITERATION])
    directory.write_json("manifest.json", {"format_version": 1, "status": "running"})
    path = directory.fail("rank 3 on h4 died: SIGKILL\n")
    assert path.name.endswith(".failed")
    assert (path / "error.txt").read_text() == "rank 3 on h4 died: SIGKILL\n"
    assert json.loads((path / "manifest.json").read_text())["status"] == "failed"
    assert load_rows(path, IterationRow) == (ITERATION,)
    assert not directory.path.exists()


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ("", "damaged JSON"),
        ("[1]", "expected a JSON object"),
        ("[" * 100_000, "damaged JSON"),
        ('{"format_version": 3}', "got 3, expected 1 or 2"),
        ('{"format_version": 0}', "got 0, expected 1 or 2"),
        ('{"format_version": true}', "got True, expected 1 or 2"),
        ('{"format_version": "2"}', "got '2', expected 1 or 2"),
        ("{}", "got None, expected 1 or 2"),
        (
            '{"format_version": 1, "run_id": "x", "scheme": 3}',
            "scheme: missing or of a wrong type; got 3, expected str",
        ),
    ],
)
def test_manifest_of_a_stranger_is_refused(tmp_path: Path, manifest: str, said: str) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    with pytest.raises(ResultsError) as caught:
        load(tmp_path)
    assert said in str(caught.value)


def test_event_nobody_reads_may_hold_anything(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["events"] += [{"event": "finished"}, {"event": "phase", "t_s": 1.0, "phase": "warm-up"}]
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert load(path).record.events_named("finished") == ({"event": "finished"},)


@pytest.mark.parametrize(
    "event",
    [
        "fault",
        {"t_s": 1.0},
        {"event": "fault", "action": "fail", "target": "s1"},
        {"event": "fault", "t_s": "soon", "action": "fail", "target": "s1"},
        {"event": "fault", "t_s": 1.0, "action": "fail"},
        {"event": "process_died", "t_s": 1.0},
        {"event": "path_changes", "t_s": 9.0, "gsps": ["l1", "l2"]},
    ],
)
def test_events_of_a_stranger_are_refused(tmp_path: Path, event: object) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["events"].append(event)
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ResultsError, match=r"events\.1: not an event"):
        load(path)


def test_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ResultsError, match="cannot read"):
        load(tmp_path)


def test_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="No such file"):
        load(tmp_path / "nothing")


def test_scenario_that_is_not_valid_any_more_is_refused_when_asked_for(tmp_path: Path) -> None:
    path = store(tmp_path, healthy(scenario_of()))
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["scenario"]["fabric"]["spines"] = 0
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Exception, match="fabric.spines") as caught:
        _ = load(path).scenario
    assert getattr(caught.value, "exit_status", None) == 2


def test_json_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    directory = create(tmp_path)
    directory.write_json("summary.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        directory.write_json("summary.json", {"a": float("nan")})
    assert json.loads((directory.path / "summary.json").read_text()) == {"a": 1}
    assert sorted(entry.name for entry in directory.path.iterdir()) == ["raw", "summary.json"]


def test_full_disk_is_said_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = create(tmp_path)
    directory.append([ITERATION])

    def full(*_args: object, **_kwargs: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResultsError, match="No space left on device, expected free space"):
        directory.append([ITERATION])
    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(ResultsError, match="cannot write"):
        directory.write_json("summary.json", {})
    path = directory.fail("disk full")  # not even error.txt can be written
    monkeypatch.undo()
    assert path.name.endswith(".failed")
    assert load_rows(path, IterationRow) == (ITERATION,)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_really_full_device_is_reported(tmp_path: Path) -> None:
    directory = create(tmp_path)
    (directory.path / "iterations.csv").symlink_to("/dev/full")
    with pytest.raises(ResultsError, match="No space left on device"):
        directory.append([ITERATION])


def test_results_directory_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(ResultsError, match="cannot create a run directory"):
        create(tmp_path / "results")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_results_of_sudo_belong_to_who_called_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    directory = create(tmp_path / "results")
    (directory.raw / "log").write_text("by another process")
    path = directory.finish()
    for entry in (tmp_path / "results", path.parent, path, path / "raw", path / "raw" / "log"):
        found = entry.stat()
        assert (found.st_uid, found.st_gid) == (1234, 2345), entry
    assert tmp_path.stat().st_uid != 1234


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_link_in_a_run_does_not_give_away_what_it_points_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    outside.write_text("")
    monkeypatch.setenv("SUDO_UID", "1234")
    monkeypatch.setenv("SUDO_GID", "2345")
    directory = create(tmp_path / "results")
    (directory.path / "link").symlink_to(outside)
    directory.finish()
    assert outside.stat().st_uid == os.geteuid()


def test_every_file_and_column_is_documented() -> None:
    text = (Path(__file__).resolve().parents[2] / "docs" / "results-format.md").read_text()
    sections = {part.splitlines()[0]: part for part in text.split("\n### ")[1:]}
    for row_type in Row.__subclasses__():
        section = sections[row_type.FILE]
        missing = [name for name in columns(row_type) if f"`{name}`" not in section]
        assert not missing, f"docs/results-format.md, {row_type.FILE}"
    assert f"format version {FORMAT_VERSION}" in text.splitlines()[0]


def test_half_a_surrogate_is_kept(tmp_path: Path) -> None:
    said = {"name": "caf\udce9", "町": "ü"}
    write_json(tmp_path / "x.json", said)
    assert read_json(tmp_path / "x.json") == said
    assert "町" in json_text(said)
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_link_that_lies_in_wait_for_our_temporary_names_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("theirs")
    for number in (os.getpid(), os.getppid()):
        (tmp_path / f".x.json.{number}").symlink_to(victim)
    (tmp_path / "x.json").symlink_to(victim)
    write_json(tmp_path / "x.json", {"a": 1})
    assert victim.read_text() == "theirs"
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": 1} and not (tmp_path / "x.json").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir() if not path.is_symlink()) == ["victim", "x.json"]

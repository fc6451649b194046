"""``gse exec``: what it is asked for, and every problem of that at once."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gse_command import Gse, assert_refused

import testbed.cli.exec
from testbed.cli.console import Console
from testbed.cli.exec import _show, _Teller, add_arguments, asked_for, summary_lines
from testbed.errors import InputError
from testbed.model.capacity import need
from testbed.system.command import CommandResult

TRACE = Path(__file__).resolve().parents[1] / "data" / "traces" / "aicb-zero2.csv"


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(arguments)


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.fixture
def mpirun_says(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def says(text: str) -> None:
        monkeypatch.setattr("shutil.which", lambda name, **_: f"/bin/{name}")
        answer = CommandResult(argv=("mpirun",), exit_status=0, stdout=text, stderr="")
        monkeypatch.setattr(testbed.cli.exec, "run_command", lambda _argv: answer)

    return says


def test_the_command_is_what_follows_two_dashes() -> None:
    _scenario, request = asked_for(parsed("allreduce_ring", "--scheme", "gse1", "--", "python3", "-c", "x", "--", "-v"))
    assert request.argv == ("python3", "-c", "x", "--", "-v")
    assert request.cwd == str(Path.cwd())
    assert (request.timeout_s, request.mpi) == (600.0, False)


def test_fabric_and_placement_are_the_scenarios_and_nothing_is_announced() -> None:
    options = ("--scheme", "gse2-e2e", "--seed", "5", "--ranks", "8", "--set", "fabric.spines=2")
    scenario, request = asked_for(parsed("allreduce_ring", *options, "--timeout", "1.5", "--", "true"))
    assert (scenario.name, scenario.schemes, scenario.seeds) == ("exec_allreduce_ring", ("gse2-e2e",), (5,))
    assert (scenario.ranks, scenario.fabric.spines, scenario.workload.announce) == (8, 2, False)
    assert request.timeout_s == 1.5


def test_without_options_it_is_the_scenarios_first_scheme_and_seed() -> None:
    scenario, _request = asked_for(parsed("allreduce_ring", "--", "true"))
    assert (len(scenario.schemes), scenario.seeds, scenario.ranks) == (1, (1,), scenario.fabric.hosts)


def test_ranks_may_be_set_where_no_option_says_so() -> None:
    scenario, _request = asked_for(parsed("allreduce_ring", "--set", "workload.ranks=8", "--", "true"))
    assert scenario.ranks == 8


def test_where_programs_run_and_small_messages_beside_them_may_be_set() -> None:
    options = ("--set", "workload.placement=leaf_local", "--set", "workload.mice_interval_ms=50")
    scenario, _request = asked_for(parsed("allreduce_ring", *options, "--", "true"))
    assert (scenario.workload.placement, scenario.workload.mice_interval_ms) == ("leaf_local", 50)


def test_a_trace_is_read_for_what_the_machine_is_asked_for_follows_from_it(tmp_path: Path) -> None:
    training = {"trace": str(TRACE), "layout": {"data": 16, "global_batch": 16, "zero": 2}, "nic_mbps": 1000}
    file = tmp_path / "traced.json"
    file.write_text(json.dumps({"workload": {"kind": "training", "size_bytes": 4_000_000, "training": training}}))
    scenario, _request = asked_for(parsed(str(file), "--", "true"))
    assert need(scenario).processes > scenario.ranks


def test_every_problem_is_told_at_once(gse: Gse) -> None:
    answer = gse(
        *("exec", "allreduce_ring", "--scheme", "best", "--ranks", "99", "--timeout", "never"),
        *("--set", "fabric.spines=0", "--", "no-such-program", "{rnak}", "{nodes}"),
    )
    assert_refused(
        answer,
        "schemes.0: not valid; got 'best'",
        "fabric.spines: not valid; got 0",
        "--timeout: not a time; got 'never', expected seconds",
        "COMMAND: no such program; got 'no-such-program'",
        "COMMAND: unknown placeholder; got {rnak}",
        "COMMAND: unknown placeholder; got {nodes}",
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--seed", "x"], "--seed: not a number; got 'x'"),
        (["--seed", "-1"], "--seed: not a number; got '-1'"),
        (["--ranks", "1"], "workload.ranks: not valid"),
        (["--ranks", "17"], "workload.ranks=17, expected at most one per host (16)"),
        (["--timeout", "0"], "--timeout: not a time; got '0'"),
        (["--timeout", "nan"], "--timeout: not a time; got 'nan'"),
        (["--timeout", "inf"], "--timeout: not a time; got 'inf'"),
        (["--set", "nonsense"], "is not field=value"),
        (["--set", "schemes=[gse2-n2n]"], "--set schemes: not for --set here; got a value, expected --scheme"),
        (["--set", "seeds=[7]"], "--set seeds: not for --set here; got a value, expected --seed"),
        (["--set", "workload.announce=true"], "--set workload.announce: not for --set here"),
        (["--set", "workload.size_bytes=64M"], "--set workload.size_bytes: not for --set here"),
        (["--set", "workload.training.nic_mbps=1"], "--set workload.training.nic_mbps: not for --set here"),
        (["--ranks", "8", "--set", "workload.ranks=4"], "--set workload.ranks: not for --set here"),
    ],
)
def test_each_option_is_checked(gse: Gse, options: list[str], said: str) -> None:
    assert_refused(gse("exec", "allreduce_ring", *options, "--", "true"), said)


def test_a_command_is_needed(gse: Gse) -> None:
    answer = gse("exec", "allreduce_ring")
    assert answer.status == 2
    assert "COMMAND" in answer.err


@pytest.mark.parametrize("said", ["HYDRA build details: 4.1", "mpirun (Open MPI) 5.0.3", "mpirun (Intel)"])
def test_another_mpirun_is_refused(said: str, mpirun_says: Callable[[str], None]) -> None:
    mpirun_says(said)
    with pytest.raises(InputError, match="expected Open MPI 4"):
        asked_for(parsed("allreduce_ring", "--mpi", "--", "true"))


def test_open_mpi_4_is_taken(mpirun_says: Callable[[str], None]) -> None:
    mpirun_says("mpirun (Open MPI) 4.1.4\n")
    _scenario, request = asked_for(parsed("allreduce_ring", "--mpi", "--", "true"))
    assert request.mpi


def test_no_mpirun_is_said_before_anything_is_built(gse: Gse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name, **_: None if name == "mpirun" else f"/bin/{name}")
    assert_refused(gse("exec", "allreduce_ring", "--mpi", "--", "true"), "--mpi: no mpirun; got none in PATH")


def test_words_of_a_program_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    summary = not_measured()
    summary["reported"] = [{"rank": 0, "dev": "[/dev/nvme0]", "t": "[red]VALID[/red]"}]
    _show(SimpleNamespace(summary={**summary, "reasons": []}, run_dir="x"), Console(width=120))  # type: ignore[arg-type]
    assert "dev [/dev/nvme0], t [red]VALID[/red]" in capsys.readouterr().out


def not_measured() -> dict[str, Any]:
    program = {"ranks": [{}, {}], "duration_s": None, "communicating_s": 0.0, "hosts": [{"sent_bytes": None}]}
    return {
        "verdict": "INVALID",
        "scheme": "ecmp",
        "program": program,
        "latency_ms": {"p50": None, "p99": None},
        "reported": [{"rank": 1, "busbw_mbps": 9.25123, "program": "x", "wrong": 0, "sizes": [1, 2]}],
        **dict.fromkeys(("uplink_utilization", "uplink_max_over_mean", "dropped_packets")),
        **dict.fromkeys(("retransmitted_segments", "out_of_order_packets")),
    }


def test_what_was_not_measured_is_a_dash() -> None:
    lines = dict(summary_lines(not_measured()))
    assert lines["first start to last end, s"] == "-"
    assert lines["sent by all hosts, MB"] == "-"
    assert lines["dropped / resent / reordered"] == "- / - / -"
    assert lines["reported by rank 1"] == "busbw_mbps 9.251, program x, wrong 0, sizes [1, 2]"


@pytest.mark.parametrize("kind", ["process_behind", "warning"])
def test_what_is_to_be_known_at_once_is_said_while_the_program_runs(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _Teller(json_only=False)({"event": kind, "message": "rank 3 on h4 falls behind"})
    assert capsys.readouterr().err == "gse: rank 3 on h4 falls behind\n"

from __future__ import annotations

import errno
import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from machines import GOOD

import testbed.system.machine
from testbed.errors import Problem
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import override
from testbed.system import genetlink
from testbed.system.machine import Machine, check_machine, check_scenario, find_datapath, inspect_machine

SCENARIO = Scenario(name="x")


def without_tool(name: str) -> Machine:
    tools = (replace(tool, path=None, version=None) if tool.name == name else tool for tool in GOOD.tools)
    return replace(GOOD, tools=tuple(tools))


def only(problems: list[Problem]) -> Problem:
    assert len(problems) == 1, problems
    return problems[0]


def test_good_machine_has_no_problem() -> None:
    assert check_machine(GOOD) == []
    assert check_scenario(SCENARIO, GOOD) == []


@pytest.mark.parametrize(
    ("machine", "what", "expected"),
    [
        (replace(GOOD, uid=1000), "runs need root", "sudo"),
        (without_tool("iperf3"), "program missing: iperf3", "apt-get install iperf3"),
        (without_tool("mnexec"), "program missing: mnexec", "apt-get install mininet"),
        (replace(GOOD, capsule_error="unshare: Operation not permitted"), "namespaces", "privileged container"),
        (replace(GOOD, address_space_bytes=10**9), "memory a process may map", "at least 4,000 MB"),
        (replace(GOOD, file_size_bytes=10**6), "size of files is limited", "at least 1,000 MB"),
        (replace(GOOD, tun=False), "tap devices", "/dev/net/tun"),
        (replace(GOOD, qdiscs={**(GOOD.qdiscs or {}), "tbf": False}), "shaped", "sch_tbf"),
        (replace(GOOD, congestion_controls=("reno",)), "congestion control", "modprobe tcp_cubic"),
        (replace(GOOD, results_free_bytes=10**6), "disk nearly full", "200 MB"),
    ],
)
def test_each_lack_is_one_problem_with_a_remedy(machine: Machine, what: str, expected: str) -> None:
    problem = only(check_machine(machine))
    assert what in problem.what
    assert expected in problem.expected
    assert check_scenario(SCENARIO, machine) == [problem]


def test_kernel_datapath_needs_no_tap_devices() -> None:
    assert check_machine(replace(GOOD, datapath="kernel", tun=False)) == []


@pytest.mark.parametrize(
    ("field", "value", "kind"),
    [("delay_ms", 1.5, "netem"), ("loss_fraction", 0.01, "netem"), ("ecn_threshold_bytes", 65536, "red")],
)
def test_asking_for_a_queue_the_kernel_lacks_is_an_error_and_never_ignored(field: str, value: float, kind: str) -> None:
    scenario = override(SCENARIO, {f"fabric.{field}": value})
    assert check_scenario(scenario, GOOD) == []
    problem = only(check_scenario(scenario, replace(GOOD, qdiscs={**(GOOD.qdiscs or {}), kind: False})))
    assert problem.where == f"scenario x: fabric.{field}"
    assert f"sch_{kind}" in problem.got


def test_rate_the_machine_cannot_switch_says_by_how_much_to_scale() -> None:
    problem = only(check_scenario(override(SCENARIO, {"fabric.link_rate_mbps": 100}), GOOD))
    # 99,845 from the ring + 960 from the probes; 66,000 / 100,805 = 0.65
    assert "100,805 switch crossings/s" in problem.got
    assert "at most 66,000: rates x 0.65" in problem.expected


def test_the_same_rate_is_fine_on_the_kernel_datapath() -> None:
    assert check_scenario(override(SCENARIO, {"fabric.link_rate_mbps": 100}), replace(GOOD, datapath="kernel")) == []


def test_small_frames_get_the_advice_to_use_larger_ones() -> None:
    settings = {"fabric.link_rate_mbps": 30, "fabric.mtu_bytes": 1500}
    assert "mtu_bytes=9000" in only(check_scenario(override(SCENARIO, settings), GOOD)).expected


def test_arrays_larger_than_memory_are_refused() -> None:
    problem = only(check_scenario(override(SCENARIO, {"workload.size_bytes": "256MiB"}), GOOD))
    assert "memory" in problem.what


def test_more_processes_than_allowed_are_refused() -> None:
    assert "processes" in only(check_scenario(SCENARIO, replace(GOOD, processes_available=50))).what


def test_what_was_not_tried_is_not_held_against_the_machine() -> None:
    unprivileged = replace(GOOD, uid=1000, capsule_tried=False, qdiscs=None)
    assert only(check_machine(unprivileged)).where == "user"


def test_this_machine_can_be_inspected_by_anybody(tmp_path: Path) -> None:
    machine = inspect_machine(tmp_path / "not" / "there" / "yet")
    assert machine.uid == os.geteuid()
    assert 0 < machine.cores <= (os.cpu_count() or 0)
    assert machine.memory_available_bytes > 0
    assert machine.results_free_bytes > 0
    assert (machine.qdiscs is None) == (machine.uid != 0)
    assert json.loads(json.dumps(machine.to_json()))["kernel"] == os.uname().release


def test_versions_are_what_the_programs_say() -> None:
    said = subprocess.run(["unshare", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    assert {tool.name: tool for tool in inspect_machine().tools}["unshare"].version == said


def test_generic_netlink_knows_its_own_controller_and_nothing_invented() -> None:
    assert genetlink.family_exists("nlctrl")
    assert not genetlink.family_exists("gse_nonsense")


def test_a_kernel_without_generic_netlink_has_no_switches(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_name: str) -> bool:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    monkeypatch.setattr(genetlink, "family_exists", refuse)
    monkeypatch.setattr(testbed.system.machine.shutil, "which", lambda _name: None)  # nothing is to be loaded here
    assert find_datapath() == "userspace"


def test_too_few_open_files_are_named_before_the_run() -> None:
    problem = only(check_scenario(SCENARIO, replace(GOOD, open_files=256)))
    assert str(problem).endswith("expected at most 256 (ulimit -n)")

"""Whatever is wrong with a request is said with what, where, got and expected; exit status 2, nothing left behind."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gse_command import A_SCHEME, PROJECT, Gse, as_nobody, assert_refused
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from machines import GOOD

import testbed.cli.cli
import testbed.cli.run
from testbed.cli.options import scenario_from
from testbed.errors import ScenarioError
from testbed.runs.scenario_files import load, load_file

NAME = "allreduce_ring"


@pytest.fixture(autouse=True)
def nobody_else_measures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs on this machine is not what these tests are about."""
    monkeypatch.setattr(testbed.cli.run, "running_capsules", list)


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; a test that leaves anything in it fails."""
    place = tmp_path / "here"
    place.mkdir()
    monkeypatch.chdir(place)
    yield place
    assert sorted(path.name for path in place.rglob("*")) == []


@pytest.fixture
def good_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Run as if on a machine that has everything: two cores, userspace datapath."""
    monkeypatch.setattr(testbed.cli.run, "require_root", lambda _what: None)
    monkeypatch.setattr(testbed.cli.run, "inspect_machine", lambda _results: GOOD)


# --- --set, --seeds, --schemes -----------------------------------------------------------------------

SETTINGS = {
    "fabric.spine=8": ("--set fabric.spine: unknown field in fabric; got spine", "one of leaves, spines,"),
    "fabrik.spines=8": ("--set fabrik.spines: unknown field in scenario; got fabrik",),
    "fabric.spines.count=8": ("nothing below this field",),
    "faults.0.t_s=1": ("--set faults.0.t_s: unknown field in faults; got 0",),
    "fabric.spines=0": (f"scenario {NAME}: fabric.spines: not valid; got 0, expected greater than or equal to 1",),
    "fabric.spines=256": ("fabric.spines: not valid; got 256, expected less than or equal to 255",),
    "fabric.hosts_per_leaf=255": ("fabric.hosts_per_leaf: not valid; got 255, expected less than or equal to 254",),
    "fabric.spines=four": ("fabric.spines: not valid; got 'four', expected a valid integer",),
    "fabric.spines=true": ("fabric.spines: not a whole number; got True, expected a whole number",),
    "fabric.spines=2.5": ("fabric.spines: not a whole number; got 2.5, expected a whole number",),
    "fabric.spines=null": ("fabric.spines: not valid; got None",),
    "fabric.spines=[1, 2]": ("fabric.spines: not valid; got a value of type list",),
    f"fabric.spines={'9' * 5000}": ("value is not YAML; got '9999",),
    f"fabric.spines=0x{'9' * 5000}": ("fabric.spines: not valid; got a value of type int",),
    "fabric=3": ("fabric: not valid; got 3",),
    "fabric": ("--set fabric: is not field=value; got 'fabric', expected e.g. fabric.spines=8",),
    "=3": ("is not field=value",),
    "": ("is not field=value",),
    "fabric.spines=[1": ("value is not YAML; got '[1' (", "expected a value like 8, true, 8MiB"),
    "fabric.spines=!!python/object/apply:os.system [id]": ("could not determine a constructor",),
    "fabric.spines=!!int ''": ("value is not YAML",),
    "fabric.spines=\x00": ("value is not YAML",),
    "fabric.link_rate_mbps=.nan": ("fabric.link_rate_mbps: not valid; got nan",),
    "fabric.link_rate_mbps=.inf": ("fabric.link_rate_mbps: not valid; got inf",),
    "fabric.link_rate_mbps=-1": ("fabric.link_rate_mbps: not valid; got -1",),
    "measure.sample_interval_s=.nan": ("measure.sample_interval_s: not valid; got nan",),
    "workload.size_bytes=1e6": (
        "workload.size_bytes: '1e6' is not a size",
        "expected a whole number of bytes, e.g. 64K",
    ),
    "workload.size_bytes=65": ("got size_bytes=65, expected a multiple of 4 (float32)",),
    "workload.size_bytes=2GiB": ("workload.size_bytes: not valid; got 2147483648, expected less than or equal to",),
    "workload.ranks=17": ("got workload.ranks=17, expected at most one per host (16)",),
    "fabric.leaves=1": ("got workload.placement=cross_leaf, expected fabric.leaves >= 2",),
    "fabric.queue_bytes=2048": ("expected >= 18028",),
    "seeds=[]": ("seeds: not valid; got []",),
    "seeds=3": ("seeds: not valid; got 3, expected a list",),
    "schemes=[ecmp, gse9]": (f"schemes.1: not valid; got 'gse9', expected {A_SCHEME}",),
    "name=Über": ("name: not valid; got 'Über'",),
    "name=../../etc": ("name: not valid",),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda text: text[:40].replace("\x00", "NUL"))
def test_a_wrong_setting_is_explained(gse: Gse, folder: Path, setting: str) -> None:
    assert_refused(gse("check", NAME, "--set", setting), *SETTINGS[setting])


def test_a_setting_may_suit_only_the_schemes_asked_for_beside_it() -> None:
    asked = argparse.Namespace(scenario="link_failure", settings=["gsos.repair=controller"], schemes="ecmp", seeds=None)
    assert scenario_from(asked).gsos.repair == "controller"
    with pytest.raises(ScenarioError, match="cannot be honoured with schemes=gse2-n2n"):
        scenario_from(argparse.Namespace(**{**vars(asked), "schemes": "ecmp,gse2-n2n"}))


def test_every_wrong_setting_is_explained_at_once(gse: Gse, folder: Path) -> None:
    answer = gse(
        "check", NAME, "--set", "fabric.spines=0", "--set", "workload.iterations=0", "--set", "measure.calibrate=7"
    )
    assert_refused(answer, "fabric.spines", "workload.iterations", "measure.calibrate")
    assert len(answer.err.splitlines()) == 3


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--seeds", "0", "--seeds: not seeds; got '0'"),
        ("--seeds", "-1", "--seeds: not seeds; got '-1'"),
        ("--seeds", "x", "--seeds: not seeds; got 'x'"),
        ("--seeds", ",", "--seeds: not seeds; got ','"),
        ("--seeds", "", "--seeds: not seeds; got ''"),
        ("--seeds", "1.5", "--seeds: not seeds; got '1.5'"),
        ("--seeds", "1;2", "--seeds: not seeds; got '1;2'"),
        ("--seeds", "99999999999", "expected a number of seeds like 5 (1..10000), or seeds like 3,8"),
        ("--seeds", "9" * 5000, "--seeds: not seeds"),
        ("--seeds", "1,1", "got seeds names 1 twice, expected each once"),
        (
            "--schemes",
            "gse2",
            f"schemes.0: not valid; got 'gse2', expected {A_SCHEME}",
        ),
        ("--schemes", "", "schemes.0: not valid; got ''"),
        ("--schemes", "ecmp,", "schemes.1: not valid; got ''"),
        ("--schemes", "ecmp gse1", "schemes.0: not valid; got 'ecmp gse1'"),
        ("--schemes", "ecmp,ecmp", "schemes names ecmp twice, expected each once"),
    ],
)
def test_wrong_seeds_and_schemes_are_explained(
    gse: Gse, folder: Path, good_machine: None, option: str, value: str, said: str
) -> None:
    assert_refused(gse("run", NAME, option, value, "--results", "res"), said)


# --- scenario files -----------------------------------------------------------------------------------

ALIASES = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
MERGES = "a: &a {p: 1, q: 1}\n" + "".join(
    f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 9)}], k{name}: 1}}\n"
    for before, name in zip("abcdefghi", "bcdefghij", strict=True)
)
FILES: dict[str, tuple[str, bytes, str]] = {
    "unknown field": (
        "f.yml",
        b"fabric: {spine: 2}",
        "f.yml: fabric.spine: unknown field; got 'spine', expected one of",
    ),
    "unknown section": ("f.yml", b"colour: red", "f.yml: colour: unknown field; got 'colour', expected one of name,"),
    "unknown field in a list": ("f.yml", b"faults: [{when: 1}]", "one of t_s, action, target"),
    "field missing": ("f.yml", b"faults: [{t_s: 1, action: fail}]", "faults.0.target: field missing; got nothing"),
    "wrong type": ("f.yml", b"fabric: [1]", "f.yml: fabric: not valid; got a value of type list"),
    "field twice": (
        "f.yml",
        b"fabric: {spines: 2}\nfabric: {leaves: 2}",
        "'fabric' is there twice in line 2, column 1",
    ),
    "field twice, JSON": ("f.json", b'{"seeds": [1], "seeds": [2]}', "'seeds' is there twice"),
    "key is a number": ("f.yml", b"1: 2", "expected Keys should be strings"),
    "key is a list": ("f.yml", b"? [a]\n: 2", "found unhashable key in line 1"),
    "not YAML": ("f.yml", b"a: b: c", "mapping values are not allowed here in line 1, column 5"),
    "tab": ("f.yml", b"\tfabric: 1", "in line 1, column 1"),
    "not JSON": ("f.json", b"{'fabric': 1}", "is not JSON"),
    "impossible date": ("f.yml", b"name: 2020-13-45", "is not YAML"),
    "tag that fails": ("f.yml", b"name: !!timestamp x", "is not YAML"),
    "code": ("f.yml", b"name: !!python/object/apply:os.system ['touch harm']", "could not determine a constructor"),
    "not UTF-8": ("f.yml", b"\xff\xfe", "cannot be read; got 'utf-8' codec can't decode"),
    "control characters": ("f.yml", b"\x00\x01", "is not YAML"),
    "empty": ("f.yml", b"", "is not a scenario; got an empty file, expected a mapping of scenario fields"),
    "a list": ("f.yml", b"- a", "is not a scenario; got list"),
    "a text": ("f.yml", b"hello", "is not a scenario; got str"),
    "many levels": ("f.yml", b"[" * 20_000, "too many levels"),
    "many levels, JSON": ("f.json", b'{"a":' * 20_000, "too many levels"),
    "alias of itself": ("f.yml", b"background: &b [*b]", "background.0: not valid; got a value of type list"),
    "exploding aliases": ("f.yml", ALIASES.encode() + b"background: *j\nname: *j\nseeds: *j", "name: not valid"),
    "exploding merges": ("f.yml", MERGES.encode(), "more than 1000 fields"),
    "too long": ("f.yml", b"#" * 200_001, "cannot be read; got 200,001 bytes, more than 200,000"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_explained_quickly(gse: Gse, tmp_path: Path, name: str) -> None:
    file_name, content, said = FILES[name]
    path = tmp_path / file_name
    path.write_bytes(content)
    began_s = time.process_time()
    assert_refused(gse("check", str(path)), said, str(path))
    assert time.process_time() - began_s < 5  # of CPU: exploding texts would take for ever
    assert [entry.name for entry in tmp_path.iterdir()] == [file_name]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("nosuch", "scenario: no such scenario; got 'nosuch', expected one of all_to_all, allreduce_ring,"),
        ("", "scenario: no such scenario; got ''"),
        ("results", "scenario: no such scenario; got 'results'"),
        ("allreduce_ring.py", "no such scenario"),
        ("os.path", "no such scenario"),
        ("nosuch.yml", "nosuch.yml: cannot be read; got No such file or directory"),
        ("./nosuch", "nosuch: cannot be read; got No such file or directory"),
        ("./", "cannot be read; got Is a directory"),
        ("/dev/zero", "/dev/zero: cannot be read; got a device, not a regular file"),
        ("/etc/passwd/x.yml", "cannot be read; got Not a directory"),
        ("a\x00b.yml", "cannot be read; got embedded null byte"),
    ],
)
def test_a_missing_scenario_is_explained(gse: Gse, folder: Path, argument: str, said: str) -> None:
    assert_refused(gse("check", argument), said)


def test_a_scenario_module_without_a_scenario_is_explained(
    gse: Gse, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import scenarios

    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "t_empty.py").write_text("")
    (modules / "t_wrong.py").write_text("SCENARIO = {'name': 'x'}\n")
    (modules / "t_broken.py").write_text("import no_such_module_anywhere\n")
    (modules / "t_invalid.py").write_text(
        "from testbed.model.scenario import FabricSpec, Scenario\n"
        "SCENARIO = Scenario(name='x', fabric=FabricSpec(spines=0, lanes=1))\n"
    )
    monkeypatch.setattr(scenarios, "__path__", [*scenarios.__path__, str(modules)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert_refused(gse("check", "t_empty"), "scenarios/t_empty.py: SCENARIO is not a Scenario; got NoneType")
    assert_refused(gse("check", "t_wrong"), "scenarios/t_wrong.py: SCENARIO is not a Scenario; got dict")
    assert_refused(gse("check", "t_broken"), "scenarios/t_broken.py: ", "no_such_module_anywhere")
    assert_refused(
        gse("check", "t_invalid"),
        "scenarios/t_invalid.py: FabricSpec: spines: not valid; got 0, expected greater than or equal to 1",
        "scenarios/t_invalid.py: FabricSpec: lanes: unknown field; got 'lanes', expected one of leaves, spines,",
    )


@pytest.mark.parametrize(
    "file_name", ["my.yml", "My Scenario (2).yaml", "2026-01-02.json", "Ünïcode.yml", "x" * 200 + ".yml", "-.yml"]
)
def test_a_scenario_is_named_after_its_file_whatever_that_is_called(gse: Gse, tmp_path: Path, file_name: str) -> None:
    (tmp_path / file_name).write_text('{"fabric": {"spines": 2}}')
    answer = gse("check", str(tmp_path / file_name), "--json")
    assert (answer.status, answer.err) == (0, "")
    assert json.loads(answer.out)["fabric"]["spines"] == 2


def test_json_may_be_indented_with_tabs(gse: Gse, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{\n\t"fabric": {\n\t\t"spines": 2\n\t}\n}\n')
    assert gse("check", str(tmp_path / "x.json")).status == 0


def test_merge_keys_and_aliases_of_ordinary_size_work(tmp_path: Path) -> None:
    (tmp_path / "x.yml").write_text(
        "background:\n- &first {src: h1, dst: h5, rate_mbps: 2}\n- {<<: *first, src: h2, rate_mbps: 3}\n"
    )
    elephants = load_file(tmp_path / "x.yml").background
    assert [(e.src, e.dst, e.rate_mbps) for e in elephants] == [("h1", "h5", 2), ("h2", "h5", 3)]


YAMLISH = st.text(alphabet=st.sampled_from("ab:,[]{}&*!<>|-?'\"#%@` \n\t019.~=\x07é"), max_size=40)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=YAMLISH)
@example("fabric: {spines: !!int ''}")
@example("name: !!binary ä")
def test_no_text_of_a_file_or_of_a_setting_is_more_than_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.yml").write_text(text)
    for attempt in (lambda: load_file(tmp_path / "x.yml"), lambda: load(NAME, [f"fabric.spines={text}"])):
        try:
            attempt()
        except ScenarioError as error:
            assert all(problem.where and problem.got and problem.expected for problem in error.problems)


# --- the machine and the user ----------------------------------------------------------------------------


def run_on(machine: Any, gse: Gse, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.setattr(testbed.cli.run, "require_root", lambda _what: None)
    monkeypatch.setattr(testbed.cli.run, "inspect_machine", lambda _results: machine)
    return gse("run", NAME, "--results", "res", *arguments)


@pytest.mark.parametrize(
    ("settings_", "said"),
    [
        (
            ["fabric.link_rate_mbps=40000"],
            ("more traffic than this machine can switch", "at most 66,000: rates x 0.0016"),
        ),
        (
            ["fabric.leaves=64", "fabric.spines=2", "fabric.hosts_per_leaf=64"],
            ("more memory than this machine has", "more processes than this machine allows", "4096 ranks"),
        ),
        (["fabric.mtu_bytes=1500", "fabric.link_rate_mbps=60"], ("or fabric.mtu_bytes=9000",)),
    ],
    ids=["rate", "size", "mtu"],
)
def test_more_than_the_machine_can_do_is_refused(
    gse: Gse, folder: Path, monkeypatch: pytest.MonkeyPatch, settings_: list[str], said: tuple[str, ...]
) -> None:
    arguments = [word for setting in settings_ for word in ("--set", setting)]
    machine = replace(GOOD, processes_available=8000)
    assert_refused(run_on(machine, gse, monkeypatch, *arguments), *said)


def test_the_rate_a_refusal_recommends_is_accepted(gse: Gse, monkeypatch: pytest.MonkeyPatch) -> None:
    from testbed.model.scenario_input import override
    from testbed.runs.scenario_files import load_builtin
    from testbed.system.machine import check_scenario

    scenario = load_builtin(NAME)
    for rate_mbps in (101.0, 333.0, 40_000.0):
        (problem,) = check_scenario(override(scenario, {"fabric.link_rate_mbps": rate_mbps}), GOOD)
        factor = float(problem.expected.partition("rates x ")[2].split()[0])
        assert 0 < factor < 1
        assert check_scenario(override(scenario, {"fabric.link_rate_mbps": rate_mbps * factor}), GOOD) == []


def test_what_the_kernel_lacks_is_refused_not_ignored(gse: Gse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = replace(GOOD, qdiscs={"tbf": True, "htb": True, "netem": False, "red": False})
    settings_ = [
        "--set",
        "fabric.delay_ms=5",
        "--set",
        "fabric.loss_fraction=0.1",
        "--set",
        "fabric.ecn_threshold_bytes=9000",
    ]
    answer = run_on(bare, gse, monkeypatch, *settings_)
    assert_refused(
        answer, "delay_ms=5 cannot be emulated", "loss_fraction=0.1", "ecn_threshold_bytes=9000", "sch_netem"
    )


def test_a_nearly_full_disk_is_refused(gse: Gse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = replace(GOOD, results_free_bytes=10**6, results_dir="res")
    assert_refused(run_on(full, gse, monkeypatch), "res: disk nearly full; got 1 MB free, expected at least 200 MB")


@pytest.mark.parametrize(
    ("results", "said"),
    [
        ("/proc/nowhere", "/proc/nowhere: cannot create a run directory; got No such file or directory"),
        ("/etc/passwd", "cannot create a run directory; got Not a directory, expected a writable directory"),
        ("x" * 300, "got File name too long"),
    ],
)
def test_results_that_cannot_be_stored_are_refused(
    gse: Gse, folder: Path, good_machine: None, results: str, said: str
) -> None:
    answer = gse("run", NAME, "--results", results)
    assert_refused(replace(answer, err=_without_progress(answer.err)), said)


def _without_progress(err: str) -> str:
    return "".join(line + "\n" for line in err.splitlines() if not line.startswith("run 1/"))


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", NAME, "--results", "/tmp/gse-never-made"],
        ["cli"],
        ["demo", "--results", "/tmp/gse-never-made"],
        ["test"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_user_without_privileges_is_told_what_it_takes(arguments: list[str]) -> None:
    answer = as_nobody(*arguments, may_read_all=True)
    assert_refused(
        answer, f"user: {arguments[0]} needs root", "got uid ", f"expected uid 0; try: sudo ./gse {arguments[0]}"
    )
    assert not Path("/tmp/gse-never-made").exists()


def test_a_user_without_privileges_hears_of_a_bad_scenario_first() -> None:
    assert_refused(as_nobody("run", NAME, "--set", "fabric.spines=0", may_read_all=True), "fabric.spines")


@pytest.fixture
def prompts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Run the prompt as if on a machine that has everything; return the plans of the fabrics it would build."""
    plans: list[dict[str, Any]] = []

    def started(argv: list[str], *, pass_fds: tuple[int, ...], **_options: object) -> int:
        assert pass_fds == (int(argv[-1]),)
        plans.append(json.loads(os.pread(pass_fds[0], 1 << 20, 0)))
        return 0

    monkeypatch.setattr(testbed.cli.cli, "require_root", lambda _what: None)
    monkeypatch.setattr(testbed.cli.cli, "inspect_machine", lambda: GOOD)
    monkeypatch.setattr(testbed.cli.cli.subprocess, "call", started)
    return plans


def test_the_prompt_takes_a_setting_that_suits_its_scheme_only(gse: Gse, prompts: list[dict[str, Any]]) -> None:
    answer = gse("cli", "link_failure", "--scheme", "ecmp", "--seed", "7", "--set", "gsos.repair=controller")
    said = "gse: note: at the prompt nothing happens by itself; left out: faults\n"
    assert (answer.status, answer.err) == (0, said)
    (plan,) = prompts
    assert (plan["scheme"], plan["seed"], plan["scenario"]["gsos"]["repair"]) == ("ecmp", 7, "controller")
    assert (plan["scenario"]["schemes"], plan["scenario"]["seeds"]) == (["ecmp"], [7])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--scheme", "gse2-n2n", "--set", "gsp.window_bytes=20K"],
            f"scenario {NAME}: gsp.window_bytes: a window smaller than a grant and a frame may never be used; "
            "got 20480, expected at least 45070, the largest single grant (quantum) and a frame, under gse2-n2n",
        ),
        (
            ["--scheme", "gse2-n2n", "--set", "gsos.repair=controller"],
            f"scenario {NAME}: inconsistent; got gsos.repair=controller cannot be honoured with schemes=gse2-n2n",
        ),
        (["--seed", "-1"], f"scenario {NAME}: seeds.0: not valid; got -1, expected greater than or equal to 0"),
    ],
    ids=["window", "repair", "seed"],
)
def test_the_prompt_builds_nothing_its_scheme_cannot_be_set_to(
    gse: Gse, folder: Path, prompts: list[dict[str, Any]], arguments: list[str], said: str
) -> None:
    assert_refused(gse("cli", *arguments), said)
    assert prompts == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "required: COMMAND"),
        (["frob"], "invalid choice: 'frob'"),
        (["run"], "required: SCENARIO"),
        (["run", NAME, "--frob"], "unrecognized arguments: --frob"),
        (["cli", "--scheme", "gse9"], "invalid choice: 'gse9'"),
        (["cli", "--seed", "x"], "invalid int value: 'x'"),
        (["check"], "expected a SCENARIO, or --schema"),
        (["plot"], "required: DIR"),
    ],
    ids=lambda value: " ".join(value) or "nothing" if isinstance(value, list) else "",
)
def test_a_wrong_command_line_is_explained(gse: Gse, folder: Path, arguments: list[str], said: str) -> None:
    answer = gse(*arguments)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert "Traceback" not in answer.err


def test_the_program_says_so_when_its_reader_leaves() -> None:
    argv = [sys.executable, "-m", "testbed", "check", "--schema"]
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        err = process.stderr.read()
    assert process.returncode == 141
    assert err == b""

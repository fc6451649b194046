"""``gse`` without root: help, list, check, plot; what they say about results that are damaged or may not be read."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gse_command import Gse, as_nobody, assert_refused, nobody_can_read_the_project
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import PcapWriter
from synthetic_runs import healthy, scenario_of, store

from testbed.cli.main import COMMANDS
from testbed.evaluation.records import MessageRow, TransferRow, columns
from testbed.model.scenario import SCHEMES
from testbed.runs.scenario_files import builtin_names

SVG = ("--format", "svg")  # where it is not the picture that is asked about: a second format takes as long again


@pytest.fixture
def gse(capsys: pytest.CaptureFixture[str]) -> Gse:
    return Gse(capsys)


@pytest.fixture(scope="session")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two schemes, two seeds, as stored by ``gse run``; not to be changed."""
    results = tmp_path_factory.mktemp("reference")
    for number, (scheme, seed) in enumerate([("ecmp", 1), ("gse1", 1), ("gse1", 2), ("ecmp", 2)]):
        store(results, healthy(scenario_of(), scheme=scheme, seed=seed), second=number)
    return results / "synthetic"


@pytest.fixture
def stored(reference: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(reference, tmp_path / "results" / "synthetic"))


# --- help -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_what_a_command_does_and_shows_examples(gse: Gse, command: str) -> None:
    answer = gse(command, "--help")
    assert (answer.status, answer.err) == (0, "")
    assert re.search(rf"examples?:\n +(sudo )?(\./)?(echo .*)?gse {command}\b", answer.out), answer.out
    shown = [line for line in answer.out.splitlines() if line.strip().startswith(("gse ", "./gse ", "sudo ./gse "))]
    assert shown and all(f"gse {command}" in line for line in shown)
    assert all(len(line) <= 120 for line in answer.out.splitlines())


def test_help_lists_every_command(gse: Gse) -> None:
    answer = gse("--help")
    assert answer.status == 0
    assert all(f"{name}" in answer.out and summary[:30] in answer.out for name, summary in COMMANDS.items())
    assert "examples:" in answer.out


def test_the_examples_of_help_are_valid_command_lines(gse: Gse) -> None:
    from testbed.cli.main import build_parser

    parser, number = build_parser(), 0
    for text in [gse("--help").out, *(gse(command, "--help").out for command in COMMANDS)]:
        for line in re.findall(r"^ +(?:echo .* \| )?(?:sudo )?(?:\./)?gse (.+)$", text, re.MULTILINE):
            words = re.split(r" {3,}| > ", line)[0].split()
            if words[0] in COMMANDS:
                assert parser.parse_args(words).command == words[0]
                number += 1
    assert number >= 2 * len(COMMANDS)


def test_help_names_every_scheme_and_says_what_is_usual(gse: Gse) -> None:
    def joined(*command: str) -> str:
        return "".join(gse(*command, "--help").out.split())  # lines may break at hyphens

    for command in (("run",), ("sweep",), ("bench",), ("predict", "scenario")):
        assert f"someof{','.join(SCHEMES)}(default:" in joined(*command)
    assert "(default:ecmp,gse1)" in joined("bench") and "(default:theoneseed1)" in joined("bench")
    assert "(default:thescenario's)" in joined("run")
    cluster = joined("predict", "cluster")
    assert "someofecmp,gse1,gse2(default:allofthem)" in cluster and "oversubscription" in cluster
    assert "wholenodesof8(default:64,128,256,512,1024)" in joined("predict", "training")


def test_help_says_what_exit_statuses_mean(gse: Gse) -> None:
    assert "0 done; 1 the work failed; 2 the request" in gse("--help").out
    for command in ("run", "compare", "exec", "predict", "replay", "doctor"):
        assert "Exit status" in gse(command, "--help").out


# --- list, check -----------------------------------------------------------------------------------------


def test_list_shows_every_scenario_and_counts_what_is_stored(gse: Gse, stored: Path) -> None:
    named = stored.rename(stored.with_name("allreduce_ring"))
    runs = sorted(named.iterdir())
    runs[0].rename(named / "a.partial")
    runs[1].rename(named / "b.failed")
    answer = gse("list", "--results", str(named.parent), "--json")
    entries = {entry["name"]: entry for entry in json.loads(answer.out)}
    assert set(entries) == set(builtin_names())
    assert (entries["allreduce_ring"]["runs_stored"], entries["allreduce_ring"]["runs_failed"]) == (2, 1)
    assert (entries["link_failure"]["runs_stored"], entries["link_failure"]["runs_failed"]) == (0, 0)
    table = gse("list", "--results", str(named.parent)).out
    assert all(name[:12] in table for name in builtin_names())
    assert "2 (+1 failed)" in " ".join(table.split())


def test_list_of_nothing_is_no_mistake(gse: Gse, tmp_path: Path) -> None:
    answer = gse("list", "--results", str(tmp_path / "not yet"), "--json")
    assert answer.status == 0
    assert [entry["runs_stored"] for entry in json.loads(answer.out)] == [0] * len(builtin_names())


@pytest.mark.parametrize("name", builtin_names())
def test_check_accepts_every_scenario_and_prints_it_complete(gse: Gse, name: str, tmp_path: Path) -> None:
    text = gse("check", name).out
    assert text.startswith(f"{name}: valid\n")
    complete = gse("check", name, "--json").out
    (tmp_path / "again.json").write_text(complete)
    assert gse("check", str(tmp_path / "again.json"), "--json").out == complete


def test_small_messages_alone_are_not_said_to_move_an_array(gse: Gse, tmp_path: Path) -> None:
    said = gse("check", "mice_alone").out
    assert "  workload  small messages alone, 2048 B every 100 ms and host, 1 iteration(s) of 10 s\n" in said
    assert "allreduce_ring of 8 MiB over 16 ranks" in gse("check", "allreduce_ring").out
    entries = json.loads(gse("list", "--results", str(tmp_path), "--json").out)
    sizes = {entry["name"]: entry["size_bytes"] for entry in entries}
    assert (sizes["mice_alone"], sizes["permutation"]) == (None, 8 * 2**20)


def test_check_prints_the_published_schema(gse: Gse) -> None:
    schema = json.loads(gse("check", "--schema").out)
    published = Path(__file__).resolve().parents[2] / "docs" / "scenario.schema.json"
    assert schema == json.loads(published.read_text())
    assert {"fabric", "workload", "faults", "seeds"} <= set(schema["properties"])


# --- plot ---------------------------------------------------------------------------------------------------


def test_plot_prints_tables_and_writes_figures_from_stored_runs_alone(gse: Gse, stored: Path, tmp_path: Path) -> None:
    answer = gse("plot", str(stored), "--out", str(tmp_path / "figures"))
    assert (answer.status, answer.err) == (0, "")
    assert "schemes compared" in answer.out and "speed-up over ecmp" in answer.out
    written = {path.name for path in (tmp_path / "figures").iterdir()}
    assert {"latency.png", "uplinks.png", "queues.png"} <= written
    said = answer.out.replace("\n", "")
    assert all(f"wrote {tmp_path / 'figures' / name}" in said for name in written)


def test_plot_takes_runs_by_name_and_leaves_the_others_out(gse: Gse, stored: Path, tmp_path: Path) -> None:
    chosen = sorted(str(path) for path in stored.iterdir() if "seed1" in path.name)
    answer = gse("plot", *chosen, *SVG, "--out", str(tmp_path / "figures"))
    assert answer.status == 0
    assert len(re.findall(r"^(ecmp|gse1) +1 ", answer.out, re.MULTILINE)) == 2
    assert not re.findall(r"^(ecmp|gse1) +2 ", answer.out, re.MULTILINE)


def test_stored_runs_are_judged_anew_when_asked(gse: Gse, stored: Path, tmp_path: Path) -> None:
    spoilt, *_others = sorted(stored.glob("*-gse1-seed1-*"))
    summary = json.loads((spoilt / "summary.json").read_text())
    (spoilt / "summary.json").write_text(
        json.dumps({**summary, "verdict": "SUSPECT", "reasons": ["a check of long ago"], "checks": ["old"]})
    )
    as_stored = gse("plot", str(stored), *SVG, "--out", str(tmp_path / "figures"))
    anew = gse("plot", str(stored), "--judge-anew", *SVG, "--out", str(tmp_path / "figures"))
    assert (as_stored.status, anew.status) == (0, 0)
    assert "a check of long ago" in as_stored.out
    assert "SUSPECT" not in anew.out
    assert "made anew by gse-testbed" in " ".join(anew.out.split())
    assert "made anew" not in as_stored.out
    caption = json.loads((tmp_path / "figures" / "completion.json").read_text())["caption"]
    assert "Numbers and verdicts made anew by gse-testbed" in caption
    assert json.loads((spoilt / "summary.json").read_text())["checks"] == ["old"]  # nothing is stored


def test_a_folder_whose_name_looks_like_markup_is_shown_as_it_is(gse: Gse, stored: Path, tmp_path: Path) -> None:
    answer = gse("plot", str(stored), *SVG, "--out", str(tmp_path / "[red]figures[/red]"))
    assert answer.status == 0
    assert "[red]figures[/red]" in answer.out.replace("\n", "")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("nowhere", "nowhere: no finished run; got no such folder, expected a run folder or a folder of runs"),
        (".", "no finished run; got 0 unfinished, 0 failed and 0 disturbed run(s)"),
        ("a-file", "a-file: cannot list runs; got Not a directory, expected a"),
        ("x" * 300, "got File name too long"),
    ],
)
def test_plot_of_no_run_is_refused(
    gse: Gse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a-file").touch()
    assert_refused(gse("plot", path), said)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a-file"]


def test_plot_says_how_many_runs_are_unfinished_or_failed(gse: Gse, stored: Path) -> None:
    for number, path in enumerate(sorted(stored.iterdir())):
        path.rename(path.with_name(path.name + (".failed" if number else ".partial")))
    assert_refused(gse("plot", str(stored)), "no finished run; got 1 unfinished, 3 failed and 0 disturbed run(s)")


def cut(name: str) -> Callable[[Path], None]:
    """Leave the first half of a file, in the middle of a line."""

    def damage(run: Path) -> None:
        content = (run / name).read_bytes()
        (run / name).write_bytes(content[: len(content) // 2 + 3])

    return damage


def write(name: str, content: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(content) and None


def edit(name: str, **values: object) -> Callable[[Path], None]:
    """Replace values of a JSON file; ``None`` removes one."""

    def damage(run: Path) -> None:
        document = json.loads((run / name).read_text())
        for key, value in values.items():
            document.pop(key) if value is None else document.__setitem__(key, value)
        (run / name).write_text(json.dumps(document))

    return damage


def replace_text(name: str, pattern: str, new: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        text, number = re.subn(pattern, new, (run / name).read_text(), count=1, flags=re.MULTILINE)
        assert number == 1
        (run / name).write_text(text)

    return damage


def remove(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def append(name: str, line: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        with (run / name).open("a") as file:
            file.write(line)

    return lambda run: both(remove("summary.json"), damage)(run)  # or the rows are not looked at


def make_pipe(name: str) -> Callable[[Path], None]:
    return both(remove(name), lambda run: os.mkfifo(run / name))


def make_device(name: str) -> Callable[[Path], None]:
    return both(remove(name), lambda run: (run / name).symlink_to("/dev/zero"))


def both(*damages: Callable[[Path], None]) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        for one in damages:
            one(run)

    return damage


def make_folder(name: str) -> Callable[[Path], None]:
    def damage(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return damage


# What a crash, a full disk, an editor or another version may leave; -> what the message says.
TRANSFERS_HEADER, MESSAGES_HEADER = (",".join(columns(row_type)) + "\n" for row_type in (TransferRow, MessageRow))
DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "manifest cut": (cut("manifest.json"), "manifest.json: damaged JSON"),
    "manifest empty": (write("manifest.json", b""), "manifest.json: damaged JSON"),
    "manifest binary": (write("manifest.json", b"\xff\x00"), "manifest.json: cannot read a result"),
    "manifest a list": (write("manifest.json", b"[]"), "manifest.json: damaged JSON; got list"),
    "manifest a folder": (make_folder("manifest.json"), "manifest.json: cannot read a result; got Is a directory"),
    "manifest deep": (write("manifest.json", b"[" * 50_000), "manifest.json: damaged JSON"),
    "manifest of the future": (edit("manifest.json", format_version=4), "format_version: unknown result format; got 4"),
    "manifest without version": (edit("manifest.json", format_version=None), "unknown result format; got None"),
    "scenario missing": (edit("manifest.json", scenario=None), "manifest.json: scenario: missing or of a wrong type"),
    "scenario invalid": (
        edit("manifest.json", scenario={"name": "x", "fabric": {"spines": 0}}),
        "manifest.json: fabric.spines: not valid; got 0",
    ),
    "seed a text": (edit("manifest.json", seed="one"), "manifest.json: seed: missing or of a wrong type"),
    "event without time": (edit("manifest.json", events=[{"event": "fault"}]), "manifest.json: events.0: not an event"),
    "event a text": (edit("manifest.json", events=["x"]), "manifest.json: events.0: not an event"),
    "summary cut": (cut("summary.json"), "summary.json: damaged JSON"),
    "summary a list": (write("summary.json", b"[]"), "summary.json: damaged JSON; got list"),
    "summary without verdict": (edit("summary.json", verdict=None), "summary.json: verdict: not valid; got None"),
    "summary with an unknown verdict": (edit("summary.json", verdict="GREAT"), "one of VALID, SUSPECT, INVALID"),
    "summary with a text for a number": (
        edit("summary.json", completion_s="fast"),
        "completion_s: not valid; got 'fast'",
    ),
    "summary with a list of reasons that is none": (
        edit("summary.json", reasons=7),
        "summary.json: reasons: not valid",
    ),
    "checks a number": (edit("summary.json", checks=7), "summary.json: checks: not valid; got 7, expected a list of"),
    "checks of numbers": (edit("summary.json", checks=[["steal"]]), "summary.json: checks: not valid"),
    "tries a number": (edit("manifest.json", earlier_tries=7), "manifest.json: earlier_tries: not valid; got 7"),
    "tries elsewhere": (edit("manifest.json", earlier_tries=["../../etc"]), "expected a list of names of folders"),
    "time next to nothing": (
        edit("summary.json", completion_s=1e-320),
        "completion_s: not valid; got 1e-320, expected 0, a number from 1e-18 to 1e+18, or null",
    ),
    "rate of next to nothing": (
        edit("manifest.json", scenario={"name": "synthetic", "fabric": {"link_rate_mbps": 1e-320}}),
        "fabric.link_rate_mbps: too large or too small a number; got 1e-320, expected 0, or 1e-12 to 1e+18",
    ),
    "time next to nothing in a table": (
        replace_text("links.csv", r"^[0-9.]+,", "1e-320,"),
        "column t_s: '1e-320' is neither 0 nor at least 1e-18",
    ),
    "table cut": (cut("links.csv"), "links.csv: damaged table"),
    "table binary": (write("links.csv", b"\xff\xfe\x00"), "links.csv: cannot read a table"),
    "table of other columns": (replace_text("links.csv", r"^t_s,", "time,"), "links.csv: damaged table"),
    "table with a word for a number": (replace_text("links.csv", r"^[0-9.]+,", "soon,"), "links.csv: damaged table"),
    "table a folder": (make_folder("links.csv"), "links.csv: cannot read a table; got"),
    "table with a NUL": (replace_text("links.csv", r"^[0-9.]+,", "\x00,"), "links.csv: "),
    "table of an unknown interface": (replace_text("links.csv", r",l1-eth3,", ",l9-eth3,"), ""),
    "probes of an unknown host": (replace_text("probes.csv", r",h1,", ",h99,"), ""),
    "negative latency": (
        replace_text("probes.csv", r"^([0-9.]+,h[0-9],h[0-9],[0-9]+),[^,]*,", r"\1,-1,"),
        "column latency_s: '-1' is negative",
    ),
    "infinite time": (replace_text("links.csv", r"^[0-9.]+,", "inf,"), "column t_s: 'inf' is not a finite number"),
    "time not a number": (replace_text("links.csv", r"^[0-9.]+,", "nan,"), "column t_s: 'nan' is not a finite number"),
    "time without end": (replace_text("links.csv", r"^[0-9.]+,", "1e300,"), "is not a finite number of at most 1e+18"),
    "huge counter": (
        replace_text("links.csv", r"(eth3),[0-9]+,", r"\1," + 400 * "9" + ","),
        "column tx_bytes: '9999",
    ),
    "iteration that ends before it begins": (
        append("iterations.csv", "9,0,262144,5,4,1.0,0\n"),
        "column end_s: not possible here; got 4.0, expected at least start_s=5",
    ),
    "rank of another scenario": (append("ranks.csv", "1,0,99,h1,1,2,0,,,\n"), "column rank: not possible here; got 99"),
    "transfer of a rank there is not": (
        append("transfers.csv", TRANSFERS_HEADER + "1,0,0,99,h1,h2,64,1,2\n"),
        "transfers.csv: row 1, column dst_rank: not possible here; got 99, expected 0..3",
    ),
    "transfer to a host there is not": (
        append("transfers.csv", TRANSFERS_HEADER + "1,0,0,1,h1,h99,64,1,2\n"),
        "transfers.csv: row 1, column dst_host: not possible here; got 'h99', expected h1..h4",
    ),
    "transfer that ends before it begins": (
        append("transfers.csv", TRANSFERS_HEADER + "1,0,0,1,h1,h2,64,2,1\n"),
        "transfers.csv: row 1, column end_s: not possible here; got 1.0, expected at least start_s=2",
    ),
    "transfer of less than nothing": (
        append("transfers.csv", TRANSFERS_HEADER + "1,0,0,1,h1,h2,-64,1,2\n"),
        "row 1, column size_bytes: '-64' is negative",
    ),
    "message from a host there is not": (
        append("messages.csv", MESSAGES_HEADER + "1,h99,h2,0,64,0.1,0\n"),
        "messages.csv: row 1, column src_host: not possible here; got 'h99', expected h1..h4",
    ),
    "message that takes for ever": (
        append("messages.csv", MESSAGES_HEADER + "1,h1,h2,0,64,inf,0\n"),
        "row 1, column latency_s: 'inf' is not a finite number",
    ),
    "path of another fabric": (
        append("flows.csv", "1,0,h1,h2,10.0.1.1,10.0.2.1,1,2,s99,0,0,0,0,,,,\n"),
        "column path: not possible here; got 's99'",
    ),
    "table a pipe": (make_pipe("links.csv"), "links.csv: cannot read a table; got a FIFO, not a regular file"),
    "table without end": (make_device("links.csv"), "links.csv: cannot read a table; got a device"),
    "manifest a pipe": (make_pipe("manifest.json"), "manifest.json: cannot read a result; got a FIFO"),
    "manifest without end": (make_device("manifest.json"), "manifest.json: cannot read a result; got a device"),
    "summary a pipe": (make_pipe("summary.json"), "summary.json: cannot read a result; got a FIFO"),
    "run not finished": (
        edit("manifest.json", status="running"),
        "status: not valid; got 'running', expected finished",
    ),
    "scheme nobody has": (
        edit("manifest.json", scheme="../\x1b[2J"),
        "manifest.json: scheme: not valid; got '../\\x1b[2J', expected one of ecmp,",
    ),
    "seed true": (edit("manifest.json", seed=True), "manifest.json: seed: missing or of a wrong type; got True"),
    "seed huge": (edit("manifest.json", seed=10**400), "manifest.json: damaged JSON"),
    "seed large": (edit("manifest.json", seed=2**31), "manifest.json: seed: not valid; got 2147483648"),
    "versions with NaN": (edit("manifest.json", versions={"a": float("nan")}), "manifest.json: damaged JSON; got NaN"),
    "versions a list": (edit("manifest.json", versions=[1]), "manifest.json: versions: missing or of a wrong type"),
    "differences a number": (
        edit("manifest.json", events=[{"event": "read_back", "differences": 5}]),
        "events.0: not an event",
    ),
    "fabric without end": (
        edit(
            "manifest.json",
            scenario={
                "name": "x",
                "fabric": {"leaves": 255, "spines": 255, "hosts_per_leaf": 254, "links_per_pair": 16},
            },
        ),
        "leaves x hosts_per_leaf=64770, expected at most 4096",
    ),
    "summary of another seed": (
        edit("summary.json", seed=99),
        "summary.json: seed: not what the manifest says; got 99",
    ),
    "summary of another scheme": (edit("summary.json", scheme="uet"), "summary.json: scheme: not what the manifest"),
    "summary of another version": (
        edit("summary.json", format_version=1),
        "format_version: not what the manifest says; got 1, expected 3",
    ),
    "summary of the future": (edit("summary.json", format_version=77), "format_version: not what the manifest says"),
    "time huge": (edit("summary.json", completion_s=10**400), "summary.json: damaged JSON"),
    "time infinite": (edit("summary.json", completion_s=float("inf")), "summary.json: damaged JSON; got Infinity"),
    "time negative": (edit("summary.json", completion_s=-1), "completion_s: not valid; got -1"),
    "summary missing, agents silent": (
        both(remove("summary.json"), edit("manifest.json", events=[{"event": "agents"}])),
        "rows do not fit the scenario",
    ),
    "table missing": (remove("links.csv"), ""),
    "every table missing": (lambda run: [path.unlink() for path in run.glob("*.csv")] and None, ""),
    "summary missing": (remove("summary.json"), ""),
    "summary and tables missing": (
        lambda run: [path.unlink() for path in (*run.glob("*.csv"), run / "summary.json")] and None,
        "rows do not fit the scenario",
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_run_is_refused_or_drawn_as_far_as_it_goes(gse: Gse, stored: Path, tmp_path: Path, name: str) -> None:
    damage, said = DAMAGES[name]
    run = min(stored.iterdir())
    damage(run)
    answer = gse("plot", str(run), *SVG, "--out", str(tmp_path / "figures"))
    if said:
        assert_refused_after_tables(answer, said)
        assert not (tmp_path / "figures").exists()
    else:  # what is not there or is strange need not stop the rest
        assert answer.status in (0, 2), answer
        assert "Traceback" not in answer.err


def assert_refused_after_tables(answer: object, said: str) -> None:
    from dataclasses import replace

    assert_refused(replace(answer, out=""), said)  # type: ignore[type-var]


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder every user may look into (pytest's own are private)."""
    with tempfile.TemporaryDirectory(prefix="gse-test-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make files another user may not read")
def test_results_that_may_not_be_read_are_refused(reference: Path, public_folder: Path) -> None:
    if not nobody_can_read_the_project():
        pytest.skip("the checkout is private: no unprivileged user can start gse")
    runs = Path(shutil.copytree(reference, public_folder / "allreduce_ring"))
    (min(runs.iterdir()) / "links.csv").chmod(0o600)
    plotted = as_nobody("plot", str(runs), *SVG, "--out", str(public_folder / "figures"), may_read_all=False)
    assert_refused_after_tables(plotted, "links.csv: cannot read a table; got Permission denied")
    (min(runs.iterdir()) / "links.csv").chmod(0o644)
    plotted = as_nobody("plot", str(runs), *SVG, "--out", str(public_folder / "figures"), may_read_all=False)
    assert_refused_after_tables(plotted, "figures: cannot write a figure; got Permission denied")
    assert not (public_folder / "figures").exists()
    (min(runs.iterdir()) / "manifest.json").chmod(0o600)
    refused = as_nobody("plot", str(runs), may_read_all=False)
    assert_refused(refused, "manifest.json: cannot read a result; got Permission denied")
    runs.chmod(0o700)
    assert_refused(
        as_nobody("plot", str(runs), may_read_all=False),
        "allreduce_ring/manifest.json: cannot look into; got Permission denied",
    )
    listed = as_nobody("list", "--results", str(public_folder), may_read_all=False)
    assert_refused(listed, "allreduce_ring: cannot list runs; got Permission denied, expected permission for this user")
    public_folder.chmod(0o700)
    assert_refused(as_nobody("list", "--results", str(public_folder), may_read_all=False), "Permission denied")


@pytest.mark.parametrize("out", ["/proc/figures", "/etc/passwd/figures"])
def test_figures_that_cannot_be_written_are_refused(gse: Gse, stored: Path, out: str) -> None:
    assert_refused_after_tables(gse("plot", str(stored), *SVG, "--out", out), f"{out}: cannot write a figure; got")


def test_list_of_results_that_are_no_folder_is_refused(gse: Gse) -> None:
    assert_refused(gse("list", "--results", "/etc/passwd"), "/etc/passwd: cannot list runs; got Not a directory")


def test_figures_replace_links_and_never_follow_them(gse: Gse, stored: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (stored / "figures").mkdir()
    for name in ("completion.png", "completion.json"):
        (stored / "figures" / name).symlink_to(victim)
    assert gse("plot", str(stored)).status == 0
    assert victim.read_text() == "precious"
    assert not (stored / "figures" / "completion.png").is_symlink()
    assert (stored / "figures" / "completion.png").read_bytes().startswith(b"\x89PNG")
    assert not [path for path in stored.iterdir() if path.name.startswith(".")]


def test_figures_do_not_go_where_a_link_points(gse: Gse, stored: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (stored / "figures").symlink_to(tmp_path / "elsewhere")
    assert_refused(gse("plot", str(stored)), "figures: figures would go elsewhere; got a symbolic link")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_damaged_input_leaves_the_figures_there_are(gse: Gse, stored: Path, tmp_path: Path) -> None:
    assert gse("plot", str(stored), *SVG).status == 0
    before = {path.name: path.read_bytes() for path in (stored / "figures").iterdir()}
    cut("queues.csv")(min(stored.glob("2*")))
    assert gse("plot", str(stored), *SVG).status == 2
    assert {path.name: path.read_bytes() for path in (stored / "figures").iterdir()} == before


def test_what_a_stranger_wrote_does_not_steer_the_terminal(gse: Gse, stored: Path, tmp_path: Path) -> None:
    for run in found(stored, "2*"):
        edit("summary.json", reasons=["\x1b]0;pwned\x07\x1b[2J"], details={"bottleneck": "\x1b[2J"})(run)
    answer = gse("plot", str(stored), *SVG, "--out", str(tmp_path / "figures"))
    assert answer.status == 0
    assert "\x1b" not in answer.out
    assert "\\x1b[2J" in answer.out


def found(folder: Path, pattern: str) -> list[Path]:
    """Return the runs whose names are so, of which there have to be some."""
    runs = sorted(folder.glob(pattern))
    assert runs, f"no run is called {pattern}"
    return runs


def with_all_numbers(value: object, number: float) -> object:
    """Return a JSON value with every number in it replaced."""
    if isinstance(value, dict):
        return {name: with_all_numbers(one, number) for name, one in value.items()}
    if isinstance(value, list):
        return [with_all_numbers(one, number) for one in value]
    return number if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def views(gse: Gse, runs: Path, out: Path) -> Iterator[object]:
    """Yield what each command says that shows stored runs."""
    yield gse("table", str(runs), "--native-gbps", "200")
    yield gse("report", str(runs), "--native-gbps", "200", "--out", str(out / "page.html"))
    yield gse("plot", str(runs), *SVG, "--out", str(out / "figures"))


@pytest.mark.parametrize("number", [0, 1e-18, 1e18, 10**18], ids=str)
def test_any_number_a_summary_may_have_can_be_shown(gse: Gse, stored: Path, tmp_path: Path, number: float) -> None:
    """One run with the usual numbers, one with such ones, of each scheme: ratios between them are numbers."""
    for run in found(stored, "*seed1*"):
        document = json.loads((run / "summary.json").read_text())
        kept = {name: document[name] for name in ("format_version", "seed")}
        (run / "summary.json").write_text(json.dumps({**with_all_numbers(document, number), **kept}))  # type: ignore[dict-item]
    answers = list(views(gse, stored, tmp_path))
    assert len(answers) == 3
    for answer in answers:
        assert answer.status == 0 and "Traceback" not in answer.err, answer  # type: ignore[attr-defined]


@pytest.mark.parametrize("number", [5e-324, 1e-300, 1.1e18, 10**19, -1e-300], ids=str)
def test_numbers_no_run_has_measured_are_refused(gse: Gse, stored: Path, tmp_path: Path, number: float) -> None:
    for run in found(stored, "*gse1-seed2*"):
        edit("summary.json", efficiency=number, busbw_mbps=number)(run)
    for answer in views(gse, stored, tmp_path):
        assert_refused_after_tables(answer, "summary.json: ")
    assert not (tmp_path / "page.html").exists() and not (tmp_path / "figures").exists()


def test_a_reason_that_looks_like_a_formula_is_drawn_as_text(gse: Gse, stored: Path, tmp_path: Path) -> None:
    for run in found(stored, "*seed1*"):
        edit("summary.json", verdict="INVALID", reasons=["$\\frac{1}$ of $\\nothing$ \x1b[2J"])(run)
    answer = gse("plot", str(stored), *SVG, "--out", str(tmp_path / "figures"))
    assert answer.status == 0, answer
    assert "\x1b" not in (tmp_path / "figures" / "completion.svg").read_text()


def test_a_capture_that_is_no_file_is_refused_at_once(gse: Gse, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert_refused(gse("capture", "--read", str(tmp_path / "pipe")), "pipe: cannot be read; got a FIFO, not a regular")
    assert_refused(gse("capture", "--read", "/dev/zero"), "/dev/zero: cannot be read; got a device")
    assert_refused(gse("check", str(tmp_path / "pipe")), "pipe: cannot be read; got a FIFO")
    (tmp_path / "text").write_text("no capture")
    assert_refused(gse("capture", "--read", str(tmp_path / "text")), "text: cannot be read; got ")


def test_a_capture_file_is_read_as_far_as_is_asked_for(gse: Gse, tmp_path: Path) -> None:
    path = tmp_path / "x.pcap"
    with PcapWriter(str(path)) as out:
        for _ in range(3):
            out.write(Ether() / IP(dst="10.0.1.1") / UDP())
    assert len(gse("capture", "--read", str(path)).out.splitlines()) == 3
    assert len(gse("capture", "--read", str(path), "-c", "2").out.splitlines()) == 2
    assert "expected a number of frames from 1" in gse("capture", "--read", str(path), "-c", "0").err


def test_what_means_nothing_where_a_capture_file_is_read_is_refused(gse: Gse, tmp_path: Path) -> None:
    answer = gse("capture", "l1", "--read", str(tmp_path / "x.pcap"), "-w", str(tmp_path / "y.pcap"))
    assert_refused(answer, "--read: a file is only read; got NODE, -w, expected --read FILE alone, or with -c")
    assert list(tmp_path.iterdir()) == []

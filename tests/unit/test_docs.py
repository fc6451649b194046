"""What the documents point to exists."""

import argparse
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from testbed import __version__
from testbed.cli.main import COMMANDS, build_parser
from testbed.collectives.algorithms import ALGORITHMS
from testbed.evaluation.agents import SUMMED, AgentStats, agent_totals
from testbed.evaluation.records import Row, Tables, columns
from testbed.evaluation.usage import AGENT_ROLE
from testbed.fidelity import CHECKS, OUTSIDE, SLOW, THRESHOLDS, WRONG, Finding
from testbed.fidelity.program import FABRIC_CHECKS, check_missing_of_program
from testbed.gse.dataplane.counters import Counters
from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.journal import format as journal
from testbed.measurement.threadtimes import OTHER, ROLE_OF_MODULE, ROLE_OF_PROGRAM
from testbed.model.fault_spec import FaultAction
from testbed.model.scenario import SCHEMES, WorkloadKind
from testbed.runs.scenario_files import builtin_names
from testbed.views.plots import FIGURES
from testbed.views.quantities import COMPARED, QUANTITIES

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("scenarios/*.md"), *PROJECT.glob("results/*.md")]
)


def links_of(page: Path) -> list[str]:
    """Return what the links and images of a page lead to, without anchors; what is not ours is left out."""
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    return [name for name in targets if "://" not in name]


def files_of(page: Path) -> list[str]:
    """Return the files of ours that a page names, from the project's folder."""
    return re.findall(r"`((?:testbed|apps|benchmarks|tests|docs|tools|scenarios)/[\w/.-]+\.\w+)`", page.read_text())


def anchors_of(page: Path) -> list[tuple[Path, str]]:
    """Return the headings a page leads to, each with the page it is on."""
    targets = re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text())
    return [(page.parent / name if name else page, anchor) for name, anchor in targets if "://" not in name]


def options_of_page(page: Path) -> list[tuple[str, str]]:
    """Return the options a page names beside a command, each with the command."""
    named = re.findall(rf"\bgse ({'|'.join(COMMANDS)})\b([^`\n]*)", page.read_text())
    return [
        (command, option)
        for command, rest in named
        for option in re.findall(r"(?<![\w-])(?:--[a-z][a-z-]*|-[a-z]\b)", re.split(" (?:--|#) ", rest)[0])
    ]


@pytest.mark.parametrize(
    ("found_on", "least"), [(links_of, 80), (files_of, 100), (anchors_of, 30), (options_of_page, 60)]
)
def test_what_pages_point_to_is_looked_for_where_it_stands(found_on: Callable[[Path], list[Any]], least: int) -> None:
    """Else the tests below would ask nothing of what they do not find."""
    assert len([one for page in PAGES for one in found_on(page)]) >= least


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_relative_link_and_image_leads_somewhere(page: Path) -> None:
    assert [name for name in links_of(page) if not (page.parent / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_file_of_ours_a_page_names_exists(page: Path) -> None:
    assert [name for name in files_of(page) if not (PROJECT / name).exists()] == []


def test_what_the_architecture_says_a_file_has_is_defined_there() -> None:
    path = r"`((?:testbed|apps|tests)/[\w/]+\.py)`"
    text = (PROJECT / "docs/architecture.md").read_text()
    said = re.findall(rf"`([A-Za-z_][\w.]*)` (?:in |of |\(){path}", text)
    assert len(said) > 15

    def is_defined(name: str, file: str) -> bool:
        name = re.escape(name.rpartition(".")[2])
        found = re.search(rf"^ *(?:(?:class|def) {name}\b|{name}\b(?:: .*)? =)", (PROJECT / file).read_text(), re.M)
        return found is not None

    assert [(name, file) for name, file in said if not is_defined(name, file)] == []


def leads_somewhere(name: str) -> bool:
    """Return whether there is such a package or module of ours, or a module in which the next word of it occurs."""
    parts, there = name.split("."), PROJECT
    while parts and (there / parts[0]).is_dir():
        there /= parts.pop(0)
    if not parts:
        return True
    module = there / f"{parts.pop(0)}.py"
    return module.exists() and (not parts or re.search(rf"\b{parts[0]}\b", module.read_text()) is not None)


def test_what_our_code_points_to_in_words_exists() -> None:
    named = {
        (path.name, name)
        for path in (PROJECT / "testbed").rglob("*.py")
        for name in re.findall(r"``(testbed(?:\.\w+)+)", path.read_text())
    }
    assert len(named) > 50
    assert sorted((path, name) for path, name in named if not leads_somewhere(name)) == []


def slug(heading: str) -> str:
    """Return the anchor GitHub gives a heading."""
    kept = (letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return "".join(kept).strip().replace(" ", "-")


def anchors(page: Path) -> set[str]:
    return {slug(line.lstrip("#")) for line in page.read_text().splitlines() if line.startswith("#")}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_anchor_of_a_page_of_ours_is_a_heading_there(page: Path) -> None:
    assert [(there.name, anchor) for there, anchor in anchors_of(page) if anchor not in anchors(there)] == []


def options_of(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options of a command, those of its actions included."""
    found: set[str] = set()
    for action in parser._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= {option for below in action.choices.values() for option in options_of(below)}
    return found


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=lambda page: str(page.relative_to(PROJECT))
)
def test_every_option_a_page_names_beside_a_command_is_one_of_it(page: Path) -> None:
    (commands,) = (one for one in build_parser()._actions if isinstance(one, argparse._SubParsersAction))
    wrong = [
        f"gse {command} {option}"
        for command, option in options_of_page(page)
        if option not in options_of(commands.choices[command])
    ]
    assert wrong == []


def test_what_is_said_of_journals_and_headers_is_so() -> None:
    text = " ".join((PROJECT / "docs/results-format.md").read_text().split())
    assert f"Binary, version {journal.VERSION}, numbers in network order" in text
    events = text.partition("| other bodies | ")[2].partition(" |")[0]
    assert [int(kind) for kind in re.findall(r"[:;] (\d) ", events)] == sorted(journal._READERS)
    for page, words in (("fluid.md", "a data header of"), ("gse.md", "GSE's header of")):
        assert f"{words} {OVERHEAD_BYTES} bytes" in (PROJECT / "docs" / page).read_text()


def test_what_is_to_be_cited_is_this_version() -> None:
    cited = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    assert (cited["version"], cited["license"]) == (__version__, "Apache-2.0")
    assert cited["title"] and cited["authors"] and cited["message"]


def table_below(page: str, header: str) -> list[list[str]]:
    """Return the cells of a table's rows, by how its first line begins."""
    lines = (PROJECT / page).read_text().splitlines()
    (start,) = (number for number, line in enumerate(lines) if line.startswith(header))
    rows = takewhile(lambda line: line.startswith("|"), lines[start + 2 :])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


def names_in(text: str) -> list[str]:
    return re.findall(r"`([\w-]+)`", text)


def first_names(page: str, header: str) -> list[str]:
    return [name for row in table_below(page, header) for name in names_in(row[0])]


def test_every_counter_of_an_agent_is_explained_and_nothing_else() -> None:
    one = {
        "name": "l1",
        "epoch": 1,
        "counters": Counters().to_json(),
        "grants": 0,
        "socket_drops": 0,
        "queue_full": {},
        "unused_grant_bytes": {"no_demand": 0},
        "dgsq_wait_ms": {"p50": None, "p99": None},
    }
    stats: AgentStats = {"cpu_s": [0.0], "timers_late": [{}], "agents": [one]}
    counted = {*Counters().to_json(), *agent_totals([(stats, stats)]), "lost_in_fabric"} - {
        "cpu_s"
    }  # agent_cpu_s of the summary
    explained = first_names("docs/gse.md", "| counter |")
    assert sorted(explained) == sorted(counted)
    assert {"foreign", "faults_heard", "congestion_heard"} <= set(SUMMED) <= set(explained)
    text = (PROJECT / "docs" / "gse.md").read_text()
    alone = names_in(text.partition("Only in `raw/gsp-stats.json` are: ")[2].partition("\n")[0])
    assert set(alone) == Counters().to_json().keys() - agent_totals([(stats, stats)]).keys()


@pytest.mark.parametrize(
    ("page", "header", "room"),
    [
        ("docs/gse2.md", "| file | job |", "gse/dataplane"),
        ("docs/workloads.md", "| module | what it knows |", "training"),
    ],
)
def test_the_modules_of_a_room_that_a_page_lists_are_those_there_are(page: str, header: str, room: str) -> None:
    there = {path.stem for path in (PROJECT / "testbed" / room).glob("*.py")} - {"__init__"}
    listed = [cell.split(".")[0] for row in table_below(page, header) for cell in re.findall(r"`([\w.]+)`", row[0])]
    assert sorted(listed) == sorted(there)


def test_modules_beside_the_commands_say_that_they_are_none() -> None:
    modules = {path.stem: path.read_text() for path in (PROJECT / "testbed" / "cli").glob("*.py")}
    assert set(COMMANDS) < set(modules)
    silent = [
        name
        for name, text in modules.items()
        if ("Not a command." in text.split('"""')[1]) == (name in COMMANDS) and name not in ("__init__", "main")
    ]
    assert silent == []


def test_the_schemes_of_the_readme_are_those_there_are() -> None:
    assert sorted(first_names("README.md", "| scheme |")) == sorted(SCHEMES)


def test_the_scenarios_of_their_page_are_those_there_are() -> None:
    assert sorted(first_names("scenarios/README.md", "| name | question |")) == sorted(builtin_names())


def test_the_algorithms_of_their_page_are_those_there_are_the_default_first() -> None:
    rows = table_below("docs/workloads.md", "| operation | algorithms, the default first |")
    told = {names_in(row[0])[0]: re.findall(r"(?:^|; )`(\w+)`", row[1]) for row in rows}
    assert told == {operation: list(algorithms) for operation, algorithms in ALGORITHMS.items()}


def test_columns_in_tables_of_the_results_format_are_columns() -> None:
    assert len({row_type.FILE for row_type in Row.__subclasses__()}) == len(fields(Tables))
    sections = (PROJECT / "docs" / "results-format.md").read_text().split("\n### ")[1:]
    found = {section.splitlines()[0]: section for section in sections}
    for row_type in Row.__subclasses__():
        table = found[row_type.FILE].partition("| column | |\n")[2]
        rows = takewhile(lambda line: line.startswith("|"), table.splitlines())
        listed = [name for line in rows for name in names_in(line.split("|")[1])]
        assert set(listed) <= set(columns(row_type)) and len(set(listed)) == len(listed), row_type.FILE


def test_the_roles_of_threads_are_those_there_are() -> None:
    section = (PROJECT / "docs" / "results-format.md").read_text().partition("### threads.csv")[2]
    told = re.findall(r"`role` \(`([^`]+)`\)", section)[0].split()
    assert set(told) == {*ROLE_OF_MODULE.values(), *ROLE_OF_PROGRAM.values(), AGENT_ROLE, "rank", OTHER}


def checks_of(functions: Sequence[Callable[..., Finding | None]]) -> set[str]:
    """Return the names under which functions report, read from their text."""
    texts = [inspect.getsource(function) for function in functions]
    return {name for text in texts for name in re.findall(r'(?:grade|Finding)\(\s*"(\w+)"', text)}


def test_which_checks_apply_to_programs_is_said() -> None:
    applying, not_applying, *own = table_below("docs/exec.md", "| checks of `gse run` |")
    applied = checks_of(FABRIC_CHECKS) | checks_of([check_missing_of_program])
    assert sorted(names_in(applying[0])) == sorted(applied)
    assert sorted(names_in(not_applying[0])) == sorted(set(THRESHOLDS) - applied)
    assert sorted(name for row in own for name in names_in(row[0])) == ["no_traffic", "program_failed"]
    assert checks_of(CHECKS) == set(THRESHOLDS)


def test_what_makes_a_run_be_made_again_is_said() -> None:
    text = (PROJECT / "docs" / "results-format.md").read_text()
    told = text.partition("`--repeat-disturbed N` makes a run again, up to N times, when ")[2]
    assert set(names_in(told.partition("is among its checks")[0])) == OUTSIDE


def test_which_checks_judge_results_is_said() -> None:
    rows = table_below("docs/compare.md", "| left out as INVALID by |")
    slow, wrong, machine = (set(names_in(row[1])) for row in rows)
    make_invalid = {name for name, limit in THRESHOLDS.items() if limit.invalid is not None}
    assert (slow, wrong) == (SLOW & make_invalid, WRONG & make_invalid)
    assert machine == make_invalid - SLOW - WRONG
    assert THRESHOLDS.keys() >= SLOW | WRONG and not SLOW & WRONG


def test_the_limits_of_checks_are_those_there_are() -> None:
    rows = table_below("docs/results-format.md", "| check | SUSPECT above")
    told = {names_in(row[0])[0]: [None if cell == "never" else float(cell) for cell in row[1:]] for row in rows}
    assert told == {name: [limit.suspect, limit.invalid] for name, limit in THRESHOLDS.items()}


def test_the_numbers_of_sweeps_and_comparisons_are_listed() -> None:
    text = (PROJECT / "docs" / "results-format.md").read_text()
    listed = first_names("docs/results-format.md", "| quantity | from summary.json |")
    assert sorted(listed) == sorted(one.key for one in QUANTITIES)
    after = text.partition("`gse compare` tests the same numbers")[2]
    not_compared = re.findall(r"`(\w+)`", after.partition("but ")[2].partition(", which")[0])
    assert sorted(not_compared) == sorted({one.key for one in QUANTITIES} - {one.key for one in COMPARED})


def test_the_figures_of_the_results_format_are_those_there_are() -> None:
    assert sorted(first_names("docs/results-format.md", "| figure | what it shows |")) == sorted(FIGURES)


def test_tables_have_no_gap_that_ends_them() -> None:
    for page in PAGES:
        lines = page.read_text().splitlines()
        for before, gap, after, below in zip(lines, lines[1:], lines[2:], lines[3:], strict=False):
            broken = before.startswith("|") and gap == "" and after.startswith("|") and not below.startswith("|---")
            assert not broken, f"{page}: {after}"


@pytest.mark.parametrize(
    ("what", "names", "several"),
    [("a scheme", SCHEMES, 4), ("a workload", get_args(WorkloadKind), 2), ("a fault", get_args(FaultAction), 2)],
)
def test_what_a_new_one_needs_has_every_file_that_names_several(what: str, names: Sequence[str], several: int) -> None:
    lines = (PROJECT / "docs/architecture.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith(f"| {what} |"))
    naming = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "testbed").rglob("*.py")
        if sum(f'"{name}"' in path.read_text() for name in names) >= several
    }
    assert naming
    assert {path for path in naming if path not in row} == set()


def test_where_single_schemes_are_asked_for_by_name_is_said() -> None:
    lines = (PROJECT / "docs/architecture.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| a scheme |"))
    one = f'"(?:{"|".join(SCHEMES)})"'
    asked = re.compile(rf"scheme (?:==|!=) {one}|{one} in \w+\.schemes|\.of\({one}\)")
    asking = {
        str(path.relative_to(PROJECT))
        for path in (PROJECT / "testbed").rglob("*.py")
        if asked.search(path.read_text()) and path.parent.name != "fluid"  # of clusters: docs/fluid.md
    }
    assert len(asking) > 5
    assert {path for path in asking if path not in row} == set()

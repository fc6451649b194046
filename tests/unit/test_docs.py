"""What the documents point to exists."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

import pytest

from testbed.evaluation.agents import SUMMED
from testbed.gse.dataplane.counters import Counters
from testbed.model.scenario import SCHEMES, FaultAction, WorkloadKind
from testbed.views.quantities import COMPARED, QUANTITIES

PROJECT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*PROJECT.glob("*.md"), *PROJECT.glob("docs/*.md"), *PROJECT.glob("scenarios/*.md"), *PROJECT.glob("results/*.md")]
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_relative_link_and_image_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text())
    missing = [name for name in targets if "://" not in name and not (page.parent / name).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_every_file_of_ours_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:testbed|apps|tests|docs|tools|scenarios)/[\w/.-]+\.\w+)`", page.read_text())
    assert [name for name in named if not (PROJECT / name).exists()] == []


def test_every_counter_of_an_agent_is_explained() -> None:
    section = (PROJECT / "docs" / "gse.md").read_text().partition("## What agents count")[2].partition("\n## ")[0]
    first_cells = " ".join(line.split("|")[1] for line in section.splitlines() if line.startswith("|"))
    explained = set(re.findall(r"`(\w+)`", first_cells))
    assert set(Counters().to_json()) - explained == set()
    assert {"foreign", "faults_heard", "congestion_heard"} <= set(SUMMED) <= explained


def test_the_numbers_of_sweeps_and_comparisons_are_listed() -> None:
    text = (PROJECT / "docs" / "results-format.md").read_text()
    table, _, after = text.partition("| quantity | from summary.json |")[2].partition("\n\n")
    listed = [name for line in table.splitlines()[1:] for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert sorted(listed) == sorted(one.key for one in QUANTITIES)
    not_compared = re.findall(r"`(\w+)`", after.partition("but ")[2].partition(", which")[0])
    assert sorted(not_compared) == sorted({one.key for one in QUANTITIES} - {one.key for one in COMPARED})


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

"""What the documents point to exists."""

import re
from pathlib import Path

import pytest

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

"""Nothing that is shown steers the terminal, whatever it is shown in; rich's own colours and bars are left alone."""

from __future__ import annotations

import io
import re

import pytest
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from testbed.cli.console import Console
from testbed.cli.progress import CampaignProgress
from testbed.views.cells import Grid
from testbed.views.tables import rendered

HOSTILE = "\x1b]0;pwned\x1b[2J\x9b31mred\u202e[bold]x[/nothing]"
WRITTEN = "\\x1b]0;pwned\\x1b[2J\\x9b31mred\\u202e"
OURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]|\x1b\[\?25[lh]")  # colours, lines up, the cursor shown and hidden


def shown(*what: object, terminal: bool = False, width: int = 300, markup: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system="truecolor" if terminal else None)
    for one in what:
        console.print(one, markup=markup, highlight=False)
    return out.getvalue()


@pytest.mark.parametrize("terminal", [False, True], ids=["pipe", "terminal"])
def test_sentences_and_tables_show_escapes_as_text(terminal: bool) -> None:
    table = Table(title=Text(HOSTILE))
    table.add_column(Text(HOSTILE))
    table.add_row(Text(HOSTILE))
    text = shown(HOSTILE, Text(HOSTILE, style="bold red"), table, terminal=terminal)
    assert text.count(WRITTEN) >= 2
    assert set("\x1b\x9b\u202e") & set(OURS.sub("", text)) == set()
    assert ("\x1b[1;31m" in text) == terminal  # the colour is ours


def test_lines_stay_lines() -> None:
    assert shown("one\ntwo\x1b") == "one\ntwo\\x1b\n"


def test_bars_still_move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")  # a dumb one has no bars
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with Progress(console=console, auto_refresh=False) as progress:
        progress.add_task("task", total=1)
        progress.refresh()
        progress.refresh()
    assert "\x1b[2K" in out.getvalue() and "\\x1b" not in out.getvalue()


def test_what_is_in_a_grid_is_neither_markup_nor_an_escape_and_has_the_width_that_is_seen() -> None:
    grid = Grid(HOSTILE, (HOSTILE, "b\nbelow"), ((HOSTILE, "1"), ("plain", "22")), (HOSTILE,))
    text = shown(rendered([grid]), markup=True)
    assert text.count(f"{WRITTEN}[bold]x[/nothing]") == 4
    assert "\x1b" not in text
    rows = [line.rstrip() for line in text.splitlines() if line.rstrip().endswith((" 1", " 22"))]
    assert [len(row) for row in rows] == [len(rows[0])] * 2  # the column of numbers is as far to the right in both
    narrow = shown(rendered([grid]), width=40)
    assert all(len(line) <= 40 for line in narrow.splitlines())


def test_a_value_that_looks_like_markup_ends_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    with CampaignProgress([1.0]) as progress:
        progress.on_event({"event": "run", "point": "workload.kind=[/x]", "scheme": "gse1", "seed": 1})
        progress.on_event({"event": "phase", "phase": "agents"})
    (task,) = progress._progress.tasks
    assert task.description.startswith("run 1/1 workload.kind=\\[/x] ")

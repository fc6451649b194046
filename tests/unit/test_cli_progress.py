"""What is said of a campaign while it runs, on a terminal and into a file."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from testbed.cli.progress import CampaignProgress

TOLD_AT_ONCE: list[tuple[dict[str, Any], str]] = [
    ({"event": "process_behind", "message": "rank 3 on h4 falls behind"}, "rank 3 on h4 falls behind"),
    ({"event": "warning", "message": "12 frames are not sent"}, "12 frames are not sent"),
    ({"event": "fault", "action": "link_down", "target": "l1-s1"}, "link_down l1-s1"),
    ({"event": "workload_failed", "message": "rank 3 on h4 was killed"}, "rank 3 on h4 was killed; taking all down"),
]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize(("event", "said"), TOLD_AT_ONCE, ids=[event["event"] for event, _said in TOLD_AT_ONCE])
def test_what_is_to_be_known_at_once_is_said_wherever_it_is_read(
    event: dict[str, Any],
    said: str,
    terminal: bool,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    CampaignProgress([1.0]).on_event(event)
    assert said in capsys.readouterr().err


def test_a_failure_nobody_gave_a_reason_for_is_told_all_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    for error in ("", "\n", "why\nand how"):
        CampaignProgress([1.0]).on_event({"event": "run_failed", "error": error, "run_dir": "x.failed"})
    said = capsys.readouterr().err
    assert "failed: no reason given" in said and "failed: why\n" in said

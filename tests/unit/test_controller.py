"""What is said of a GSOS that does not come to control its switches."""

from __future__ import annotations

from typing import Any

import pytest

from testbed.errors import ControllerError
from testbed.fabric.controller import require_ready

SWITCHES = [f"l{leaf}" for leaf in range(1, 65)]
STATUS: dict[str, Any] = {
    "scheme": "gse1",
    "ready": False,
    "expected": SWITCHES,
    "connected": SWITCHES,
    "not_ready": [],
    "switch_errors": [],
}


def test_a_gsos_that_is_ready_is_no_error() -> None:
    require_ready({**STATUS, "ready": True}, 30.0)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"not_ready": ["l1", "s2"]}, "GSOS is not ready after 30 s, without control of l1, s2"),
        (
            {"not_ready": SWITCHES},
            "GSOS is not ready after 30 s, without control of l1, l2, l3, l4, l5, l6, l7, l8 and 56 more",
        ),
        (
            {"not_ready": ["l7"], "switch_errors": ["l7: type 5 code 0, xid 0x9"]},
            "GSOS is not ready, a switch refused its rules: l7: type 5 code 0, xid 0x9",
        ),
    ],
)
def test_the_reason_is_said_however_large_the_fabric(found: dict[str, Any], said: str) -> None:
    with pytest.raises(ControllerError) as raised:
        require_ready({**STATUS, **found}, 30.0)
    assert str(raised.value) == said

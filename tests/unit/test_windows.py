"""Sizes of grants and windows that no agent could be set to are refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from synthetic_runs import scenario_of

from testbed.model.scenario import SCHEMES
from testbed.model.schemes import SETTINGS, profile_of
from testbed.model.windows import window_problems

FIVE_FRAMES = 5 * 9014  # a grant of four and one beside it


@pytest.mark.parametrize(
    ("gsp", "schemes", "said"),
    [
        (
            {"window_bytes": FIVE_FRAMES - 1},
            ["gse2-n2n"],
            ["gsp.window_bytes: a window smaller than a grant and a frame"],
        ),
        (
            {"window_bytes": 20_000, "port_window_bytes": 20_000},
            ["ecmp", "gse2-n2n", "gse2-e2e"],
            ["gsp.window_bytes: ", "gsp.port_window_bytes: "],
        ),
        ({"window_bytes": 50_000, "port_window_bytes": 46_000}, ["gse2-n2n"], ["could never use its own"]),
    ],
)
def test_windows_that_do_not_fit_are_explained(gsp: dict[str, Any], schemes: list[str], said: list[str]) -> None:
    problems = [str(problem) for problem in window_problems(scenario_of(gsp=gsp, schemes=schemes))]
    assert len(problems) == len(said)
    for problem, text in zip(problems, said, strict=True):
        assert text in problem


def test_settings_no_agent_accepts_are_explained() -> None:
    slow = scenario_of(fabric={"link_rate_mbps": 0.001}, schemes=["gse2-n2n"])
    assert any("agents of gse2-n2n: hello_wait_s: not valid" in str(problem) for problem in window_problems(slow))


@pytest.mark.parametrize(
    ("gsp", "schemes"),
    [
        ({"window_bytes": 9014}, ["ecmp", "gse1"]),  # nobody uses it
        ({"window_bytes": FIVE_FRAMES, "port_window_bytes": FIVE_FRAMES}, ["gse2-n2n"]),
        ({"window_bytes": 27_042}, ["uet"]),  # grants two frames
        ({"port_window_bytes": FIVE_FRAMES}, ["gse2-n2n"]),  # less than the window nobody asked for
        ({}, list(SCHEMES)),
    ],
)
def test_what_passes_can_be_set(gsp: dict[str, Any], schemes: list[str]) -> None:
    scenario = scenario_of(gsp=gsp, schemes=schemes)
    assert window_problems(scenario) == []
    for scheme in schemes:
        if SETTINGS[scheme].attachment != "none":
            assert profile_of(scheme, scenario.fabric, scenario.gsp)

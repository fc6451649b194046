"""Do the sizes of grants and of windows fit each other under every scheme of a scenario? Pure.

``testbed.model.scenario`` knows what was set; only a scheme says how much one grant is where it was not. A run that
cannot be set up is refused here, before anything starts.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import ValidationError

from testbed.errors import Problem
from testbed.gse.dataplane.profile import Profile
from testbed.model.scenario import Scenario
from testbed.model.scenario_input import problems_from
from testbed.model.schemes import SETTINGS, profile_of

WINDOWS = ("window_bytes", "port_window_bytes")


def window_problems(scenario: Scenario) -> list[Problem]:
    """Return what no agent could be set to: windows below one grant, or below each other, derived sizes included."""
    where, gsp = f"scenario {scenario.name}", scenario.gsp
    problems: list[Problem] = []
    schemes_of: dict[int, list[str]] = {}  # by the least window
    for scheme in scenario.schemes:
        if SETTINGS[scheme].attachment == "none":
            continue
        try:
            derived = gsp.model_copy(update=dict.fromkeys(WINDOWS))
            profile = profile_of(scheme, scenario.fabric, derived)
            schemes_of.setdefault(profile.quantum_bytes + profile.frame_bytes, []).append(scheme)
        except ValidationError as error:
            problems += problems_from(error, f"{where}: agents of {scheme}", Profile)
    for least_bytes, schemes in schemes_of.items():
        problems += _below_a_grant(scenario, least_bytes, schemes)
    if schemes_of and None not in (gsp.window_bytes, gsp.port_window_bytes) and not problems:
        problems += _below_each_other(scenario)
    return problems


def _below_a_grant(scenario: Scenario, least_bytes: int, schemes: list[str]) -> Iterator[Problem]:
    for name in WINDOWS:
        value = getattr(scenario.gsp, name)
        if value is not None and value < least_bytes:
            expected = (
                f"at least {least_bytes}, the largest single grant (quantum) and a frame, under {', '.join(schemes)}"
            )
            where = f"scenario {scenario.name}: gsp.{name}"
            yield Problem("a window smaller than a grant and a frame may never be used", where, str(value), expected)


def _below_each_other(scenario: Scenario) -> Iterator[Problem]:
    gsp = scenario.gsp
    assert gsp.window_bytes is not None and gsp.port_window_bytes is not None
    if gsp.port_window_bytes < gsp.window_bytes:
        what = "a port's window smaller than one queue's: the queue could never use its own"
        where = f"scenario {scenario.name}: gsp.port_window_bytes"
        yield Problem(what, where, str(gsp.port_window_bytes), f"at least gsp.window_bytes={gsp.window_bytes}")

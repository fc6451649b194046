"""Which settings a scheme sees at all: those of agents where there are some, those of GSOS where it moves flows.

A setting that none of a scenario's schemes sees would be dropped silently. Where it is asked for it is refused
(``--set``, ``--over``); a scenario may have it for schemes that are not run just now, and then it is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from testbed.errors import Problem
from testbed.model.scenario import GsosSpec, GspSpec, Scenario, SchemeName
from testbed.model.schemes import SETTINGS

OF_AGENTS: Final = "a scheme with agents that decide, e.g. --schemes gse2-n2n"
OF_FLOWLETS: Final = "scheme flowlet"
OF_GSE1: Final = "scheme gse1"
# GSOS polls its switches under every scheme, and who repairs dead uplinks is checked with the scenario.
EVERYWHERE: Final = frozenset({"gsos.poll_interval_s", "gsos.repair"})
AUTHORISE: Final = "gsos.authorise"


def sees(field: str, scheme: SchemeName) -> bool:
    """Return whether a setting means anything under a scheme; of all but ``gsp`` and ``gsos`` it does."""
    settings = SETTINGS[scheme]
    if field == "gsp.flowlet_gap_ms":
        return settings.profile.get("unit") == "flowlet"
    if field.startswith("gsp."):
        return settings.attachment != "none" and not settings.passthrough
    return not field.startswith("gsos.") or field in EVERYWHERE or scheme == "gse1"


def needed(field: str) -> str:
    """Return in words which schemes see a setting that not all see."""
    if field == "gsp.flowlet_gap_ms":
        return OF_FLOWLETS
    return OF_AGENTS if field.startswith("gsp.") else OF_GSE1


def why_not(field: str, schemes: Sequence[SchemeName]) -> str:
    """Return in words why these schemes, which do not see a setting, do not."""
    if field == "gsp.flowlet_gap_ms":
        return "no flowlets"
    if field.startswith("gsos."):
        return "GSOS moves no flows"
    bare = all(SETTINGS[scheme].attachment == "none" for scheme in schemes)
    return "no agents" if bare else "no agents, or such as decide nothing"


def untouched(field: str, schemes: Sequence[SchemeName]) -> tuple[SchemeName, ...]:
    """Return the schemes that do not see a field."""
    return tuple(scheme for scheme in schemes if not sees(field, scheme))


def idle_settings(scenario: Scenario) -> Iterator[Problem]:
    """Yield every setting that is not the default and that nothing of the scenario sees."""
    for section, spec, usual in (("gsp", scenario.gsp, GspSpec()), ("gsos", scenario.gsos, GsosSpec())):
        for name, value in spec:
            field, schemes = f"{section}.{name}", scenario.schemes
            if value == getattr(usual, name):
                continue
            where = f"scenario {scenario.name}: {field}"
            if untouched(field, schemes) == schemes:
                got = f"{value} with schemes {', '.join(schemes)}"
                yield Problem("a setting without effect", where, got, needed(field))
            elif field == AUTHORISE and not scenario.workload.announce:
                got = f"{value} with flows that nobody announces"
                yield Problem("a setting without effect", where, got, "workload.announce=true, and not gse exec")


def parted(scenario: Scenario, asked: Iterable[str]) -> tuple[list[Problem], list[Problem]]:
    """Return the settings without effect that were asked for by name, and the others, which the scenario has."""
    fields = set(asked)
    idle = list(idle_settings(scenario))
    refused = [problem for problem in idle if problem.where.rpartition(" ")[2] in fields]
    return refused, [problem for problem in idle if problem not in refused]

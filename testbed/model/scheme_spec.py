"""The schemes by name, and what GSOS and the agents may be set to. Pure.

Apart from ``testbed.model.scenario`` because GSOS, which starts with every fabric, needs this and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, get_args

from pydantic import Field

from testbed.fields import Count, SizeBytes, Spec
from testbed.model.fabric_spec import FabricSpec
from testbed.units import GIB, MIB

SchemeName = Literal["ecmp", "gse1", "gse2-n2n", "gse2-e2e", "spray", "flowlet", "uet", "ecmp-agents"]
SCHEMES: tuple[SchemeName, ...] = get_args(SchemeName)
Repair = Literal["local", "controller"]
# Where flows follow rules that GSOS can change; elsewhere agents leave dead paths, whatever GSOS does.
REPAIRED_BY_GSOS: frozenset[SchemeName] = frozenset({"ecmp", "ecmp-agents", "gse1"})
DEFAULT_SCHEMES: tuple[SchemeName, ...] = ("ecmp", "gse1")
WITHOUT_AGENTS: frozenset[SchemeName] = frozenset({"ecmp", "gse1"})


class GsosSpec(Spec):
    """Settings of the controller (scheme gse1; ``repair``: ecmp too)."""

    repair: Repair = Field(
        "local",
        description="who takes a leaf's own dead uplink out of use: local, the leaf as soon as carrier is lost; "
        "controller, GSOS when the leaf has told it (ecmp and gse1 without parallel links)",
    )
    poll_interval_s: float = Field(0.5, ge=0.05, le=60, description="period of port and flow counters")
    hot_utilization: float = Field(0.9, gt=0, le=1, description="a link above this is hot")
    hot_polls: Count = Field(2, ge=1, le=100, description="polls in a row before a hot link is acted on")
    min_gain_fraction: float = Field(
        0.1, ge=0, le=1, description="hysteresis: a move must lower the flow's worst link by this much"
    )
    hold_s: float = Field(2.0, ge=0, le=3600, description="a moved flow stays put at least this long")
    authorise: bool = Field(
        False, description="tell announced flows what they may send where several hosts share a full link"
    )
    restore_hold_s: float = Field(1.0, ge=0, le=3600, description="clean seconds before a mended path is used")


class GspSpec(Spec):
    """Settings of the GSP agents (schemes with agents). Unset: derived from the fabric, see testbed.model.schemes."""

    container_bytes: SizeBytes | None = Field(
        None, ge=64, le=MIB, description="a container closes before it exceeds this"
    )
    pacing: float | None = Field(None, gt=0, le=1, description="grants per port, as a fraction of its rate")
    window_bytes: SizeBytes | None = Field(None, ge=64, le=GIB, description="granted but not received, per queue")
    port_window_bytes: SizeBytes | None = Field(None, ge=64, le=GIB, description="the same for all queues of a port")
    standing_credit_bytes: SizeBytes | None = Field(
        None, ge=0, le=MIB, description="credit an active queue keeps beyond its demand; 0: always ask first"
    )
    reorder: bool | None = Field(None, description="restore order at the destination; unset: as the scheme has it")
    retransmit: bool = Field(True, description="sources send again what destinations miss; where order is restored")
    back_pressure: bool = Field(True, description="pause a sender whose source queue is nearly full, before it drops")
    gap_ms: float | None = Field(None, gt=0, le=60_000, description="a gap in the order older than this is given up")
    flowlet_gap_ms: float | None = Field(None, gt=0, le=60_000, description="a flow silent for so long may change path")
    hello_ms: float = Field(
        20.0, gt=0, le=1_000, description="period of path checks; a path that does not answer is asked again sooner"
    )
    hello_misses: Count = Field(3, ge=1, le=100, description="hellos missing in a row: the path is dead")
    journal: bool = Field(
        False,
        description="each agent records in raw/ what enters and leaves its core, for gse replay; takes processor time, "
        "and on disk twice what hosts send",
    )


def repair_mistakes(repair: Repair, schemes: Iterable[str], fabric: FabricSpec) -> Iterable[str]:
    """Yield why ``gsos.repair`` cannot be honoured under these schemes."""
    if repair == "local":
        return
    said = f"gsos.repair={repair} cannot be honoured with"
    if others := [scheme for scheme in schemes if scheme not in REPAIRED_BY_GSOS]:
        yield (
            f"{said} schemes={', '.join(others)}: agents leave dead paths by themselves; "
            f"expected local, or only schemes {', '.join(sorted(REPAIRED_BY_GSOS))}"
        )
    if fabric.links_per_pair > 1:
        yield (
            f"{said} fabric.links_per_pair={fabric.links_per_pair}: spines choose among parallel links by themselves; "
            "expected local, or one link per pair"
        )

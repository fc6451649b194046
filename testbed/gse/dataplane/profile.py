"""Every setting of the data plane, in one value: what the schemes are, and what sweeps vary.

Sizes count inner Ethernet frames. Defaults are what tests of the core begin with: round numbers for links of 10 Mbit/s
and an MTU of 9000 (a frame takes 7.2 ms per link), with small windows and nothing sent again. No run has them: a run's
are derived from its fabric by ``testbed.model.schemes.profile_of``.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from testbed.units import MIB

MOST_BYTES = 64 * 1024 * MIB
MOST_S = 86_400
Unit = Literal["container", "packet", "flowlet", "flow"]
Admission = Literal["none", "dgsq"]


class Profile(BaseModel):
    """How GSPs (or host agents) spread, admit and order. Immutable; unknown fields are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unit: Unit = Field("container", description="what takes one path")
    admission: Admission = Field("dgsq", description="dgsq: ask, be granted, send; none: send at once")
    reorder: bool = Field(True, description="restore order before the host sees a frame")
    frame_bytes: int = Field(9014, ge=64, le=MIB, description="a full frame")
    container_bytes: int = Field(36_056, ge=64, le=MIB, description="a container closes before it exceeds this")
    spread_slack_bytes: int = Field(0, ge=0, le=MOST_BYTES, description="paths this close are chosen among at random")
    flowlet_gap_s: float = Field(0.05, gt=0, le=MOST_S, description="a flow silent for so long may change path")
    pacing: float = Field(0.985, gt=0, le=1, description="grants per port, as a fraction of its rate")
    quantum_bytes: int = Field(36_056, ge=64, le=MIB, description="largest single grant: what a queue gets on its turn")
    window_bytes: int = Field(144_224, ge=64, le=MOST_BYTES, description="granted but not received, per queue, at most")
    port_window_bytes: int = Field(180_280, ge=64, le=MOST_BYTES, description="the same for all queues of a port")
    deliver_bytes: int = Field(180_280, ge=64, le=MOST_BYTES, description="waits in front of a host at most, under N2N")
    release_bytes: int = Field(18_028, ge=64, le=MIB, description="leaves at once at most, per link of the GSP's own")
    standing_credit_bytes: int = Field(1500, ge=0, le=MIB, description="credit an active queue keeps beyond its demand")
    grant_hold_s: float = Field(
        0.0144, ge=0, le=60, description="a grant to a steady queue waits this long for data to ride on"
    )
    request_retry_s: float = Field(0.1, gt=0, le=MOST_S, description="a starved queue asks again this often")
    age_s: float = Field(0.4, gt=0, le=MOST_S, description="a queue empty for so long is closed")
    watchdog_s: float = Field(0.5, gt=0, le=MOST_S, description="no grant for so long: alarm; three times: dropped")
    gap_s: float = Field(0.4, gt=0, le=MOST_S, description="a gap in the order older than this is given up")
    reorder_buffer_bytes: int = Field(MIB, ge=64, le=MOST_BYTES, description="waiting out of order, per queue, at most")
    retransmit: bool = Field(False, description="the source keeps frames and sends reported ones again")
    loss_report_s: float = Field(0.1, gt=0, le=MOST_S, description="a gap this old is reported when retransmit is on")
    congestion_s: float = Field(0.043, gt=0, le=MOST_S, description="excess delay of a path that is one level of CONG")
    congestion_report_s: float = Field(0.1, gt=0, le=MOST_S, description="how often slow paths are reported")
    mark_s: float = Field(
        0.2, gt=0, le=MOST_S, description="a frame that waited longer at its source leaves with ECN CE"
    )
    limit_bytes: int = Field(4 * MIB, ge=64, le=MOST_BYTES, description="a longer source queue drops, and counts it")
    back_pressure: bool = Field(True, description="a sender whose queue is nearly full is paused before it drops")
    hello_s: float = Field(0.02, gt=0, le=60, description="period of path checks")
    hello_proven_s: float = Field(0.2, gt=0, le=60, description="the same where frames arrive all the time")
    hello_wait_s: float = Field(0.0144, gt=0, le=60, description="a path has not answered after this: asked again")
    hello_retry_s: float = Field(0.005, gt=0, le=60, description="and again after this")
    hello_misses: int = Field(3, ge=1, le=100, description="missing in a row: the path is dead")
    restore_s: float = Field(1.0, ge=0, le=3600, description="a path works for so long before it is used again")

    @model_validator(mode="after")
    def _fits_together(self) -> Profile:
        least = self.quantum_bytes + self.frame_bytes  # a grant beside a rest that is no frame: else none ever fits
        for name in ("window_bytes", "port_window_bytes"):
            if getattr(self, name) < least:
                raise ValueError(
                    f"{name}={getattr(self, name)}; expected >= quantum_bytes + frame_bytes = "
                    f"{self.quantum_bytes} + {self.frame_bytes}"
                )
        if self.retransmit and self.gap_s <= self.loss_report_s:
            raise ValueError(
                f"gap_s={self.gap_s:g} with retransmit; expected > loss_report_s={self.loss_report_s:g}: "
                "lost frames would be given up before they are reported"
            )
        return self

    @property
    def by_grant(self) -> bool:
        """Whether senders ask and a destination grants."""
        return self.admission == "dgsq"

    @property
    def pauses_senders(self) -> bool:
        """Whether there is back-pressure: it is wanted, and something waits in source queues."""
        return self.back_pressure and self.by_grant

    def to_json(self) -> dict[str, Any]:
        """Return every setting as JSON, for the manifest."""
        return self.model_dump(mode="json")

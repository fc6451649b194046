"""What each scheme is: where its agents stand and how they are set; what depends on the fabric is derived here.

A full frame takes ``frame_s`` on a link; a frame crosses four links, its grant four back. From that follow the window
(one and a half times what a link carries in a round trip, RFC 8085's bandwidth-delay product and half as much again
for uneven paths) and the timers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from testbed.gse.dataplane.profile import Profile
from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.model.attachment import Attachment
from testbed.model.delay import LINKS_PER_PATH, SOFTWARE_S, frame_time_s, round_trip_s
from testbed.model.fabric_spec import FabricSpec
from testbed.model.scheme_spec import GspSpec
from testbed.units import KIB, MIB, mbps_to_bytes_per_s
from testbed.wire import frame_bytes

QUANTUM_FRAMES: Final = 4  # of a grant
# Leaves do not know what others send to a downlink, and their containers meet there: two frames wait for less than
# four do (`permutation`: 0.93 of the limit instead of 0.89, docs/gse.md).
CONTAINER_FRAMES_OF_LEAVES: Final = 2
# Hosts do not know what others of their leaf send: containers that meet on an uplink wait for each other, the longer
# they are (the sweep in docs/gse.md: 0.97 of the limit with one frame of 9000, 0.94 with two, 0.87 with four).
CONTAINER_BYTES_OF_HOSTS: Final = 9 * KIB
LEAST_BYTES: Final = 16 * KIB  # of a leaf's container and of a grant; the latter is the UEC reference simulator's
# Of containers that meet on a link, before a gap is a loss. At MTU 1500 and 2.5 Mbit/s (4x4x4, N2N) a probe took up to
# 0.24 s, 4.6 containers' time; where a gap was a loss after two round trips of frames, 0.09 s, 50 and 180 frames a run
# were sent again that had arrived.
CONTAINERS_APART: Final = 8
CREDIT_FRAMES_OF_UET: Final = 2
RELEASE_FRAMES: Final = 2  # one that is being sent and one behind it, so that a late timer leaves no gap
LATE_TIMER_S: Final = 0.002  # a millisecond, in which timers count, and as much for a busy machine
TIMER_LEAST_S: Final = 0.02
GRANT_HOLD_MOST_S: Final = 0.02
HELLO_PROVEN_MOST_S: Final = 0.3  # a second without an answer is taken for dead
PACING: Final[float] = Profile().pacing
CARRIED_MOST: Final = 0.995  # of a link's nominal rate, headers and all
HELLO_WAIT_LEAST_S: Final = 0.01  # what a busy machine may take to pass a hello on


@dataclass(frozen=True, slots=True)
class SchemeSettings:
    """``passthrough``: agents forward frames untouched. ``credit_frames``: a grant is of so many frames.
    ``rides``: grants may wait for data to ride on. ``profile``: what else sets the scheme apart from ``gse2``.
    """

    attachment: Attachment = "none"
    passthrough: bool = False
    credit_frames: int | None = None
    rides: bool = True
    profile: Mapping[str, Any] = field(default_factory=dict)

    @property
    def grants(self) -> bool:
        """Whether senders ask and a destination grants: then frames wait in source queues, which mark ECN."""
        admission = self.profile.get("admission", Profile().admission)
        return self.attachment != "none" and not self.passthrough and admission == "dgsq"


_NO_ADMISSION: Final = {"admission": "none", "reorder": False}
SETTINGS: Final[Mapping[str, SchemeSettings]] = {
    "ecmp": SchemeSettings(),
    "gse1": SchemeSettings(),
    "ecmp-agents": SchemeSettings("leaf", passthrough=True),
    "gse2-n2n": SchemeSettings("leaf"),
    "gse2-e2e": SchemeSettings("host"),
    "spray": SchemeSettings("leaf", profile={"unit": "packet", **_NO_ADMISSION}),
    "flowlet": SchemeSettings("leaf", profile={"unit": "flowlet", **_NO_ADMISSION}),
    "uet": SchemeSettings("host", credit_frames=CREDIT_FRAMES_OF_UET, rides=False, profile={"unit": "packet"}),
}


def profile_of(scheme: str, fabric: FabricSpec, gsp: GspSpec) -> Profile:
    """Return the agents' profile under a scheme. Raises ValueError (pydantic's) when it is impossible."""
    settings = SETTINGS[scheme]
    frame = frame_bytes(fabric.mtu_bytes)
    rate = mbps_to_bytes_per_s(min(fabric.host_link_mbps, fabric.uplink_mbps))
    frame_s, rtt_s = frame_time_s(fabric), round_trip_s(fabric)
    usual_container = (
        max(frame, CONTAINER_BYTES_OF_HOSTS)
        if settings.attachment == "host"
        else max(CONTAINER_FRAMES_OF_LEAVES * frame, LEAST_BYTES)
    )
    container = gsp.container_bytes or usual_container
    usual = max(QUANTUM_FRAMES * frame, LEAST_BYTES)
    quantum = max(settings.credit_frames * frame, LEAST_BYTES) if settings.credit_frames else usual
    # acknowledgements of a port that receives at full rate go back every two frames, and grants may ride on them
    hold_s = min(2 * frame_s, GRANT_HOLD_MOST_S) if settings.rides else 0.0
    # what rides waits for that, and then among the data where grants of their own would overtake it
    needed = round(rate * (1.5 * rtt_s + 3 * hold_s)) + quantum
    # what is outstanding, and not more than the queue there holds beside what is just arriving
    room = fabric.queue_bytes - 2 * frame
    # what a round trip's delays hold waits in no queue
    on_links = round(rate * 2 * (LINKS_PER_PATH * (fabric.delay_ms or 0.0) / 1e3 + SOFTWARE_S))
    at_most = max(room + on_links, quantum + frame)
    # a queue's window that was asked for is honoured, whatever the queue
    port_window = gsp.port_window_bytes or max(
        min((gsp.window_bytes or needed) + quantum, at_most), gsp.window_bytes or 0
    )
    window = gsp.window_bytes or min(needed, port_window)
    # what waits in an uplink's and a downlink's queue at most sets two paths apart
    apart_s = 2 * fabric.queue_bytes / mbps_to_bytes_per_s(fabric.uplink_mbps)
    # a whole container waits where another is before it, and a link may hold several (of two full frames, two round
    # trips are as long as CONTAINERS_APART; of MTU 1500 a container has eleven); what is asked for changes no timer
    together = settings.profile.get("unit", "container") == "container"
    met_s = CONTAINERS_APART * usual_container / rate if together else 0.0
    loss_report_s = max(2 * rtt_s, met_s, TIMER_LEAST_S)
    # and a lost frame has to be reported, sent again and there before it is given up
    usual_gap_s = max(apart_s + TIMER_LEAST_S, loss_report_s + 1.5 * rtt_s)
    gap_s = usual_gap_s if gsp.gap_ms is None else gsp.gap_ms / 1e3
    values: dict[str, Any] = {
        "frame_bytes": frame,
        "container_bytes": container,
        "quantum_bytes": quantum,
        "window_bytes": window,
        "port_window_bytes": port_window,
        "deliver_bytes": max(frame, min(port_window, room)),
        # grants count hosts' bytes; with GSE's header on each full frame they must not exceed what links carry
        "pacing": min(PACING, CARRIED_MOST * frame / (frame + OVERHEAD_BYTES)),
        "release_bytes": min(MIB, max(RELEASE_FRAMES * frame, round(rate * LATE_TIMER_S))),
        # what one queue may receive until a gap is reported, at the latest when it is asked again, and mended
        "reorder_buffer_bytes": max(
            MIB, round(mbps_to_bytes_per_s(fabric.host_link_mbps) * (2 * loss_report_s + 1.5 * rtt_s))
        ),
        "grant_hold_s": hold_s,
        "request_retry_s": max(2 * rtt_s, TIMER_LEAST_S),
        "gap_s": gap_s,
        "loss_report_s": loss_report_s,
        # half of what makes a destination forget a silent source
        "age_s": max(2 * rtt_s, 0.1, gap_s),
        # twice the time it takes until every host's queue has had its turn at one port
        "watchdog_s": max(8 * rtt_s, 0.5) + 2 * fabric.hosts * quantum / rate,
        "flowlet_gap_s": rtt_s if gsp.flowlet_gap_ms is None else gsp.flowlet_gap_ms / 1e3,
        "retransmit": gsp.retransmit,
        "hello_s": gsp.hello_ms / 1e3,
        "hello_proven_s": max(gsp.hello_ms / 1e3, min(10 * gsp.hello_ms / 1e3, HELLO_PROVEN_MOST_S)),
        # a hello may wait for the frame that is just being sent, on the way up and on the way down
        "hello_wait_s": max(2 * (frame_s + (fabric.delay_ms or 0.0) / 1e3), HELLO_WAIT_LEAST_S),
        "hello_retry_s": gsp.hello_ms / 1e3 / 4,
        "hello_misses": gsp.hello_misses,
        # three levels are more than three other grants' frames ahead of one, which happens by chance under E2E
        "congestion_s": max(1.5 * usual / rate, SOFTWARE_S),
        "congestion_report_s": max(2 * usual / rate, 0.1),
        "mark_s": max(8 * rtt_s, 0.5),
        "back_pressure": gsp.back_pressure,
        "limit_bytes": 16 * max(fabric.queue_bytes, 4 * frame),
        "spread_slack_bytes": container if settings.attachment == "host" else 0,
        **settings.profile,
    }
    for name in ("pacing", "standing_credit_bytes", "reorder"):
        if (value := getattr(gsp, name)) is not None:
            values[name] = value
    return Profile(**values)

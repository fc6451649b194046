"""What schemes put on links beside payload, in bytes on the wire per byte of payload, and what waiting costs. Pure.

Full frames; an acknowledgement for every second (RFC 1122, 4.2.3.2) goes back the way. Under GSE2.0 each frame, of
data or acknowledgements, carries a data header on links between GSPs; destinations grant ``pacing`` of their port's
rate, counted in bytes of hosts' frames. Left out: hellos, requests and grants that do not ride (some 0.3% of the bytes
of an uplink that is full), probes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from testbed.gse.dataplane.wire import OVERHEAD_BYTES
from testbed.model.capacity import ACKS_PER_FRAME
from testbed.model.delay import LINKS_PER_PATH
from testbed.model.fabric_spec import FabricSpec
from testbed.model.rounds import STEP_S
from testbed.model.scenario import GspSpec
from testbed.model.schemes import SETTINGS, profile_of
from testbed.wire import (
    ETHERNET_HEADER_BYTES,
    IPV4_HEADER_BYTES,
    TCP_HEADER_BYTES,
    TCP_TIMESTAMP_OPTION_BYTES,
    frame_bytes,
    tcp_payload_bytes,
)

# Of a slice from rank to rank where bytes take none, under schemes with grants: the middle of the 4 to 6 ms measured,
# of which testbed.fidelity.grants forgives all.
ASKING_STEP_S: Final = 0.005
ACK_FRAME_BYTES: Final = ETHERNET_HEADER_BYTES + IPV4_HEADER_BYTES + TCP_HEADER_BYTES + TCP_TIMESTAMP_OPTION_BYTES  # 66


@dataclass(frozen=True, slots=True)
class Wire:
    """Bytes on a link per byte of payload: of data on its way, of acknowledgements on theirs."""

    data: float
    acks: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """``host``, ``fabric``: host links, links between leaves and spines. ``granted``: as destinations count; None: no
    grants. ``pacing``: of a port's rate, what they grant. ``step_s``: from a slice's arrival to the next one's start.
    """

    host: Wire
    fabric: Wire
    granted: Wire | None
    pacing: float
    step_s: float


def overhead_of(scheme: str, fabric: FabricSpec, gsp: GspSpec) -> Overhead:
    """Return what a scheme costs on a fabric."""
    settings, payload = SETTINGS[scheme], tcp_payload_bytes(fabric.mtu_bytes)
    frame, acks = frame_bytes(fabric.mtu_bytes), ACKS_PER_FRAME * ACK_FRAME_BYTES
    plain = Wire(frame / payload, acks / payload)
    tagged = Wire((frame + OVERHEAD_BYTES) / payload, (acks + ACKS_PER_FRAME * OVERHEAD_BYTES) / payload)
    with_headers = settings.attachment != "none" and not settings.passthrough
    delay_s = LINKS_PER_PATH * (fabric.delay_ms or 0.0) / 1e3
    return Overhead(
        host=tagged if with_headers and settings.attachment == "host" else plain,
        fabric=tagged if with_headers else plain,
        granted=plain if settings.grants else None,
        pacing=profile_of(scheme, fabric, gsp).pacing if settings.grants else 1.0,
        step_s=(ASKING_STEP_S + 3 * delay_s) if settings.grants else STEP_S + delay_s,
    )

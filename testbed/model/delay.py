"""How long a frame takes through the fabric when nothing else is there. Pure."""

from __future__ import annotations

from typing import Final

from testbed.model.scenario import FabricSpec
from testbed.model.wire import frame_bytes
from testbed.units import mbps_to_bytes_per_s

LINKS_PER_PATH: Final = 4  # host to leaf, leaf to spine, spine to leaf, leaf to host
SOFTWARE_S: Final = 0.002  # wake-ups of switches and agents on one way


def frame_time_s(fabric: FabricSpec) -> float:
    """Return how long the slowest link takes to send a full frame."""
    return frame_bytes(fabric.mtu_bytes) / mbps_to_bytes_per_s(min(fabric.host_link_mbps, fabric.uplink_mbps))


def round_trip_s(fabric: FabricSpec) -> float:
    """Return the time a full frame and one as long back take between hosts of two leaves, every link idle."""
    return 2 * (LINKS_PER_PATH * (frame_time_s(fabric) + (fabric.delay_ms or 0.0) / 1e3) + SOFTWARE_S)

"""How long a frame takes through the fabric when nothing else is there. Pure."""

from __future__ import annotations

from typing import Final

from testbed.model.fabric_spec import FabricSpec
from testbed.units import mbps_to_bytes_per_s
from testbed.wire import frame_bytes

LINKS_PER_PATH: Final = 4  # host to leaf, leaf to spine, spine to leaf, leaf to host
WAKE_INTERVAL_S: Final = 0.001  # half of what a link's token bucket holds beyond a frame, so that none is lost
WAKE_INTERVAL_OF_FRAME: Final = 0.25
SHORTEST_WAKE_INTERVAL_S: Final = 0.0001  # a round over the ports of a fabric takes longer anyway
SOFTWARE_S: Final = 0.002  # wake-ups of switches and agents on one way


def frame_time_s(fabric: FabricSpec) -> float:
    """Return how long the slowest link takes to send a full frame."""
    return frame_bytes(fabric.mtu_bytes) / mbps_to_bytes_per_s(min(fabric.host_link_mbps, fabric.uplink_mbps))


def wake_interval_s(fabric: FabricSpec) -> float | None:
    """Return how often the switches of the userspace datapath look at their ports; None: at each frame.

    It delays a frame by at most as much at each switch, which is to be little beside the time a full frame takes on
    the fastest link. Real switches are slower, seen from their links: 1 µs, where a frame of 9000 bytes takes 0.18 µs
    at 400 Gbit/s.
    """
    fastest_s = frame_bytes(fabric.mtu_bytes) / mbps_to_bytes_per_s(max(fabric.host_link_mbps, fabric.uplink_mbps))
    interval_s = min(WAKE_INTERVAL_S, WAKE_INTERVAL_OF_FRAME * fastest_s)
    return interval_s if interval_s >= SHORTEST_WAKE_INTERVAL_S else None


def round_trip_s(fabric: FabricSpec) -> float:
    """Return the time a full frame and one as long back take between hosts of two leaves, every link idle."""
    return 2 * (LINKS_PER_PATH * (frame_time_s(fabric) + (fabric.delay_ms or 0.0) / 1e3) + SOFTWARE_S)

"""The queues in front of what a host sends, and what its GSP may do to them. Pure."""

from __future__ import annotations

from typing import Final

from testbed.gse.dataplane.pressure import RESUME_AT
from testbed.model.attachment import Attachment, stack_intf
from testbed.model.fabric_spec import FabricSpec
from testbed.model.shaping import QueueSetting, queue_setting
from testbed.model.topology import Host
from testbed.wire import frame_bytes

STACK_HEADROOM: Final = 1.1  # how much faster than its link a host fills an agent's queues: they recover after a pause
PAUSE_SHARE: Final = 0.5  # of what is left when a sender may go on: what it may miss until its shaper notices


def host_queues(fabric: FabricSpec, host: Host, attachment: Attachment) -> dict[str, QueueSetting]:
    """Return the queue of each of a host's interfaces that has one; the last is the one its TCP feels.

    That is its link, or an interface of about the link's rate in front of an agent in the host: else TCP would hand
    the agent all its window allows at once, and fifteen connections fill seconds of queues.
    """
    in_host = attachment == "host"
    found = {host.intf: queue_setting(fabric, fabric.host_link_mbps, control_first=in_host, in_host=True)}
    if in_host:
        found[stack_intf(host)] = queue_setting(fabric, STACK_HEADROOM * fabric.host_link_mbps, in_host=True)
    return found


def paused_bytes_per_s(setting: QueueSetting, fabric: FabricSpec, limit_bytes: int) -> int:
    """Return the rate of a sender that is told to pause, by a GSP whose source queues hold ``limit_bytes``.

    EMULATION: a token bucket cannot stand still, and one that has been slow notices only after a frame at that rate
    that it may be fast again. So slow that it is nearly a pause, so fast that a frame takes less time than the
    source queue still has frames for when the sender may go on.
    """
    left_bytes = PAUSE_SHARE * RESUME_AT * limit_bytes
    fraction = min(1.0, frame_bytes(fabric.mtu_bytes) / left_bytes)
    return max(1, round(setting.rate_bytes_per_s * fraction))

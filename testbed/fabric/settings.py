"""Settings every fabric has, whatever its scenario; read back by ``readback``."""

from __future__ import annotations

from testbed.model.delay import round_trip_s
from testbed.model.fabric_spec import FabricSpec
from testbed.units import MIB, mbps_to_bytes_per_s

OPENFLOW_VERSION = "OpenFlow13"

# What a host's TCP is set to, and why. Read back after setting.
HOST_SYSCTLS = {
    "net/ipv4/tcp_slow_start_after_idle": "0",  # as training clusters do: an iteration does not start cold
    "net/ipv4/tcp_no_metrics_save": "1",  # iterations must not inherit each other's thresholds
    "net/ipv4/tcp_timestamps": "1",  # assumed by testbed.wire
    "net/ipv6/conf/all/disable_ipv6": "1",  # no neighbour discovery among the measured frames
}
ECN_SYSCTL = "net/ipv4/tcp_ecn"
RECEIVE_BUFFER_SYSCTL = "net/ipv4/tcp_rmem"
RECEIVE_BUFFER_LEAST_BYTES = MIB  # the kernel offers half of it as window
# Set on the route rather than by sysctl: a namespace may not choose an algorithm as its default that the
# machine's administrator has not allowed to everybody, a route may.
CONGESTION_CONTROL = "cubic"
SWITCH_SYSCTLS = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}


def host_sysctls(fabric: FabricSpec, *, marking: bool) -> dict[str, str]:
    """Return what a host's TCP is set to; ``marking``: something in the fabric or at its edge marks ECN.

    The receive window is fixed, at twice what a path holds at least: the kernel would begin with 64 KiB and raise
    that only when more than a window arrives in a round trip, which a sender that the window holds back never does.
    Whether a connection got out of it was chance, and one that did not slowed down a whole ring (docs/gse.md).
    """
    in_flight = mbps_to_bytes_per_s(fabric.host_link_mbps) * round_trip_s(fabric)
    buffer_bytes = max(RECEIVE_BUFFER_LEAST_BYTES, 4 * round(in_flight))
    return {
        **HOST_SYSCTLS,
        RECEIVE_BUFFER_SYSCTL: f"4096\t{buffer_bytes}\t{buffer_bytes}",
        # where nothing marks, a queue that could would have to drop instead
        ECN_SYSCTL: "1" if marking or fabric.ecn_threshold_bytes is not None else "0",
    }

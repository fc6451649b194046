"""Settings every fabric has, whatever its scenario; read back by ``readback``."""

from __future__ import annotations

OPENFLOW_VERSION = "OpenFlow13"

# What a host's TCP is set to, and why. Read back after setting.
HOST_SYSCTLS = {
    "net/ipv4/tcp_slow_start_after_idle": "0",  # as training clusters do: an iteration does not start cold
    "net/ipv4/tcp_no_metrics_save": "1",  # iterations must not inherit each other's thresholds
    "net/ipv4/tcp_timestamps": "1",  # assumed by testbed.model.wire
    "net/ipv6/conf/all/disable_ipv6": "1",  # no neighbour discovery among the measured frames
}
ECN_SYSCTL = "net/ipv4/tcp_ecn"
# Set on the route rather than by sysctl: a namespace may not choose an algorithm as its default that the
# machine's administrator has not allowed to everybody, a route may.
CONGESTION_CONTROL = "cubic"
SWITCH_SYSCTLS = {"net/ipv6/conf/all/disable_ipv6": "1", "net/ipv6/conf/default/disable_ipv6": "1"}

"""Which path a flow takes, asked of the switches themselves (``ofproto/trace``), not of the controller.

The trace runs the same translation as a packet would, hash and liveness included.
"""

from __future__ import annotations

import re

from testbed.errors import ParseError
from testbed.fabric.unixctl import Unixctl
from testbed.model.oracle import FlowPath
from testbed.model.ranks import TCP, UDP, Flow
from testbed.model.topology import Topology

_PORT_LINE = re.compile(r"^\s+(\S+) (\d+)/(\d+):", re.MULTILINE)
_ACTIONS = re.compile(r"^Datapath actions: (.*)$", re.MULTILINE)
_PROTOCOLS = {TCP: "tcp", UDP: "udp"}


class PathTracer:
    """Answers path questions about one running fabric."""

    def __init__(self, topology: Topology, unixctl: Unixctl) -> None:
        self._topology = topology
        self._unixctl = unixctl
        self._intf_of_datapath_port: dict[int, str] = {}

    def path_of(self, flow: Flow) -> FlowPath | None:
        """Return the way of a flow between leaves, or None when it stays on its leaf or is dropped.

        The spine is asked too where it has several links to a leaf. Raises NetworkError or ParseError when a
        switch cannot be asked.
        """
        source = self._topology.host_by_ip(flow.src_ip)
        target = self._topology.host_by_ip(flow.dst_ip)
        if source is None or target is None or source.leaf == target.leaf:
            return None
        headers = (
            f"{_PROTOCOLS[flow.proto]},dl_src={source.mac},dl_dst={target.mac},nw_src={flow.src_ip},nw_dst={flow.dst_ip},"
            f"nw_ttl=64,{_PROTOCOLS[flow.proto]}_src={flow.src_port},{_PROTOCOLS[flow.proto]}_dst={flow.dst_port}"
        )
        out = self._output(self._topology.leaves[source.leaf].name, f"in_port={source.port},{headers}")
        up = None if out is None else out - self._topology.uplink_port(0)
        if up is None or not 0 <= up < self._topology.fabric.paths:
            return None
        spine, link = self._topology.path_spine_link(up)
        in_port = self._topology.downlink_port(source.leaf, link)
        out = self._output(self._topology.spines[spine].name, f"in_port={in_port},{headers}")
        down_link = None if out is None else out - self._topology.downlink_port(target.leaf, 0)
        if down_link is None or not 0 <= down_link < self._topology.fabric.links_per_pair:
            return None
        return FlowPath(up, down_link)

    def _output(self, bridge: str, packet: str) -> int | None:
        text = self._unixctl.call("ofproto/trace", bridge, packet)
        match = _ACTIONS.search(text)
        if not match:
            raise ParseError("ofproto/trace", text, "a line 'Datapath actions: ...'")
        ports = [int(action) for action in match[1].split(",") if action.strip().isdigit()]
        if not ports:
            return None
        name = self._interfaces().get(ports[-1])
        if name is None or not name.startswith(f"{bridge}-eth"):
            raise ParseError("ofproto/trace", text, f"an output of {bridge}")
        return int(name.removeprefix(f"{bridge}-eth"))

    def _interfaces(self) -> dict[int, str]:
        if not self._intf_of_datapath_port:
            text = self._unixctl.call("dpif/show")
            self._intf_of_datapath_port = {int(port): name for name, _of, port in _PORT_LINE.findall(text)}
        return self._intf_of_datapath_port

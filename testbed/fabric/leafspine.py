"""The leaf-spine topology as Mininet takes it: of our own networks, and of the stock ``mn`` command (testbed/mn.py)."""

from __future__ import annotations

from typing import ClassVar

from mininet.topo import Topo

from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology


class LeafSpineTopo(Topo):  # type: ignore[misc]
    """A leaf-spine fabric; keyword arguments are the fields of ``FabricSpec``."""

    latest: ClassVar[Topology | None] = None

    def build(self, **fabric: object) -> None:
        """Add hosts, switches and links with the names, ports, dpids and addresses of ``Topology``."""
        topology = Topology(FabricSpec.model_validate(fabric))
        LeafSpineTopo.latest = self.testbed_topology = topology
        for host in topology.hosts:
            self.addHost(host.name, ip=f"{host.ip}/8", mac=host.mac)
        for switch in topology.switches:
            self.addSwitch(switch.name, dpid=f"{switch.dpid:016x}")
        for link in topology.links:
            self.addLink(link.lower.node, link.upper.node, port1=link.lower.port, port2=link.upper.port)

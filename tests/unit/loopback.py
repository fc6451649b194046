"""Hosts on loopback addresses of their own, so that tests running side by side do not meet."""

from __future__ import annotations

import random

from testbed.model.pattern import ring
from testbed.model.ranks import Flow, pair_flows
from testbed.model.topology import Host


def loopback_hosts(count: int) -> tuple[Host, ...]:
    """Return hosts h1.. with addresses from a random 127.x.y.0/24."""
    net = f"127.{random.randint(1, 254)}.{random.randint(0, 254)}"  # not seeded on purpose
    return tuple(Host(name=f"h{i + 1}", leaf=0, index=i, port=i + 1, ip=f"{net}.{i + 1}", mac="") for i in range(count))


def loopback_flows(hosts: tuple[Host, ...], flows_per_hop: int) -> tuple[tuple[Flow, ...], ...]:
    """Return the flows of a ring between ``hosts``."""
    return pair_flows(hosts, ring(len(hosts)).pairs, flows_per_pair=flows_per_hop, demand_bytes=0, rng=random.Random(1))

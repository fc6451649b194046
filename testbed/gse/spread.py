"""Hash spreading between leaves: all of ``ecmp``, and under ``gse1`` whatever GSOS has not placed.

Local repair is the switch's own (``HashLive`` skips ports without carrier, and because the hash is a
rendezvous hash, only the flows of the dead port move). Remote repair is GSOS's: a path whose far link
is down is taken out of the sets of ports, as routing does it in a real fabric.

With ``repair`` ``controller`` the leaf does nothing of its own: a dead port keeps its share of the hash
until GSOS takes it out (``HashBucket``, and a rule per bucket and destination).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from testbed.gse.liveness import FabricLink, Liveness
from testbed.gse.policy import PRIORITY_FIRST_PACKET, PRIORITY_SPREAD, hash_basis
from testbed.model.ranks import TCP, UDP
from testbed.model.rules import (
    ETH_TYPE_IPV4,
    TCP_SYN,
    Action,
    FirstLive,
    HashBucket,
    HashLive,
    Match,
    Output,
    PacketIn,
    Rule,
)
from testbed.model.scheme_spec import Repair
from testbed.model.topology import Topology

UsablePaths = Callable[[int, int], tuple[int, ...]]


def prefix_match(topology: Topology, leaf: int, in_port: int | None = None) -> Match:
    """Return the match for everything that goes to the hosts of a leaf."""
    return Match(in_port=in_port, eth_type=ETH_TYPE_IPV4, ip_dst=topology.leaf_prefix(leaf))


def spread_action(topology: Topology, seed: int, leaf: int, paths: tuple[int, ...], repair: Repair) -> Action:
    """Return the action of leaf ``leaf`` that spreads flows over ``paths``."""
    basis = hash_basis(seed, topology.leaves[leaf].dpid)
    if repair == "controller":
        return HashBucket(len(paths), basis)
    return HashLive(tuple(topology.uplink_port(path) for path in paths), basis)


def leaf_spread_rules(
    topology: Topology, seed: int, leaf: int, usable: UsablePaths, repair: Repair = "local"
) -> list[Rule]:
    """Return the rules by which a leaf spreads what goes to each other leaf."""
    rules = []
    for other in range(topology.fabric.leaves):
        if other == leaf:
            continue
        paths, match = usable(leaf, other), prefix_match(topology, other)
        if repair == "controller":
            rules += _bucket_rules(topology, match, paths)
        rules.append(Rule(PRIORITY_SPREAD, match, (spread_action(topology, seed, leaf, paths, repair),)))
    return rules


def _bucket_rules(topology: Topology, match: Match, paths: tuple[int, ...]) -> list[Rule]:
    """Return one rule per bucket that can ever be, so that none is missing while the number of buckets changes."""
    ports = [topology.uplink_port(paths[bucket % len(paths)]) for bucket in range(topology.fabric.paths)]
    return [Rule(PRIORITY_SPREAD, replace(match, bucket=bucket), (Output(port),)) for bucket, port in enumerate(ports)]


def leaf_first_packet_rules(
    topology: Topology, seed: int, leaf: int, usable: UsablePaths, repair: Repair = "local"
) -> list[Rule]:
    """Return the rules by which a leaf forwards the first packets of flows by hash and shows them to GSOS."""
    rules = []
    for spread in leaf_spread_rules(topology, seed, leaf, usable, repair):
        if spread.match.bucket is not None:
            continue
        actions = (*spread.actions, PacketIn())
        tcp, udp = replace(spread.match, ip_proto=TCP, tcp_flags=TCP_SYN), replace(spread.match, ip_proto=UDP)
        rules += [Rule(PRIORITY_FIRST_PACKET, tcp, actions), Rule(PRIORITY_FIRST_PACKET, udp, actions)]
    return rules


def spine_hash_rules(topology: Topology, seed: int, spine: int) -> list[Rule]:
    """Return the rules by which a spine goes down to each leaf, by hash where there are parallel links."""
    basis = hash_basis(seed, topology.spines[spine].dpid)
    rules = []
    for leaf in range(topology.fabric.leaves):
        ports = tuple(topology.downlink_port(leaf, link) for link in range(topology.fabric.links_per_pair))
        action: Action = Output(ports[0]) if len(ports) == 1 else HashLive(ports, basis)
        rules.append(Rule(PRIORITY_SPREAD, prefix_match(topology, leaf), (action,)))
    return rules


def spine_lane_rules(topology: Topology, seed: int, spine: int) -> list[Rule]:
    """Return spine rules that keep a frame on the parallel link it arrived by, so a path is the same up and down.

    One rule per arrival port and destination: with a single link per pair the plain rules do.
    A dead link's traffic goes to the next parallel one.
    """
    links, leaves = topology.fabric.links_per_pair, topology.fabric.leaves
    if links == 1:
        return spine_hash_rules(topology, seed, spine)
    return [
        Rule(
            PRIORITY_SPREAD,
            prefix_match(topology, dst, in_port=topology.downlink_port(src, link)),
            (FirstLive(tuple(topology.downlink_port(dst, (link + i) % links) for i in range(links))),),
        )
        for src in range(leaves)
        for link in range(links)
        for dst in range(leaves)
        if dst != src
    ]


def living_hashed_paths(topology: Topology, live: Liveness, src_leaf: int, dst_leaf: int) -> tuple[int, ...]:
    """Return the live paths between two leaves when the spine chooses among parallel links by hash."""
    return tuple(
        path
        for path in range(topology.fabric.paths)
        if live.link_up(FabricLink(src_leaf, path)) and _spine_reaches(topology, live, path, dst_leaf)
    )


def _spine_reaches(topology: Topology, live: Liveness, path: int, leaf: int) -> bool:
    spine, _link = topology.path_spine_link(path)
    return any(
        live.link_up(FabricLink(leaf, topology.path_id(spine, link))) for link in range(topology.fabric.links_per_pair)
    )

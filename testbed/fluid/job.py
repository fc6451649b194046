"""A job on a cluster: which nodes it has, in which order rings go through them, where flows go. Pure, numpy.

Ring k of a job runs over NIC k of all its nodes, all rings in one order of nodes (NCCL's channels): each node is
entered and left once by every ring. A hop is ``flows`` connections, which share its bytes evenly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from testbed.fluid.cluster import ClusterSpec
from testbed.fluid.fairness import Ints
from testbed.gse.placement import even_paths

Order = Literal["packed", "scattered"]


@dataclass(frozen=True)
class Hops:
    """Connections between nodes, an array element each: ring, and leaves (numbered through all pods) at both ends."""

    ring: Ints
    src_leaf: Ints
    dst_leaf: Ints
    flows: int  # connections of a hop

    def crossing(self) -> Ints:
        """Return the numbers of connections that leave their leaf."""
        return np.flatnonzero(self.src_leaf != self.dst_leaf)


@dataclass(frozen=True)
class Ways:
    """Spine and core (-1: it stays in its pod) of every connection that leaves its leaf, in order of ``crossing``."""

    spine: Ints
    core: Ints


def node_order(cluster: ClusterSpec, nodes: int, order: Order, seed: int) -> Ints:
    """Return the nodes of a job in the order its rings go.

    ``packed``: the first ones, in order. ``scattered``: any nodes of the cluster in any order, drawn with ``seed``, as
    a scheduler that knows no topology leaves them.
    """
    if order == "packed":
        return np.arange(nodes)
    return np.random.default_rng((seed, 0)).permutation(cluster.nodes)[:nodes]


def hops_of(cluster: ClusterSpec, nodes: Ints, flows: int) -> Hops:
    """Return the connections of all rings."""
    rings = cluster.nics_per_node
    following = np.roll(nodes, -1)
    ring = np.repeat(np.arange(rings), len(nodes) * flows)
    src, dst = (np.tile(np.repeat(one, flows), rings) for one in (nodes, following))
    return Hops(ring, leaf_of(cluster, src, ring), leaf_of(cluster, dst, ring), flows)


def leaf_of(cluster: ClusterSpec, nodes: Ints, nics: Ints) -> Ints:
    """Return the leaf of each NIC of each node."""
    leaf = nodes // cluster.nodes_per_leaf * cluster.leaves_per_group
    return leaf + nics if cluster.wiring == "rail" else leaf


def pods_of(cluster: ClusterSpec, leaves: Ints) -> Ints:
    """Return the pod of each leaf."""
    return leaves // cluster.leaves_per_pod if cluster.tiers == 3 else np.zeros_like(leaves)


def hashed_ways(cluster: ClusterSpec, hops: Hops, seed: int) -> Ways:
    """Return where hashing sends each connection: any spine, and any core of its plane, equally likely."""
    rng = np.random.default_rng((seed, 1))
    crossing = hops.crossing()
    spine = rng.integers(cluster.spines, size=len(crossing))
    src, dst = (pods_of(cluster, ends[crossing]) for ends in (hops.src_leaf, hops.dst_leaf))
    core = rng.integers(cluster.cores, size=len(crossing)) if cluster.cores else np.zeros(len(crossing), np.int64)
    return Ways(spine, np.where(src != dst, core, -1))


def placed_ways(cluster: ClusterSpec, hops: Hops) -> Ways:
    """Return where gse1's placement (``testbed.gse.placement``) puts each connection.

    Once for all connections between leaves, over spines; then for those between pods, plane by plane over its cores.
    GSOS has two tiers to place on: the second step is the same algorithm with pods for leaves. All connections are
    alike and every link is up, so its edge colouring is all there is to it.
    """
    crossing = hops.crossing()
    src, dst = hops.src_leaf[crossing], hops.dst_leaf[crossing]
    spine = _placed(src, dst, cluster.spines)
    core = np.full(len(crossing), -1)
    src_pod, dst_pod = pods_of(cluster, src), pods_of(cluster, dst)
    between = src_pod != dst_pod
    for plane in np.unique(spine[between]).tolist():  # none with two tiers
        here = np.flatnonzero(between & (spine == plane))
        core[here] = _placed(src_pod[here], dst_pod[here], cluster.cores)
    return Ways(spine, core)


def _placed(src: Ints, dst: Ints, paths: int) -> Ints:
    chosen, _rounds = even_paths(list(zip(src.tolist(), dst.tolist(), strict=True)), range(paths))
    return np.array(chosen, np.int64)

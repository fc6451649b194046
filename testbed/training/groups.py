"""Which accelerators work together, on which nodes and NICs, and how much of a group's traffic a NIC carries. Pure.

Ranks are numbered as Megatron does by default ("tp-cp-ep-dp-pp"): the tensor group is contiguous, then come replicas,
then pipeline stages: rank = tensor index + t (replica + d stage). Nodes take ranks in order, a node's NICs serve equal
runs of them: accelerator i of a node uses NIC i x nics / gpus. NIC k of all nodes are rail k.

Rings go through a group in the order of ranks, so that each node is entered and left once ("node-contiguous"). The
traffic that leaves a node is divided evenly among the NICs of the group's members there, as if each had a ring of its
own with its part of the data (which is what NCCL's channels are for).
"""

from __future__ import annotations

from collections import Counter
from typing import Literal

from testbed.training.layout import Layout

Group = Literal["dp", "tp", "pp", "ep"]
Nic = tuple[int, int]  # node, rail


def node_of(layout: Layout, rank: int) -> int:
    """Return the node (from 0) of an accelerator."""
    return rank // layout.gpus_per_node


def nic_of(layout: Layout, rank: int) -> Nic:
    """Return node and rail (both from 0) of the NIC an accelerator uses."""
    node, local = divmod(rank, layout.gpus_per_node)
    return node, local * layout.nics_per_node // layout.gpus_per_node


def groups(layout: Layout, group: Group) -> tuple[tuple[int, ...], ...]:
    """Return the ranks of each group of a kind, in order of their first; every rank is in exactly one of them.

    ``pp`` are the ranks that hand activations to each other, by stage. There are no expert groups: models are dense.
    """
    t, d, p = layout.tensor, layout.data, layout.pipeline
    if group == "tp":
        return tuple(tuple(range(first, first + t)) for first in range(0, layout.gpus, t))
    if group == "dp":
        return tuple(
            tuple(range(stage * t * d + tensor, (stage + 1) * t * d, t)) for stage in range(p) for tensor in range(t)
        )
    if group == "pp":
        return tuple(tuple(range(first, layout.gpus, t * d)) for first in range(t * d))
    raise ValueError(f"group={group!r}, expected dp, tp or pp (models are dense)")


def group_ranks(layout: Layout, group: Group) -> int:
    """Return the number of ranks in one group of a kind."""
    return len(groups(layout, group)[0])


def nic_share(layout: Layout, group: Group) -> float:
    """Return what the busiest NIC sends, in units of what one rank of a group sends. 0: the group stays inside a node.

    ``dp``, ``tp``: every node a ring leaves sends on what one rank sends, over the NICs of the ring's members there;
    groups that share a NIC add up. ``pp``: every rank whose neighbour is on another node sends by itself; forwards or
    backwards, whichever is more.
    """
    if group == "pp":
        return float(max(_neighbour_load(layout, step) for step in (1, -1)))
    shares: dict[Nic, float] = {}
    for ranks in groups(layout, group):
        nodes = {node_of(layout, rank) for rank in ranks}
        if len(nodes) == 1:
            continue
        nics = {nic_of(layout, rank) for rank in ranks}
        per_node = Counter(node for node, _rail in nics)
        for nic in nics:
            shares[nic] = shares.get(nic, 0.0) + 1 / per_node[nic[0]]
    return max(shares.values(), default=0.0)


def _neighbour_load(layout: Layout, step: int) -> int:
    """Return the most ranks of one NIC that send to the stage ``step`` away on another node."""
    senders: Counter[Nic] = Counter()
    for ranks in groups(layout, "pp"):
        pairs = zip(ranks, ranks[1:], strict=False) if step > 0 else zip(ranks[1:], ranks, strict=False)
        senders.update(nic_of(layout, src) for src, dst in pairs if node_of(layout, src) != node_of(layout, dst))
    return max(senders.values(), default=0)


def inside_node(layout: Layout) -> frozenset[Group]:
    """Return the kinds of groups whose traffic never leaves a node, so that the fabric does not see it."""
    kinds: tuple[Group, ...] = ("dp", "tp", "pp")
    return frozenset(kind for kind in kinds if nic_share(layout, kind) == 0)

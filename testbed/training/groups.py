"""Which accelerators work together, on which nodes and NICs, and how much of a group's traffic a NIC carries. Pure.

Ranks are numbered as Megatron does by default ("tp-cp-ep-dp-pp"): the tensor group is contiguous, then come replicas,
then pipeline stages: rank = tensor index + t (replica + d stage). Experts are shared out among e replicas that follow
each other (``ep``); the d/e ranks that have the same ones reduce their gradients (``dp_ep``, Megatron's
``expert_data_parallel``). Nodes take ranks in order, a node's NICs serve equal runs of them: accelerator i of a node
uses NIC i x nics / gpus. NIC k of all nodes are rail k.

Rings go through a group in the order of ranks, so that each node is entered and left once ("node-contiguous"). The
traffic that leaves a node is divided evenly among the NICs of the group's members there, as if each had a ring of its
own with its part of the data (which is what NCCL's channels are for). In an all-to-all every rank sends by itself.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, Literal, get_args

from testbed.training.layout import Layout

Group = Literal["dp", "tp", "pp", "ep", "dp_ep"]
GROUPS: Final[tuple[Group, ...]] = get_args(Group)
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

    ``pp`` are the ranks that hand activations to each other, by stage.
    """
    t, d, e = layout.tensor, layout.data, layout.expert
    if group == "tp":
        return tuple(tuple(range(first, first + t)) for first in range(0, layout.gpus, t))
    if group == "pp":
        return tuple(tuple(range(first, layout.gpus, t * d)) for first in range(t * d))
    first_of_stage = range(0, layout.gpus, t * d)
    if group == "dp":
        return tuple(tuple(range(first + i, first + t * d, t)) for first in first_of_stage for i in range(t))
    if group == "ep":
        runs = (first + run for first in first_of_stage for run in range(0, t * d, t * e))
        return tuple(tuple(range(first + i, first + t * e, t)) for first in runs for i in range(t))
    return tuple(tuple(range(first + i, first + t * d, t * e)) for first in first_of_stage for i in range(t * e))


def group_ranks(layout: Layout, group: Group) -> int:
    """Return the number of ranks in one group of a kind."""
    sizes: dict[Group, int] = {
        "dp": layout.data,
        "tp": layout.tensor,
        "pp": layout.pipeline,
        "ep": layout.expert,
        "dp_ep": layout.data // layout.expert,
    }
    return sizes[group]


def ring_share(layout: Layout, group: Group) -> float:
    """Return what the busiest NIC sends for rings through all groups of a kind, in units of what one rank sends.

    0: the groups stay inside a node. Every node a ring leaves sends on what one rank sends, over the NICs of the ring's
    members there; groups that share a NIC add up.
    """
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


def pairs_share(layout: Layout, group: Group) -> float:
    """Return what the busiest NIC sends for all-to-alls in all groups of a kind, in units of the size.

    Each rank sends 1/n of the size to every other; what goes to other nodes passes its NIC.
    """
    shares: Counter[Nic] = Counter()
    members = group_ranks(layout, group)
    for ranks in groups(layout, group):
        here = Counter(node_of(layout, rank) for rank in ranks)
        for rank in ranks:
            shares[nic_of(layout, rank)] += members - here[node_of(layout, rank)]
    return max(shares.values(), default=0) / members


def neighbours_share(layout: Layout) -> float:
    """Return what the busiest NIC sends when all stages hand on a message, in units of the message.

    Every rank whose neighbour is on another node sends by itself; forwards or backwards, whichever is more.
    """
    return float(max(_neighbour_load(layout, step) for step in (1, -1)))


def _neighbour_load(layout: Layout, step: int) -> int:
    """Return the most ranks of one NIC that send to the stage ``step`` away on another node."""
    senders: Counter[Nic] = Counter()
    for ranks in groups(layout, "pp"):
        pairs = zip(ranks, ranks[1:], strict=False) if step > 0 else zip(ranks[1:], ranks, strict=False)
        senders.update(nic_of(layout, src) for src, dst in pairs if node_of(layout, src) != node_of(layout, dst))
    return max(senders.values(), default=0)


def inside_node(layout: Layout) -> frozenset[Group]:
    """Return the kinds of groups whose traffic never leaves a node, so that the fabric does not see it."""
    return frozenset(
        kind
        for kind in GROUPS
        if all(len({node_of(layout, rank) for rank in ranks}) == 1 for ranks in groups(layout, kind))
    )

"""How many bytes of an operation a NIC carries, and how long that ideally takes. Pure.

The factors are those of bandwidth-optimal algorithms (nccl-tests PERFORMANCE.md), for n ranks and nccl-tests' size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from testbed.collectives.operation import MESSAGES, Operation, bus_factor
from testbed.training.groups import Group, group_ranks, neighbours_share, pairs_share, ring_share
from testbed.training.iteration import Communicate
from testbed.training.layout import Layout
from testbed.units import mbps_to_bytes_per_s


def sent_per_byte(operation: Operation, n_ranks: int) -> float:
    """Return what a rank of ``n_ranks`` sends for each byte of the operation's size.

    ``recv`` counts as 0: its bytes come the other way, and NICs send and receive at the same time.
    """
    return 0.0 if operation == "recv" else bus_factor(operation, n_ranks)


def nic_bytes_per_byte(layout: Layout, operation: Operation, group: Group) -> float:
    """Return the bytes the busiest NIC sends for each byte of the size while all groups of a kind do ``operation``."""
    if operation == "all_to_all":
        return pairs_share(layout, group)
    share = neighbours_share(layout) if operation in MESSAGES else ring_share(layout, group)
    return sent_per_byte(operation, group_ranks(layout, group)) * share


def nic_bytes(layout: Layout, op: Communicate) -> float:
    """Return the bytes the busiest NIC sends while all groups of a kind do ``op`` at once."""
    return nic_bytes_per_byte(layout, op.operation, op.group) * op.size_bytes


def ideal_seconds(layout: Layout, nic_mbps: float) -> Callable[[Communicate], float]:
    """Return the function op -> seconds it takes if NICs send at ``nic_mbps`` all the time; no latency, no headers."""
    bytes_per_s = mbps_to_bytes_per_s(nic_mbps)

    @cache
    def per_byte(operation: Operation, group: Group) -> float:
        return nic_bytes_per_byte(layout, operation, group) / bytes_per_s

    return lambda op: per_byte(op.operation, op.group) * op.size_bytes

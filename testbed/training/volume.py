"""How many bytes an operation sends, what of it a NIC carries, and how long that ideally takes. Pure.

The factors are those of bandwidth-optimal algorithms (nccl-tests PERFORMANCE.md), for n ranks and nccl-tests' size.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from testbed.collectives.algorithms import bus_factor
from testbed.training.groups import Group, group_ranks, nic_share
from testbed.training.iteration import Communicate, Operation
from testbed.training.layout import Layout
from testbed.units import mbps_to_bytes_per_s


def sent_per_byte(operation: Operation, n_ranks: int) -> float:
    """Return what a rank of ``n_ranks`` sends for each byte of the operation's size.

    ``recv`` counts as 0: its bytes come the other way, and NICs send and receive at the same time.
    """
    if operation == "send" or operation == "recv":
        return 1.0 if operation == "send" else 0.0
    return bus_factor(operation, n_ranks)


def nic_bytes(layout: Layout, op: Communicate) -> float:
    """Return the bytes the busiest NIC sends while all groups of a kind do ``op`` at once (see ``nic_share``)."""
    return sent_per_byte(op.operation, group_ranks(layout, op.group)) * op.size_bytes * nic_share(layout, op.group)


def ideal_seconds(layout: Layout, nic_mbps: float) -> Callable[[Communicate], float]:
    """Return the function op -> seconds it takes if NICs send at ``nic_mbps`` all the time; no latency, no headers."""

    @cache
    def per_byte(operation: Operation, group: Group) -> float:
        return nic_bytes(layout, Communicate("", operation, group, 1)) / mbps_to_bytes_per_s(nic_mbps)

    return lambda op: per_byte(op.operation, op.group) * op.size_bytes

"""Names of what ranks do together, whoever says it (programs, traces, training), and what of it a link carries. Pure.

========================================== =========================================================================
allreduce ... sendrecv                     ``ProgramOperation``: there is a program for each
reduce, gather, scatter, barrier           occur in traces
send, recv                                 one end of a message between two ranks
exchange                                   both ends at once: two ranks send each other ``size_bytes``
========================================== =========================================================================

Sizes are nccl-tests' (``testbed.collectives.algorithms``); of a message, its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, get_args

ProgramOperation = Literal["allreduce", "reduce_scatter", "all_gather", "broadcast", "all_to_all", "sendrecv"]
Message = Literal["send", "recv", "exchange"]
Operation = Literal[
    "allreduce",
    "reduce_scatter",
    "all_gather",
    "broadcast",
    "all_to_all",
    "sendrecv",
    "reduce",
    "gather",
    "scatter",
    "barrier",
    "send",
    "recv",
    "exchange",
]
PROGRAM_OPERATIONS: Final[tuple[ProgramOperation, ...]] = get_args(ProgramOperation)
MESSAGES: Final[tuple[Message, ...]] = get_args(Message)
OPERATIONS: Final[tuple[Operation, ...]] = get_args(Operation)

# x (n - 1) / n with n ranks, or as it is
_OF_OTHERS: Final[Mapping[Operation, float]] = {
    "allreduce": 2,
    "reduce_scatter": 1,
    "all_gather": 1,
    "all_to_all": 1,
    "gather": 1,
    "scatter": 1,
}
_WHOLE: Final[Mapping[Operation, float]] = {
    "broadcast": 1,
    "sendrecv": 1,
    "reduce": 1,
    "barrier": 0,
    "send": 1,
    "recv": 1,
    "exchange": 1,
}


def bus_factor(operation: Operation, n_ranks: int) -> float:
    """Return busbw / algbw: bytes the busiest link end carries in one direction for each byte of the size.

    nccl-tests PERFORMANCE.md (allreduce to reduce), ``src/gather.cu`` and ``src/scatter.cu``; a message is carried
    once, a barrier moves nothing.
    """
    if operation in _OF_OTHERS:
        return _OF_OTHERS[operation] * (n_ranks - 1) / n_ranks
    return _WHOLE[operation]

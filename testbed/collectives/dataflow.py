"""What every transfer of a program waits for, and whether nothing is lost meanwhile. Pure.

Transfers between different ranks run at the same time and arrive in any order; only what this module says is kept. It
goes through the program once for every place between two boundaries of transfers, keeping for each rank what has
happened there:

- *waits*: a sender needs everything it has received into the place so far, but what must have arrived before a later
  one of these was sent: that one is enough.
- *hazards*: what arrives changes the place, so it must not come before the receiver has sent what the program sends
  earlier from there; and what replaces, or is added to what replaced, must not come before what it comes after. No
  waiting is made for this. It holds where the one that could do harm was sent because of the other, directly or
  through others (a sum comes back only when all have given their part), and programs where it does not are refused.

What holds for every byte holds for slices of any size: a slice waits for at least what each of its bytes waits for.
How many connections carry a pair's slices, and how far one is ahead of another, makes no difference either: no order
but the waits is used.

Nor can anything get stuck: of all that has not been sent, the earliest in the program waits only for what has, and it
is first in line, for every connection carries its slices in the program's order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from testbed.collectives.program import Program, Transfer


class Wait(NamedTuple):
    """A place of a transfer that may be sent when ``transfers`` (places in the program) have arrived there."""

    start_byte: int
    end_byte: int
    transfers: tuple[int, ...]


@dataclass(slots=True)
class _Past:
    """What has happened at one place of one rank's array. Bit i of a mask is transfer i of the place."""

    known: int = 0  # what has arrived here, and all that must have arrived anywhere before it was sent
    sent: int = 0
    received: int = 0
    replaced: int = 0  # received, and not added
    latest: tuple[int, ...] = ()  # received, without those that must have come before another


def waits(program: Program) -> tuple[tuple[Wait, ...], ...]:
    """Return what each transfer of ``program`` waits for, places in order; none where it waits for nothing.

    Raises ValueError when something could overwrite, or be added to, what its receiver has yet to send or to receive.
    """
    found: list[list[Wait]] = [[] for _transfer in program.transfers]
    if not program.in_place:
        return tuple(() for _transfer in program.transfers)
    for start, end, here in _places(program.transfers):
        for index, latest in _follow(program, here):
            if latest:
                _append(found[index], Wait(start, end, latest))
    return tuple(tuple(own) for own in found)


def _places(transfers: Sequence[Transfer]) -> Iterator[tuple[int, int, list[int]]]:
    """Yield every place between two boundaries and the transfers that carry it, in the program's order."""
    cuts = sorted({cut for transfer in transfers for cut in (transfer.start_byte, transfer.end_byte)})
    number = {cut: index for index, cut in enumerate(cuts)}
    carried: list[list[int]] = [[] for _cut in cuts]
    for index, transfer in enumerate(transfers):
        for place in range(number[transfer.start_byte], number[transfer.end_byte]):
            carried[place].append(index)
    for (start, end), here in zip(pairwise(cuts), carried, strict=False):
        yield start, end, here


def _follow(program: Program, here: Sequence[int]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Yield, for the transfers ``here`` that carry one place, what they wait for. Raises ValueError for a hazard."""
    past = [_Past() for _rank in range(program.n_ranks)]
    for bit, index in enumerate(here):
        transfer = program.transfers[index]
        sender, receiver = past[transfer.src], past[transfer.dst]
        yield index, tuple(here[earlier] for earlier in sender.latest)
        before, this = sender.known, 1 << bit
        mine = receiver.replaced if transfer.reduce else receiver.received
        if unsafe := (receiver.sent | mine) & ~before:
            first = program.transfers[here[(unsafe & -unsafe).bit_length() - 1]]
            raise ValueError(
                f"{program.operation}: {transfer} may arrive before {first} is over, expected that it waits"
            )
        sender.sent |= this
        receiver.received |= this
        if not transfer.reduce:
            receiver.replaced |= this
        receiver.known |= before | this
        receiver.latest = (*(earlier for earlier in receiver.latest if not before >> earlier & 1), bit)


def _append(own: list[Wait], wait: Wait) -> None:
    if own and own[-1].end_byte == wait.start_byte and own[-1].transfers == wait.transfers:
        own[-1] = Wait(own[-1].start_byte, wait.end_byte, wait.transfers)
    else:
        own.append(wait)

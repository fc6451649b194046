"""A collective whose ranks wait for each other, slice by slice, over links shared max-min fairly. Pure.

A connection carries its slices in order; a slice begins when the one before it on its connection has been sent and
``step_s`` after all it waits for has arrived. Between two such events every connection moves at its max-min fair rate.
Where connections go on with their next slice at once nothing changes, so rates are kept by who is sending.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from testbed.collectives.schedule import Schedule
from testbed.fluid.fairness import Floats, Network, max_min

Slot = tuple[int, int]  # connection, place of a slice in it


@dataclass(frozen=True)
class Script:
    """What all connections carry, and for whom each slice is waited: ``followers[connection][place]``."""

    sizes: tuple[tuple[int, ...], ...]
    waits: tuple[tuple[int, ...], ...]
    followers: tuple[tuple[tuple[Slot, ...], ...], ...]

    @property
    def slices(self) -> int:
        """Number of slices."""
        return sum(map(len, self.sizes))


def script_of(
    schedule: Schedule, jobs: Sequence[Sequence[int]], pairs: Sequence[tuple[int, int]], flows: int
) -> Script:
    """Return the script of connections ``pair x flows + flow``, all jobs doing the same. ``pairs``: ranks."""
    first_of = {pair: index * flows for index, pair in enumerate(pairs)}
    sizes: list[list[int]] = [[] for _ in range(len(pairs) * flows)]
    waits: list[list[int]] = [[] for _ in sizes]
    followers: list[dict[int, list[Slot]]] = [{} for _ in sizes]
    for job in jobs:
        for src, dst in schedule.pairs:
            stream = schedule.stream(src, dst)
            for flow in range(flows):
                number = first_of[job[src], job[dst]] + flow
                for place, piece in enumerate(stream.stripe(flow, flows)):
                    sizes[number].append(piece.end_byte - piece.start_byte)
                    waits[number].append(len(piece.after))
                    for peer, needed in piece.after:
                        other = first_of[job[peer], job[src]] + needed % flows
                        followers[other].setdefault(needed // flows, []).append((number, place))
    return Script(
        tuple(map(tuple, sizes)),
        tuple(map(tuple, waits)),
        tuple(
            tuple(tuple(found.get(place, ())) for place in range(len(own)))
            for own, found in zip(sizes, followers, strict=True)
        ),
    )


def play(script: Script, network: Network, step_s: float) -> float:
    """Return when the last slice has arrived, seconds from the common start. ``network``: a stream per connection.

    Raises ValueError for a network of other streams, and for slices that wait for each other for ever.
    """
    if network.streams != len(script.sizes):
        raise ValueError(f"{network.streams} streams, expected one per connection: {len(script.sizes)}")
    state = _State(script, network, step_s)
    while state.left:
        state.advance()
    return state.now_s


class _State:
    def __init__(self, script: Script, network: Network, step_s: float) -> None:
        self._script, self._network, self._step_s = script, network, step_s
        self.now_s, self.left = 0.0, script.slices
        self._missing = [list(own) for own in script.waits]
        self._place = [0] * len(script.sizes)
        self._ready_s: dict[Slot, float] = {}
        self._later: list[tuple[float, int]] = []  # when a connection's head may begin
        self._sending = np.zeros(network.streams, bool)
        self._bytes = np.zeros(network.streams)
        self._rates: dict[bytes, Floats] = {}
        for number in range(network.streams):
            self._begin(number)

    def advance(self) -> None:
        """Go on to the next moment at which anything changes."""
        key = self._sending.tobytes()
        rates = self._rates.get(key)
        if rates is None:
            rates = self._rates[key] = max_min(self._network, self._sending)
        until_s = np.full(self._network.streams, np.inf)
        np.divide(self._bytes, rates, out=until_s, where=self._sending)
        next_s = min(float(until_s.min(initial=np.inf)), self._later[0][0] - self.now_s if self._later else np.inf)
        if not np.isfinite(next_s):
            raise ValueError(f"{self.left} slices wait for each other, expected an order in which all can be sent")
        next_s = max(next_s, 0.0)
        self.now_s += next_s
        self._bytes -= np.where(self._sending, rates * next_s, 0.0)
        ended = np.flatnonzero(self._sending & (until_s <= next_s * (1 + 1e-9) + 1e-12))
        for number in ended.tolist():
            self._arrive(number)
        while self._later and self._later[0][0] <= self.now_s + 1e-12:
            _at_s, number = heapq.heappop(self._later)
            self._begin(number)

    def _arrive(self, number: int) -> None:
        place = self._place[number]
        self._sending[number] = False
        self._bytes[number] = 0.0
        self._place[number] += 1
        self.left -= 1
        for other, behind in self._script.followers[number][place]:
            self._missing[other][behind] -= 1
            if not self._missing[other][behind]:
                self._ready_s[other, behind] = self.now_s + self._step_s
                if behind == self._place[other] and not self._sending[other]:
                    self._begin(other)
        self._begin(number)

    def _begin(self, number: int) -> None:
        """Send the next slice of a connection, at once or when it may."""
        place = self._place[number]
        sizes = self._script.sizes[number]
        if place == len(sizes) or self._sending[number] or self._missing[number][place]:
            return
        ready_s = self._ready_s.get((number, place), 0.0)
        if ready_s > self.now_s + 1e-12:
            heapq.heappush(self._later, (ready_s, number))
            return
        self._sending[number] = True
        self._bytes[number] = sizes[place]

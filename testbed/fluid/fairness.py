"""Max-min fair rates, and how long it takes until everybody has had its bytes. Pure, numpy.

A *stream* is whatever moves at one rate: a flow, a pair of ranks that deals its slices to flows in turn, a whole ring.
A stream loads a link with ``cost`` bytes on the wire for each byte of payload, more than one where headers, several of
its flows, or only a part of it where it is spread. Max-min fair (Bertsekas & Gallager, Data Networks, 6.5.2): no
stream's rate can grow without that of one that is no faster falling. Rates are found by progressive filling, at many
places at once: a link freezes its streams when it is what holds back each of them, not only the fullest of all links.
So problems without a link in common (a seed each) are solved together in as many rounds as the longest of them takes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

_ALIKE = 1e-9  # relative; differences below are rounding


@dataclass(frozen=True, slots=True)
class Network:
    """Who loads what: entry e says that stream ``stream[e]`` puts ``cost[e]`` bytes on link ``link[e]`` per byte.

    ``capacity``: bytes/s of each link, shape (links,). The entries' arrays have one shape; a stream may name a link
    more than once. Raises ValueError for costs or capacities that are not positive, and links that do not exist.
    """

    streams: int
    capacity: Floats
    stream: Ints
    link: Ints
    cost: Floats

    def __post_init__(self) -> None:
        if not len(self.stream) == len(self.link) == len(self.cost):
            raise ValueError(f"{len(self.stream)}, {len(self.link)}, {len(self.cost)} entries, expected equally many")
        if not (np.all(self.capacity > 0) and np.all(self.cost > 0) and np.all(np.isfinite(self.cost))):
            raise ValueError("a capacity or cost is not positive, expected numbers above 0")
        for what, values, most in (("link", self.link, len(self.capacity)), ("stream", self.stream, self.streams)):
            if len(values) and not (values.min() >= 0 and values.max() < most):
                raise ValueError(f"{what} {values.min()}..{values.max()}, expected 0..{most - 1}")

    def loads(self, rates: Floats) -> Floats:
        """Return the bytes/s on the wire of every link, where streams move at ``rates`` payload bytes/s."""
        return np.bincount(self.link, self.cost * rates[self.stream], len(self.capacity)).astype(float)


def max_min(network: Network, active: Bools | None = None) -> Floats:
    """Return the max-min fair rate of every stream, payload bytes/s; 0 for those not ``active`` (None: all are).

    A stream that crosses no link has no limit: inf.
    """
    rates = np.zeros(network.streams)
    open_ = np.ones(network.streams, bool) if active is None else active.copy()
    left = network.capacity.copy()
    stream, link, cost = network.stream, network.link, network.cost
    while open_.any():
        here = open_[stream]
        stream, link, cost = stream[here], link[here], cost[here]
        if not len(stream):
            rates[open_] = np.inf
            break
        weight = np.bincount(link, cost, len(left))
        share = np.full(len(left), np.inf)
        np.divide(np.maximum(left, 0.0), weight, out=share, where=weight > 0)
        least = np.full(network.streams, np.inf)  # what each stream's tightest link would give it
        np.minimum.at(least, stream, share[link])
        held = np.full(len(left), np.inf)  # the least that any stream of a link would get anywhere
        np.minimum.at(held, link, least[stream])
        rules = held >= share * (1 - _ALIKE)
        frozen = np.zeros(network.streams, bool)
        frozen[stream[rules[link]]] = True
        frozen |= open_ & np.isinf(least)
        rates[frozen] = least[frozen]
        done = frozen[stream]
        spent = np.bincount(link[done], cost[done] * rates[stream[done]], len(left))
        left -= spent
        open_ &= ~frozen
    return rates


def completion(network: Network, sizes: Floats, group: Ints | None = None) -> Floats:
    """Return when each stream has moved its ``sizes`` bytes if all start together and share fairly, in seconds.

    What a stream leaves when it ends goes to the others. ``group``: streams of different groups have no link in
    common, and every group has a clock of its own (None: one group). Raises ValueError for sizes below 0.
    """
    if len(sizes) and not (sizes.min() >= 0 and np.all(np.isfinite(sizes))):
        raise ValueError("a size is negative or no number, expected at least 0")
    group = np.zeros(network.streams, np.int64) if group is None else group
    groups = int(group.max()) + 1 if len(group) else 0
    ends, clock = np.zeros(network.streams), np.zeros(groups)
    left = np.asarray(sizes, float).copy()
    active = left > 0
    while active.any():
        rates = max_min(network, active)
        lasts = np.full(network.streams, np.inf)
        np.divide(left, rates, out=lasts, where=active)
        step = np.full(groups, np.inf)
        np.minimum.at(step, group, lasts)
        step[np.isinf(step)] = 0.0
        clock += step
        ended = active & (lasts <= step[group] * (1 + _ALIKE))
        left = np.where(active & ~ended, left - np.where(np.isinf(rates), 0.0, rates) * step[group], 0.0)
        ends[ended] = clock[group[ended]]
        active &= ~ended
    return ends


def joined(networks: list[Network]) -> tuple[Network, Ints]:
    """Return problems side by side as one, and the group of each stream: the index of its problem."""
    first_stream = np.cumsum([0, *(one.streams for one in networks)])
    first_link = np.cumsum([0, *(len(one.capacity) for one in networks)])
    whole = Network(
        int(first_stream[-1]),
        np.concatenate([one.capacity for one in networks]),
        np.concatenate([one.stream + offset for one, offset in zip(networks, first_stream, strict=False)]),
        np.concatenate([one.link + offset for one, offset in zip(networks, first_link, strict=False)]),
        np.concatenate([one.cost for one in networks]),
    )
    return whole, np.repeat(np.arange(len(networks)), [one.streams for one in networks])

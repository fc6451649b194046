"""Dynamic load balancing: which placed flow should leave a hot link, and for which path. Pure.

A link is hot when it has been above ``hot_utilization`` for ``hot_polls`` polls in a row. One flow per hot
link and poll moves, and only if the worst link of its path is then wanted by at least ``min_gain_fraction`` of a
link's rate less than the worst link of its present path: a flow alone on its link therefore stays, and so
does everything when all paths are equally full. A flow that has just been placed stays for ``hold_s``.

Loads are compared by what flows *want*, not by what they get: where flows depend on each other, as in a ring,
one crowded link slows all of them, every other link looks half empty, and measured rates would send flows
there that crowd it as soon as they speed up (natural demand instead of measured rate: Hedera, NSDI 2010).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from testbed.gse.fractions import WantedLoad
from testbed.gse.load import LinkId, LoadMonitor, links_of_path
from testbed.gse.pins import Pin
from testbed.gse.policy import FlowKey
from testbed.model.ranks import Flow
from testbed.model.scheme_spec import GsosSpec


@dataclass(frozen=True, slots=True)
class Move:
    """A flow leaves a hot link; ``worst_before`` and ``worst_after`` are of the worst link of its path."""

    pin: Pin
    path: int
    hot_link: LinkId
    hot_load: WantedLoad
    worst_before: WantedLoad
    worst_after: WantedLoad


def _preference(move: Move) -> tuple[float, bool, FlowKey, int]:
    """Order moves: the largest gain; among equals rather a flow nobody planned for than one of a job's placement."""
    return (round(move.worst_after - move.worst_before, 2), move.pin.job is not None, move.pin.flow.key, move.path)


class HotLinks:
    """Counts for how many polls in a row each link has been hot."""

    def __init__(self, settings: GsosSpec) -> None:
        self._settings = settings
        self._streak: dict[LinkId, int] = {}

    def observe(self, loads: LoadMonitor) -> None:
        """Take in one poll."""
        for link, load in loads.measured().items():
            self._streak[link] = self._streak.get(link, 0) + 1 if load >= self._settings.hot_utilization else 0

    def hot(self) -> list[LinkId]:
        """Return the links to act on, in order."""
        return sorted(link for link, polls in self._streak.items() if polls >= self._settings.hot_polls)

    def reset(self, links: Iterable[LinkId]) -> None:
        """Begin counting anew: the links' load has just been changed on purpose."""
        for link in links:
            self._streak[link] = 0


class Balancer:
    """Chooses moves for one poll; keeps its estimate of the loads in step with the moves already chosen."""

    def __init__(
        self,
        loads: LoadMonitor,
        settings: GsosSpec,
        live_paths: Callable[[int, int], Sequence[int]],
        now_s: float,
        pins: Iterable[Pin],
        wants: Mapping[FlowKey, WantedLoad],
    ) -> None:
        self._loads = loads
        self._wants = wants
        self._settings = settings
        self._live_paths = live_paths
        self._now_s = now_s
        self._estimate = self._wanted_loads(pins)

    def _wanted_loads(self, pins: Iterable[Pin]) -> dict[LinkId, WantedLoad]:
        """Return what is wanted of each link: by its placed flows, and by whatever else was measured on it."""
        rates: dict[LinkId, float] = {}
        wanted: dict[LinkId, WantedLoad] = {}
        for pin in pins:
            for flow, src_leaf, dst_leaf in pin.directions():
                for link in links_of_path(src_leaf, dst_leaf, pin.path):
                    rates[link] = rates.get(link, 0.0) + (self._loads.flow_fraction(flow.key) or 0.0)
                    wanted[link] = WantedLoad(wanted.get(link, 0.0) + self._want(flow))
        for link, load in self._loads.measured().items():
            wanted[link] = WantedLoad(wanted.get(link, 0.0) + max(0.0, load - rates.get(link, 0.0)))
        return wanted

    def _want(self, flow: Flow) -> WantedLoad:
        return self._wants.get(flow.key, WantedLoad(self._loads.flow_fraction(flow.key) or 0.0))

    def moves(self, hot: Sequence[LinkId], on_link: Callable[[LinkId], Sequence[Pin]]) -> list[Move]:
        """Return at most one move per hot link, hottest first."""
        chosen: list[Move] = []
        touched: set[LinkId] = set()
        for link in sorted(hot, key=lambda link: (-self._load(link), link)):
            if link in touched:
                continue
            options = [move for pin in on_link(link) for move in self._options(pin, link)]
            if not options:
                continue
            best = min(options, key=_preference)
            chosen.append(best)
            touched.update(self._apply(best))
        return chosen

    def _options(self, pin: Pin, hot_link: LinkId) -> list[Move]:
        """Return the moves of ``pin`` that would relieve the hot link and leave both its directions better off."""
        if self._now_s - pin.placed_s < self._settings.hold_s or not self._matters(pin, hot_link):
            return []
        before = max(self._load(link) for _want, links in self._directions(pin, pin.path) for link in links)
        moves = []
        for path in self._live_paths(pin.src_leaf, pin.dst_leaf):
            after = WantedLoad(
                max(self._load(link) + want for want, links in self._directions(pin, path) for link in links)
            )
            if path != pin.path and after < before and before - after >= self._settings.min_gain_fraction:
                moves.append(Move(pin, path, hot_link, self._load(hot_link), before, after))
        return moves

    def _matters(self, pin: Pin, hot_link: LinkId) -> bool:
        """Return whether the pin wants enough of the hot link for a move to relieve it (acknowledgements do not)."""
        return any(
            hot_link in links and want >= self._settings.min_gain_fraction and want > 0
            for want, links in self._directions(pin, pin.path)
        )

    def _directions(self, pin: Pin, path: int) -> list[tuple[WantedLoad, tuple[LinkId, LinkId]]]:
        """Return what each direction of the pin wants and the links it would cross on ``path``."""
        return [(self._want(flow), links_of_path(src, dst, path)) for flow, src, dst in pin.directions()]

    def _apply(self, move: Move) -> set[LinkId]:
        """Move the flow and its reverse in the estimate; return the links touched."""
        touched: set[LinkId] = set()
        for flow, src_leaf, dst_leaf in move.pin.directions():
            want = self._want(flow)
            for path, change in ((move.pin.path, -want), (move.path, want)):
                for link in links_of_path(src_leaf, dst_leaf, path):
                    self._estimate[link] = WantedLoad(self._load(link) + change)
                    touched.add(link)
        return touched

    def _load(self, link: LinkId) -> WantedLoad:
        return self._estimate.get(link, WantedLoad(0.0))

"""A journal done again: a fresh core is called as the recorded one was, and has to decide the same, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import isinf
from random import Random

from testbed.gse.dataplane.edge import Edge
from testbed.journal import format as journal
from testbed.journal.decision import Order, ToFabric, ToHost, decision_of, frames_in, parse_decision
from testbed.journal.reader import Journal

_Frames = Sequence[ToFabric | ToHost]


@dataclass(frozen=True, slots=True)
class Difference:
    """The first decision that is not as recorded. ``event`` counts from 1, ``t_s`` from the core's beginning."""

    event: int
    t_s: float
    what: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"event {self.event}, {self.t_s:.6f} s: {self.what}; got {self.got}, expected {self.expected}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a replay went: events and frames that were as recorded, and the first that was not (None: all were).

    ``incomplete``: why the journal has not everything there was; None: nothing says so, or nobody read so far.
    """

    events: int
    frames: int
    difference: Difference | None
    incomplete: str | None


def replay(record: Journal) -> Outcome:
    """Do a journal again up to its end, or to the first difference. Raises ResultsError when it is damaged."""
    birth = record.birth
    edge = Edge(birth.profile, birth.place, epoch=birth.epoch, rng=Random(birth.seed), now_s=birth.now_s)
    events = record.events()
    number = frames = 0
    for number, event in enumerate(events, start=1):
        try:
            got = _do(edge, event)
        except Exception as error:  # whatever code that was changed, or a frame nobody foresaw, leads to
            return Outcome(number - 1, frames, _failure(number, event, birth, error, events), None)
        if isinstance(event, journal.Advance) and event.decision:
            if got != event.decision:
                return Outcome(number - 1, frames, _difference(number, event, birth, got), None)
            frames += frames_in(got)
    return Outcome(number, frames, None, record.incomplete)


def _do(edge: Edge, event: journal.Event) -> bytes:
    """Call the core as ``event`` says; return what it decided, if it was to decide."""
    if isinstance(event, journal.HostFrame):
        edge.from_host(event.port, event.frame, event.now_s)
    elif isinstance(event, journal.FabricFrame):
        edge.from_fabric(event.frame, event.now_s)
    elif isinstance(event, journal.Carrier):
        edge.carrier(event.path, up=event.up, now_s=event.now_s)
    elif isinstance(event, journal.Seen):
        edge.seen(event.paths, event.now_s)
    elif isinstance(event, journal.Advance):
        edge.advance(event.now_s)
        decision = decision_of(edge)
        edge.outlet.to_fabric.clear()
        edge.outlet.to_hosts.clear()
        edge.source.pressure.orders.clear()
        return decision
    return b""


def _failure(
    number: int, event: journal.Event, birth: journal.Birth, error: Exception, later: Iterator[journal.Event]
) -> Difference:
    went_on = any(isinstance(one, journal.Advance) and one.decision for one in later)
    expected = "it to go on, as it did" if went_on else "something else, unless the recorded one ended so too"
    t_s = getattr(event, "now_s", birth.now_s) - birth.now_s
    return Difference(number, t_s, "the core fails", expected, f"{type(error).__name__}: {error}")


def _difference(number: int, event: journal.Advance, birth: journal.Birth, got: bytes) -> Difference:
    """Say what comes first in one decision and not in the other."""
    t_s = event.now_s - birth.now_s
    try:
        expected, found = parse_decision(event.decision), parse_decision(got)
    except ValueError as error:  # written by something else, checksum and all
        return Difference(number, t_s, "the decision", f"what no GSP writes: {error}", f"{frames_in(got)} frames")
    sides: tuple[tuple[str, _Frames, _Frames], ...] = (
        ("to the fabric", expected.to_fabric, found.to_fabric),
        ("to hosts", expected.to_hosts, found.to_hosts),
    )
    for where, wanted, given in sides:
        for index, (want, give) in enumerate(zip_longest(wanted, given), start=1):
            if want != give:
                return Difference(number, t_s, f"frame {index} {where}", *_told_apart(want, give))
    if expected.orders != found.orders:
        return Difference(number, t_s, "whom it pauses", *(_told(one.orders) for one in (expected, found)))
    wanted_s, given_s = (_due(due_s - birth.now_s) for due_s in (expected.due_s, found.due_s))
    return Difference(number, t_s, "when it wants to be called next", wanted_s, given_s)


def _told(orders: Sequence[Order]) -> str:
    return ", ".join(f"port {port} {'to pause' if paused else 'to go on'}" for port, paused in orders) or "nobody"


def _due(due_s: float) -> str:
    return "not before a frame comes" if isinf(due_s) else f"{due_s!r} s"


def _told_apart(want: ToFabric | ToHost | None, give: ToFabric | ToHost | None) -> tuple[str, str]:
    """Return two frames in words that are not the same."""
    wanted, given = _words(want), _words(give)
    if wanted == given:  # they differ in what the words leave out
        wanted, given = (f"{words} [{_hex(frame)}]" for words, frame in ((wanted, want), (given, give)))
    return wanted, given


def _words(frame: ToFabric | ToHost | None) -> str:
    if frame is None:
        return "no such frame"
    if isinstance(frame, ToHost):
        return f"{frame.frame_bytes} B to port {frame.port} (digest {frame.digest.hex()})"
    from scapy.layers.l2 import Ether

    from testbed.capture import layers
    from testbed.capture.decode import describe

    layers.load()
    words = describe(Ether(frame.head)).rstrip(" |")  # nothing is known of the inside
    return f"{words} (digest {frame.inner_digest.hex()})" if frame.inner_bytes else words


def _hex(frame: ToFabric | ToHost | None) -> str:
    return frame.head.hex() if isinstance(frame, ToFabric) else ""

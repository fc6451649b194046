"""Journals as bytes: what is written is read; what is cut is read as far as it goes; what is damaged is refused."""

from __future__ import annotations

import io
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from testbed.errors import ResultsError
from testbed.gse.dataplane.place import Place, Where
from testbed.gse.dataplane.profile import Profile
from testbed.journal import format as journal
from testbed.journal.decision import Decision, ToFabric, ToHost, decision_of, digest, frames_in, parse_decision
from testbed.journal.reader import Journal
from testbed.journal.recorder import RecordedEdge
from tests.unit.gse_fabric import data_frame, host_frame, mac_of
from tests.unit.gse_journals import events_of, opened

PLACE = Place(
    gsp=0x100,
    ports={2: 1.25e6 / 3, 1: 1.25e6},
    paths=2,
    uplink_bytes_per_s=1e7 / 3,
    hosts={mac_of(1, 1): Where(0x100, 1), mac_of(1, 2): Where(0x100, 2), mac_of(2, 1): Where(0x200, 1)},
    peers=[0x300, 0x200],
    watches_paths=True,
)
BIRTH = journal.Birth(
    name="l1", profile=Profile(gap_s=1 / 3), place=PLACE, epoch=0xFFFF, seed="1/l1", now_s=100.1 + 0.2
)
TIMES = st.floats(allow_nan=False)
FRAMES = st.binary(max_size=200)
EVENTS = st.one_of(
    st.builds(journal.HostFrame, TIMES, st.integers(0, 0xFFFF), FRAMES),
    st.builds(journal.FabricFrame, TIMES, FRAMES),
    st.builds(journal.Carrier, TIMES, st.integers(0, 0xFFFF), st.booleans()),
    st.builds(journal.Seen, TIMES, st.integers(0, 2**255 - 1)),
    st.builds(journal.Advance, TIMES, FRAMES),
)


def parts_of(event: journal.Event) -> journal.Parts:
    if isinstance(event, journal.HostFrame):
        return journal.host_frame(*event)
    if isinstance(event, journal.FabricFrame):
        return journal.fabric_frame(*event)
    if isinstance(event, journal.Carrier):
        return journal.carrier(*event)
    if isinstance(event, journal.Seen):
        return journal.seen(*event)
    if isinstance(event, journal.Advance):
        return journal.advance(*event)
    return journal.end(event.why)


def written(blocks: list[list[journal.Event]], why: str | None = None) -> bytes:
    data = journal.beginning(BIRTH)
    for events in blocks:
        data += journal.block(part for event in events for part in parts_of(event))
    return data if why is None else data + journal.block(journal.end(why))


@given(st.lists(st.lists(EVENTS, max_size=4), max_size=4))
def test_what_is_written_is_read(blocks: list[list[journal.Event]]) -> None:
    record = opened(written(blocks))
    assert list(record.events()) == [event for events in blocks for event in events]
    assert record.incomplete is None


def test_how_a_core_began_is_read_to_the_last_bit_and_in_order() -> None:
    birth = opened(written([])).birth
    assert birth == BIRTH
    assert list(birth.place.ports) == [2, 1]
    assert birth.place.peers == [0x300, 0x200]
    assert birth.now_s.hex() == BIRTH.now_s.hex()


SOME = [
    [journal.HostFrame(100.4, 1, b"abc"), journal.Advance(100.4, b"d")],
    [journal.Carrier(100.5, 1, False), journal.FabricFrame(100.5, b"xyz" * 20), journal.Advance(100.5, b"")],
]


ENDS = [len(written(SOME[:number])) for number in range(len(SOME) + 1)]  # of the beginning and every block


@given(st.integers(ENDS[0], len(written(SOME)) - 1))
@example(ENDS[0])
@example(ENDS[-1])
def test_cut_journal_is_read_up_to_its_last_whole_block(left: int) -> None:
    record = opened(written(SOME)[:left])
    blocks = max(number for number, end in enumerate(ENDS) if end <= left)
    assert list(record.events()) == [event for events in SOME[:blocks] for event in events]
    if left in ENDS:
        assert record.incomplete is None  # nothing is missing
    else:
        assert record.incomplete is not None
        assert f"its last record, from byte {ENDS[blocks]:,} on, is cut" in record.incomplete


@given(st.integers(0, ENDS[0] - 1))
def test_journal_cut_before_anything_happened_is_refused(left_bytes: int) -> None:
    with pytest.raises(
        ResultsError, match=r"some.journal: no journal that can be replayed; got .*, expected a journal"
    ):
        opened(written(SOME)[:left_bytes])


@given(st.integers(0, len(written(SOME)) - 1), st.integers(1, 255))
def test_no_damaged_byte_goes_unnoticed(at: int, change: int) -> None:
    data = bytearray(written(SOME))
    data[at] ^= change
    with pytest.raises(ResultsError, match=r"some.journal.*; got .*, expected "):
        events_of(bytes(data))


def test_damage_is_said_to_be_where_it_is() -> None:
    data = bytearray(written(SOME))
    at = ENDS[1]
    data[at + 20] ^= 1
    with pytest.raises(ResultsError, match=rf"some.journal: byte {at:,}: damaged; got the body .* its checksum"):
        events_of(bytes(data))


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b"", "begins with b''"),
        (b"\xd4\xc3\xb2\xa1\x02\x00\x04\x00 a pcap file", "begins with b'"),
        (journal.PREAMBLE.pack(journal.MAGIC, 1), "format version 1"),
        (journal.PREAMBLE.pack(journal.MAGIC, journal.VERSION) + journal.block([b"[]"]), "how the core began"),
        (journal.PREAMBLE.pack(journal.MAGIC, journal.VERSION) + journal.block([b"{}"]), "without 'place'"),
        (journal.PREAMBLE.pack(journal.MAGIC, journal.VERSION) + journal.block([b"[" * 100_000]), "how the core began"),
        (journal.beginning(BIRTH).replace(b'"gap_s": 0.33', b'"gap_s": -.33'), "checksum"),
    ],
)
def test_what_is_no_journal_is_refused(data: bytes, got: str) -> None:
    with pytest.raises(ResultsError) as refused:
        opened(data)
    (problem,) = refused.value.problems
    assert got in problem.got
    assert problem.expected == "a journal of a GSP (raw/*.journal, format version 3)"


@pytest.mark.parametrize(
    ("change", "got"),
    [
        ({"profile": {"gap_s": -1}}, "profile.gap_s: Input should be greater than 0"),
        ({"profile": {"speed": 1}}, "profile.speed: Extra inputs"),
        ({"place": {**PLACE.to_json(), "paths": 10**9}}, "1000000000 paths"),
        ({"place": {**PLACE.to_json(), "hosts": []}}, "how the core began"),
        ({"epoch": "soon"}, "invalid literal"),
    ],
)
def test_beginning_that_cannot_be_is_refused_in_words(change: dict[str, Any], got: str) -> None:
    import json

    value = {**json.loads(journal.beginning(BIRTH)[journal.PREAMBLE.size + journal.HEAD.size :]), **change}
    data = journal.PREAMBLE.pack(journal.MAGIC, journal.VERSION) + journal.block([json.dumps(value).encode()])
    with pytest.raises(ResultsError) as refused:
        opened(data)
    assert got in refused.value.problems[0].got


@given(st.binary(max_size=100))
def test_blocks_somebody_else_made_are_events_or_refused(body: bytes) -> None:
    data = written([]) + journal.block([body])
    try:
        events_of(data)
    except ResultsError as error:
        assert "damaged" in str(error)


def test_nothing_may_follow_the_end() -> None:
    with pytest.raises(ResultsError, match="something behind its end"):
        events_of(written([], "full") + journal.block(parts_of(SOME[0][0])))


def test_why_recording_stopped_is_said() -> None:
    record = opened(written(SOME, "reached its 1 GiB"))
    assert len(list(record.events())) == 5
    assert record.incomplete == "reached its 1 GiB"


# --- decisions -------------------------------------------------------------------------------------------


def recorded(*, room: int = 1 << 30) -> tuple[RecordedEdge, list[bytes]]:
    chunks: list[bytes] = []

    def write(data: bytes) -> bool:
        if sum(map(len, chunks)) + len(data) > room:
            return False
        chunks.append(data)
        return True

    return RecordedEdge(BIRTH, write), chunks


def test_decision_has_headers_in_full_and_inner_frames_by_digest() -> None:
    edge, _chunks = recorded()
    edge.from_host(1, host_frame((1, 1), (2, 1), 1, 100), 100.4)
    inner = host_frame((2, 1), (1, 1), 0, 100)
    edge.from_fabric(data_frame((2, 1), (1, 1), 0), 100.4)
    edge.advance(100.4)
    encoded = decision_of(edge)
    decision = parse_decision(encoded)
    assert [frame.head for frame in decision.to_fabric] == [head for head, _inner in edge.outlet.to_fabric]
    assert decision.to_hosts == (ToHost(1, 100, digest(inner)),)
    assert decision.due_s == edge.due_s()
    assert frames_in(encoded) == len(decision.to_fabric) + 1 > 1


def test_core_that_waits_for_nothing_says_so() -> None:
    edge, _chunks = recorded()
    edge.due_s = lambda: None  # type: ignore[method-assign]
    assert parse_decision(decision_of(edge)) == Decision(math.inf, (), (), ())


@given(st.binary(max_size=80))
def test_bytes_of_others_are_a_decision_or_refused(data: bytes) -> None:
    try:
        decision = parse_decision(data)
    except ValueError:
        return
    assert all(isinstance(frame, ToFabric) for frame in decision.to_fabric)


# --- recording -------------------------------------------------------------------------------------------


def test_recording_ends_when_no_more_is_taken_and_the_core_goes_on() -> None:
    edge, chunks = recorded(room=len(journal.beginning(BIRTH)) + 400)
    for number in range(20):
        edge.from_host(1, host_frame((1, 1), (2, 1), number, 100), 100.4 + number)
        edge.carrier(0, up=True, now_s=100.4 + number)
        edge.advance(100.4 + number)
    edge.close()
    assert edge.counters.host_in_frames == 20
    record = opened(b"".join(chunks))
    assert 0 < len(list(record.events())) < 20
    assert record.incomplete is None


def test_frame_the_core_fails_at_is_the_last_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    edge, chunks = recorded()
    frame = host_frame((1, 1), (2, 1), 1, 100)

    def fail(*_arguments: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(edge.source, "take", fail)
    with pytest.raises(RuntimeError):
        edge.from_host(1, frame, 100.4)
    edge.close()
    assert events_of(b"".join(chunks)) == [journal.HostFrame(100.4, 1, frame)]


def test_call_of_advance_the_core_fails_in_is_recorded_without_a_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    edge, chunks = recorded()

    def fail(_now_s: float) -> None:
        raise RuntimeError

    monkeypatch.setattr(edge.sink, "grant", fail)
    with pytest.raises(RuntimeError):
        edge.advance(100.4)
    edge.close()
    edge.close()  # more than once does no harm
    record = Journal(io.BytesIO(b"".join(chunks)), "some.journal")
    assert list(record.events()) == [journal.Advance(100.4, b"")]
    assert record.incomplete is None

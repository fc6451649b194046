"""Max-min fairness: its definition as properties, closed forms, and the oracle where one link rules."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fluid.fairness import Network, completion, joined, max_min
from testbed.gse.authorise import max_min_rates


@st.composite
def networks(draw: st.DrawFn) -> Network:
    """Up to eight streams over up to six links, every stream on one at least, with unequal costs."""
    links, streams = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    capacity = draw(st.lists(st.floats(0.5, 100), min_size=links, max_size=links))
    entries = [
        (stream, link, draw(st.sampled_from([0.25, 0.5, 1.0, 1.01, 3.0])))
        for stream in range(streams)
        for link in draw(st.sets(st.integers(0, links - 1), min_size=1))
    ]
    return network(streams, capacity, entries)


def network(streams: int, capacity: list[float], entries: list[tuple[int, int, float]]) -> Network:
    stream, link, cost = zip(*entries, strict=True) if entries else ((), (), ())
    return Network(
        streams,
        np.array(capacity, float),
        np.array(stream, np.int64),
        np.array(link, np.int64),
        np.array(cost, float),
    )


@given(networks())
def test_no_link_is_over_its_capacity(net: Network) -> None:
    assert np.all(net.loads(max_min(net)) <= net.capacity * (1 + 1e-6))


@given(networks())
def test_every_stream_has_a_full_link_on_which_nobody_is_faster(net: Network) -> None:
    rates = max_min(net)
    full = net.loads(rates) >= net.capacity * (1 - 1e-6)
    fastest = np.zeros(len(net.capacity))
    np.maximum.at(fastest, net.link, rates[net.stream])
    for stream in range(net.streams):
        mine = net.link[net.stream == stream]
        assert any(full[link] and rates[stream] >= fastest[link] * (1 - 1e-6) for link in mine)


@given(networks(), st.randoms(use_true_random=False))
def test_names_do_not_matter(net: Network, rng: Random) -> None:
    streams, links, entries = list(range(net.streams)), list(range(len(net.capacity))), list(range(len(net.link)))
    for order in (streams, links, entries):
        rng.shuffle(order)
    new_stream, new_link = np.argsort(streams), np.argsort(links)
    shuffled = Network(
        net.streams,
        net.capacity[links],
        new_stream[net.stream[entries]],
        new_link[net.link[entries]],
        net.cost[entries],
    )
    assert max_min(shuffled) == pytest.approx(max_min(net)[streams], rel=1e-6)


@given(networks(), networks())
def test_problems_side_by_side_do_not_meet(one: Network, other: Network) -> None:
    whole, group = joined([one, other])
    assert group.tolist() == [0] * one.streams + [1] * other.streams
    assert max_min(whole) == pytest.approx(np.concatenate([max_min(one), max_min(other)]), rel=1e-6)
    sizes = np.arange(1.0, whole.streams + 1)
    apart = [completion(one, sizes[: one.streams]), completion(other, sizes[one.streams :])]
    assert completion(whole, sizes, group) == pytest.approx(np.concatenate(apart), rel=1e-6)


@given(st.data())
def test_agrees_with_what_gsos_authorises_by(data: st.DataObject) -> None:
    names = "abcde"
    capacities = {name: data.draw(st.floats(1, 50)) for name in names}
    routes = data.draw(st.lists(st.sets(st.sampled_from(names), min_size=1).map(tuple), min_size=1, max_size=9))
    entries = [(flow, names.index(name), 1.0) for flow, route in enumerate(routes) for name in route]
    net = network(len(routes), [capacities[name] for name in names], entries)
    assert max_min(net) == pytest.approx(max_min_rates(routes, capacities), rel=1e-6)


@given(networks(), st.lists(st.just(0.0) | st.floats(1e-3, 1000), min_size=8, max_size=8))
def test_all_bytes_are_moved_and_no_sooner_than_links_allow(net: Network, sizes: list[float]) -> None:
    wanted = np.array(sizes[: net.streams])
    ends = completion(net, wanted)
    loads = np.bincount(net.link, net.cost * wanted[net.stream], len(net.capacity))
    assert ends.max() >= (loads / net.capacity).max() * (1 - 1e-6)
    assert np.all((ends > 0) == (wanted > 0))
    alone = max_min(net)
    assert np.all(ends <= sum(wanted / alone) * (1 + 1e-6) + 1e-9)


@given(networks(), st.floats(0.1, 10))
def test_twice_the_rate_takes_half_the_time(net: Network, factor: float) -> None:
    sizes = np.full(net.streams, 7.0)
    faster = Network(net.streams, net.capacity * factor, net.stream, net.link, net.cost)
    assert completion(faster, sizes) * factor == pytest.approx(completion(net, sizes), rel=1e-6)


def test_what_one_leaves_others_take() -> None:
    # two streams share 10 bytes/s; the first has 10 bytes, the second 30: 5 and 5, then 10 alone
    net = network(2, [10.0], [(0, 0, 1.0), (1, 0, 1.0)])
    assert completion(net, np.array([10.0, 30.0])).tolist() == pytest.approx([2.0, 4.0])


def test_parking_lot_in_closed_form() -> None:
    # one stream over all of five links, one more on each: everybody has a half
    entries = [(0, link, 1.0) for link in range(5)] + [(link + 1, link, 1.0) for link in range(5)]
    assert max_min(network(6, [2.0] * 5, entries)).tolist() == pytest.approx([1.0] * 6)


def test_stream_without_links_has_no_limit() -> None:
    assert max_min(network(2, [1.0], [(0, 0, 1.0)])).tolist() == [1.0, np.inf]


def test_a_stream_may_name_a_link_more_than_once() -> None:
    assert max_min(network(1, [6.0], [(0, 0, 1.0), (0, 0, 2.0)])).tolist() == [2.0]


@pytest.mark.parametrize(
    ("capacity", "entry", "word"),
    [
        (0.0, (0, 0, 1.0), "positive"),
        (1.0, (0, 0, 0.0), "positive"),
        (1.0, (0, 1, 1.0), "link"),
        (1.0, (1, 0, 1.0), "stream"),
    ],
)
def test_what_cannot_be_is_refused(capacity: float, entry: tuple[int, int, float], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        network(1, [capacity], [entry])


def test_sizes_below_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="size"):
        completion(network(1, [1.0], [(0, 0, 1.0)]), np.array([-1.0]))

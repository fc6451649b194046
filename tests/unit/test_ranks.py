from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st

from testbed.model.fabric_spec import FabricSpec
from testbed.model.pattern import ring
from testbed.model.ranks import pair_flows, place_ranks
from testbed.model.topology import Topology


@given(st.integers(2, 8), st.integers(1, 6), st.data())
def test_cross_leaf_makes_every_hop_cross_the_spine(leaves: int, hosts_per_leaf: int, data: st.DataObject) -> None:
    topology = Topology(FabricSpec(leaves=leaves, hosts_per_leaf=hosts_per_leaf))
    ranks = data.draw(st.integers(2, leaves * hosts_per_leaf))
    assume((ranks - 1) % leaves != 0)  # refused by the scenario's validation
    hosts = place_ranks(topology, ranks, "cross_leaf", Random(0))
    assert len(set(hosts)) == ranks
    assert all(hosts[rank].leaf != hosts[(rank + 1) % ranks].leaf for rank in range(ranks))


def test_leaf_local_crosses_the_spine_once_per_leaf() -> None:
    topology = Topology(FabricSpec())
    hosts = place_ranks(topology, 16, "leaf_local", Random(0))
    assert sum(hosts[rank].leaf != hosts[(rank + 1) % 16].leaf for rank in range(16)) == 4


def test_random_placement_depends_on_the_seed_only() -> None:
    topology = Topology(FabricSpec())
    placed = [place_ranks(topology, 16, "random", Random(seed)) for seed in (1, 1, 2)]
    assert placed[0] == placed[1] != placed[2]


def test_flows_of_a_hop_differ_in_source_port_only_and_share_its_demand() -> None:
    topology = Topology(FabricSpec())
    hosts = place_ranks(topology, 16, "cross_leaf", Random(0))
    hops = pair_flows(hosts, ring(len(hosts)).pairs, flows_per_pair=4, demand_bytes=4000, rng=Random(7))
    assert len(hops) == 16
    for rank, hop in enumerate(hops):
        assert {(flow.src_ip, flow.dst_ip, flow.dst_port) for flow in hop} == {
            (hosts[rank].ip, hosts[(rank + 1) % 16].ip, 20_000 + (rank + 1) % 16)
        }
        assert len({flow.src_port for flow in hop}) == 4
        assert [flow.demand_bytes for flow in hop] == [1000] * 4

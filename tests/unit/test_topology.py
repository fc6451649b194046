"""Topologies against hand-made expectations and invariants."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from testbed.model.fabric_spec import FabricSpec
from testbed.model.topology import Topology

fabrics = st.builds(
    FabricSpec,
    leaves=st.integers(1, 12),
    spines=st.integers(1, 12),
    hosts_per_leaf=st.integers(1, 8),
    links_per_pair=st.integers(1, 3),
)


def test_the_default_fabric_has_the_documented_names_ports_and_addresses() -> None:
    topology = Topology(FabricSpec())
    assert [leaf.dpid for leaf in topology.leaves] == [0x101, 0x102, 0x103, 0x104]
    assert [spine.dpid for spine in topology.spines] == [0x201, 0x202, 0x203, 0x204]
    host = topology.host("h7")  # 4 hosts on l1, so h7 is the third on l2
    assert (host.leaf, host.port, host.ip, host.mac) == (1, 3, "10.0.2.3", "02:00:00:00:02:03")
    assert len(topology.links) == 16 + 16
    last = topology.links[-1]
    assert (last.lower.intf, last.upper.intf) == ("l4-eth8", "s4-eth4")


def test_a_route_goes_up_and_down_by_its_path() -> None:
    topology = Topology(FabricSpec())
    route = topology.route(topology.host("h1"), topology.host("h5"), topology.path_id(spine=2, link=0))
    assert [step.name for step in route] == ["h1-eth0>l1-eth1", "l1-eth7>s3-eth1", "s3-eth2>l2-eth7", "l2-eth1>h5-eth0"]
    assert [step.kind for step in route] == ["host_tx", "uplink", "downlink", "host_rx"]


def test_hosts_of_one_leaf_never_meet_a_spine() -> None:
    topology = Topology(FabricSpec())
    route = topology.route(topology.host("h1"), topology.host("h2"), path=3)
    assert [step.name for step in route] == ["h1-eth0>l1-eth1", "l1-eth2>h2-eth0"]


def test_parallel_links_are_paths_of_their_own() -> None:
    topology = Topology(FabricSpec(leaves=2, spines=2, hosts_per_leaf=1, links_per_pair=2))
    assert [topology.path_name(path) for path in range(topology.fabric.paths)] == ["s1.1", "s1.2", "s2.1", "s2.2"]
    assert [end.intf for end in topology.link_ends(leaf=1, spine=1, link=1)] == ["l2-eth5", "s2-eth4"]


@given(fabrics)
def test_every_port_is_used_once_and_every_interface_name_fits_the_kernel(fabric: FabricSpec) -> None:
    topology = Topology(fabric)
    ends = [end for link in topology.links for end in (link.lower, link.upper)]
    assert max(Counter((end.node, end.port) for end in ends).values()) == 1
    assert all(len(end.intf) <= 15 for end in ends)
    for leaf in topology.leaves:  # ports 1..n without a hole
        ports = sorted(end.port for end in ends if end.node == leaf.name)
        assert ports == list(range(1, fabric.hosts_per_leaf + fabric.paths + 1))


@given(fabrics)
def test_addresses_are_unique_and_inside_their_leafs_prefix(fabric: FabricSpec) -> None:
    topology = Topology(fabric)
    assert len({host.ip for host in topology.hosts}) == fabric.hosts == len({host.mac for host in topology.hosts})
    for host in topology.hosts:
        assert host.ip.rsplit(".", 1)[0] == topology.leaf_prefix(host.leaf).rsplit(".", 1)[0]
        assert topology.host_by_ip(host.ip) is host


@given(fabrics, st.data())
def test_a_route_is_a_chain_of_links_from_source_to_target(fabric: FabricSpec, data: st.DataObject) -> None:
    topology = Topology(fabric)
    src = data.draw(st.sampled_from(topology.hosts))
    dst = data.draw(st.sampled_from(topology.hosts))
    path = data.draw(st.integers(0, fabric.paths - 1))
    route = topology.route(src, dst, path)
    assert route[0].src.node == src.name
    assert route[-1].dst.node == dst.name
    assert all(one.dst.node == two.src.node for one, two in zip(route, route[1:], strict=False))


@given(fabrics)
def test_a_topology_survives_json(fabric: FabricSpec) -> None:
    assert Topology.from_json(Topology(fabric).to_json()) == Topology(fabric)

"""Who is in which group, on which node and NIC, and what is refused."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from testbed.fields import Mistakes
from testbed.training.groups import (
    group_ranks,
    groups,
    inside_node,
    neighbours_share,
    nic_of,
    node_of,
    ring_share,
)
from testbed.training.iteration import Communicate
from testbed.training.layout import Layout, check_fit
from testbed.training.presets import GPT3_13B, LLAMA2_13B, LLAMA2_70B
from testbed.training.volume import ideal_seconds, nic_bytes


def layout(**fields: object) -> Layout:
    return Layout.model_validate({"data": 1, "global_batch": fields.get("data", 1), **fields})


def test_nvidias_layout_of_llama2_13b() -> None:
    # NeMo-Framework-Launcher, auto_configurator/base_configs/llama2_13b.yaml
    found = layout(tensor=2, data=8, sequence_parallel=True, micro_batch=2, global_batch=128, zero=1, overlap=False)
    assert (found.gpus, found.nodes, found.micro_batches, found.tokens) == (16, 2, 8, 524_288)


def test_ranks_are_numbered_tensor_first_then_replicas_then_stages() -> None:
    found = layout(tensor=2, data=2, pipeline=2)
    assert groups(found, "tp") == ((0, 1), (2, 3), (4, 5), (6, 7))
    assert groups(found, "dp") == ((0, 2), (1, 3), (4, 6), (5, 7))
    assert groups(found, "pp") == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert [group_ranks(found, kind) for kind in ("tp", "dp", "pp")] == [2, 2, 2]
    assert groups(found, "ep") == tuple((rank,) for rank in range(8))  # nobody shares out experts
    assert sorted(groups(found, "dp_ep")) == sorted(groups(found, "dp"))


def test_nics_of_a_node_serve_equal_runs_of_accelerators() -> None:
    found = layout(data=16, nics_per_node=2)
    assert [nic_of(found, rank) for rank in (0, 3, 4, 7, 8, 15)] == [(0, 0), (0, 0), (0, 1), (0, 1), (1, 0), (1, 1)]
    assert node_of(found, 8) == 1


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"data": 8}, {"dp", "tp", "pp", "ep", "dp_ep"}),
        ({"tensor": 8, "data": 2}, {"tp", "pp", "ep"}),
        # a stage is a node: only activations leave it
        ({"tensor": 4, "pipeline": 2, "data": 2}, {"tp", "dp", "ep", "dp_ep"}),
        ({"tensor": 2, "pipeline": 2, "data": 8}, {"tp", "ep"}),
        ({"tensor": 16, "data": 2}, {"pp", "ep"}),
    ],
)
def test_groups_that_fit_into_a_node_stay_there(fields: dict[str, int], kinds: set[str]) -> None:
    assert inside_node(layout(**fields)) == kinds


GRADIENTS = 2 * 13_015_864_320


@pytest.mark.parametrize(
    ("tensor", "data", "expected_gb"),
    [
        (1, 64, 6.41),  # 2 x 63/64 x 26.03 GB / 8 NICs
        (2, 32, 6.30),  # two groups: 2 x 2 x 31/32 x 13.02 GB / 8
        (2, 8, 5.69),  # two nodes of NVIDIA's layout: 2 x 2 x 7/8 x 13.02 GB / 8
        (8, 4, 4.88),  # a group on each NIC: 2 x 3/4 x 3.25 GB
    ],
)
def test_bytes_of_a_nic_hardly_depend_on_tensor_parallelism(tensor: int, data: int, expected_gb: float) -> None:
    """ "Per-NIC load" of the GSE notes, section 8, says 6.1 to 6.5 GB whatever t is, and 4.9 GB for TP8 on 4 nodes.

    With fewer replicas it is less, as (n-1)/n says: 5.7 GB on two nodes. The formula is the notes' own.
    """
    op = Communicate("backward", "allreduce", "dp", GRADIENTS // tensor)
    assert nic_bytes(layout(tensor=tensor, data=data), op) / 1e9 == pytest.approx(expected_gb, abs=0.005)


def test_a_single_nic_carries_all_that_leaves_the_node() -> None:
    op = Communicate("backward", "allreduce", "dp", 64_000)
    one, eight = layout(data=64, nics_per_node=1), layout(data=64)
    assert nic_bytes(one, op) == 2 * 63 * 1000
    assert nic_bytes(eight, op) == 2 * 63 * 1000 / 8
    # 126,000 bytes at 1 Mbit/s = 125,000 bytes/s
    assert ideal_seconds(one, 1.0)(op) == pytest.approx(1.008)


def test_pipeline_neighbours_on_other_nodes_share_nics() -> None:
    found = layout(tensor=2, data=8, pipeline=2, nics_per_node=4)  # a stage is two nodes; two ranks a NIC
    assert neighbours_share(found) == 2
    assert nic_bytes(found, Communicate("forward", "send", "pp", 100, peer="next")) == 200
    assert nic_bytes(found, Communicate("forward", "exchange", "pp", 100, peer="next")) == 200  # each way
    assert nic_bytes(found, Communicate("forward", "recv", "pp", 100, peer="next")) == 0


@given(
    st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]), st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 4, 8])
)
def test_every_rank_is_in_one_group_of_a_kind(tensor: int, pipeline: int, data: int, nics: int) -> None:
    found = layout(tensor=tensor, pipeline=pipeline, data=data, nics_per_node=nics, gpus_per_node=8)
    for kind, size in (("tp", tensor), ("dp", data), ("pp", pipeline)):
        made = groups(found, kind)
        assert Counter(rank for ranks in made for rank in ranks) == Counter(range(found.gpus))
        assert {len(ranks) for ranks in made} == {size}
        assert (ring_share(found, kind) == 0) == all(len({node_of(found, r) for r in ranks}) == 1 for ranks in made)
        assert (kind in inside_node(found)) == (ring_share(found, kind) == 0)
    assert (neighbours_share(found) == 0) == ("pp" in inside_node(found))


@given(st.sampled_from([1, 2, 4, 8]), st.sampled_from([2, 4, 8]), st.sampled_from([1, 2, 4, 8]))
def test_nics_of_a_node_together_send_what_leaves_it(tensor: int, nodes: int, nics: int) -> None:
    """With whole nodes of one stage, each of the t rings leaves each node once."""
    found = layout(tensor=tensor, data=8 * nodes // tensor, nics_per_node=nics)
    assert ring_share(found, "dp") * nics == pytest.approx(tensor)


def problems(caught: pytest.ExceptionInfo[ValidationError]) -> list[str]:
    return str(caught.value.errors()[0]["msg"]).removeprefix("Value error, ").split(" | ")


def test_all_mistakes_of_a_layout_are_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        layout(
            data=3,
            pipeline=3,
            micro_batch=2,
            global_batch=10,
            zero=3,
            sequence_parallel=True,
            nics_per_node=3,
            bucket_bytes=1,
        )
    assert problems(caught) == [
        "global_batch=10; expected a multiple of data x micro_batch = 6",
        "tensor x pipeline x data = 9 with gpus_per_node=8; expected whole nodes, or one that is not full",
        "nics_per_node=3 with gpus_per_node=8; expected a divisor of gpus_per_node "
        "(every NIC serves as many accelerators)",
        "sequence_parallel=True with tensor=1; expected tensor > 1",
        "zero=3 with pipeline=3; expected zero <= 1 or pipeline=1",
        "bucket_bytes=1; expected at least gradient_element_bytes",
    ]


def test_nobody_to_share_with_and_a_sequence_that_cannot_be_divided() -> None:
    with pytest.raises(ValidationError) as caught:
        layout(tensor=8, zero=1, sequence_parallel=True, sequence=100)
    assert problems(caught) == [
        "sequence=100 with tensor=8; expected a multiple of tensor",
        "zero=1 with data=1; expected data > 1 (there is nobody to share with)",
    ]


def test_all_that_does_not_fit_the_model_is_said_at_once() -> None:
    with pytest.raises(Mistakes) as caught:
        check_fit(LLAMA2_70B, layout(tensor=16, pipeline=3, data=8, sequence=8192))
    assert caught.value.mistakes == [
        "sequence=8192; expected at most context=4096 of llama2-70b",
        "pipeline=3; expected a divisor of layers=80 of llama2-70b",
        "tensor=16; expected a divisor of kv_heads=8 of llama2-70b",
    ]
    with pytest.raises(Mistakes, match="pipeline=2 with the tied embeddings of gpt3-13b; expected 1"):
        check_fit(GPT3_13B, layout(pipeline=2, data=8, sequence=2048))
    check_fit(LLAMA2_13B, layout(tensor=8, pipeline=4, data=2))


def test_sizes_may_have_units() -> None:
    assert layout(data=2, bucket_bytes="25MiB").bucket_bytes == 25 * 2**20


def test_numbers_beyond_floating_point_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        layout(micro_batch=10**400, global_batch=10**400, sequence=10**400)
    assert [error["loc"] for error in caught.value.errors()] == [("micro_batch",), ("global_batch",), ("sequence",)]

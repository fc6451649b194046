"""Mixtures of experts: parameters, groups, all-to-alls, buckets of their own."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from training_jobs import UNIT, Drawn, jobs, transformer

from testbed.fields import Mistakes
from testbed.training.build import build, build_stages
from testbed.training.groups import group_ranks, groups, inside_node, pairs_share
from testbed.training.hardware import A100, Hardware, iteration_compute_s, iteration_flops
from testbed.training.iteration import Communicate, Iteration, Total, totals
from testbed.training.layout import Layout, check_fit
from testbed.training.model import Experts
from testbed.training.pieces import Bucket, cut
from testbed.training.presets import DEEPSEEK_MOE_16B, LLAMA2_13B, MIXTRAL_8X7B
from testbed.training.sections import stage_sections
from testbed.training.volume import nic_bytes

# two layers with four experts of 2 x 4 x 4 = 32 parameters; attention and norms 64 + 8, router 16
SPARSE = transformer(Experts(count=4, per_token=2, ffn=4), layers=2)
A100_45 = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)


def layout(**fields: object) -> Layout:
    # one accelerator a node: every group is on the fabric
    defaults = {"global_batch": fields["data"], "sequence": 8, "gpus_per_node": 1, "nics_per_node": 1}
    return Layout.model_validate({**defaults, **fields})


def shown(iteration: Iteration) -> list[tuple[str, str, int]]:
    return [(op.operation, op.group, op.size_bytes) for op in iteration.communications]


# -- models ----------------------------------------------------------------------------------------------------


def test_mixtral_has_the_published_number_of_parameters() -> None:
    # elements of the published weights; a token: 12.9e9 (arXiv 2401.04088, section 1)
    assert MIXTRAL_8X7B.parameters == 46_702_792_704
    assert round(MIXTRAL_8X7B.active_parameters / 1e9, 1) == 12.9
    # a layer: 2 x 4096^2 + 2 x 4096 x 1024 + 2 x 4096 + 8 x 4096; an expert 3 x 4096 x 14336
    assert MIXTRAL_8X7B.routing_parameters == 33_554_432 + 8_388_608 + 8192 + 32_768
    assert MIXTRAL_8X7B.expert_parameters == 176_160_768


def test_deepseek_moe_has_the_published_number_of_parameters() -> None:
    # 16.4e9, a token 2.8e9 (arXiv 2401.06066); 27 of 28 layers have experts, two of 66 of these are for all tokens
    assert DEEPSEEK_MOE_16B.parameters == 16_375_728_128
    assert round(DEEPSEEK_MOE_16B.active_parameters / 1e9, 1) == 2.8
    assert DEEPSEEK_MOE_16B.routing_parameters == 4 * 2048**2 + 2 * 2048 + 64 * 2048 + 3 * 2048 * 2816


def test_a_dense_model_has_no_experts() -> None:
    assert LLAMA2_13B.parameters == LLAMA2_13B.active_parameters
    assert (LLAMA2_13B.routing_parameters, LLAMA2_13B.expert_parameters) == (0, 0)


def test_experts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError, match="per_token=5 with count=4; expected at most count"):
        Experts(count=4, per_token=5, ffn=4)
    with pytest.raises(ValidationError, match="dense_layers=2 with layers=2; expected fewer"):
        transformer(Experts(count=4, per_token=1, ffn=4, dense_layers=2), layers=2)


def test_operations_are_those_of_what_a_token_passes() -> None:
    job = layout(data=2)
    # embedding 40, two layers of 88 + 2 x 32, output 44; attention 12 x 2 x 4 x 8; 16 tokens
    assert iteration_flops(SPARSE, job) == (6 * (40 + 2 * (88 + 64) + 44) + 12 * 2 * 4 * 8) * 16


@pytest.mark.parametrize("pipeline", [1, 2, 4])
def test_stages_compute_on_average_what_the_formula_says(pipeline: int) -> None:
    for model in (MIXTRAL_8X7B, DEEPSEEK_MOE_16B):
        job = layout(data=8, expert=8, pipeline=pipeline, global_batch=8, sequence=4096)
        found = math.fsum(iteration.compute_s for iteration in build_stages(model, job, A100_45)) / pipeline
        assert found == pytest.approx(iteration_compute_s(model, job, A100_45))


# -- layouts ---------------------------------------------------------------------------------------------------


def test_experts_are_shared_out_among_replicas_that_follow_each_other() -> None:
    found = layout(tensor=2, data=4, expert=2, pipeline=2, sequence_parallel=True)
    assert groups(found, "ep")[:4] == ((0, 2), (1, 3), (4, 6), (5, 7))
    assert groups(found, "dp_ep")[:4] == ((0, 4), (1, 5), (2, 6), (3, 7))
    assert groups(found, "ep")[4] == (8, 10)  # the second stage
    assert (group_ranks(found, "ep"), group_ranks(found, "dp_ep")) == (2, 2)


def test_experts_inside_a_node_leave_it_only_for_their_gradients() -> None:
    found = layout(data=16, expert=8, gpus_per_node=8, nics_per_node=8)
    assert inside_node(found) == {"tp", "pp", "ep"}


@pytest.mark.parametrize(
    ("expert", "gpus_per_node", "nics", "expected"),
    [
        (16, 8, 8, 0.5),  # half of the others' halves is on the other node: 8 of 16 parts
        (16, 8, 1, 4.0),  # eight ranks through one NIC
        (8, 4, 4, 0.5),
        (4, 4, 4, 0.0),
        (16, 1, 1, 15 / 16),
    ],
)
def test_bytes_of_a_nic_in_an_all_to_all(expert: int, gpus_per_node: int, nics: int, expected: float) -> None:
    found = layout(data=16, expert=expert, gpus_per_node=gpus_per_node, nics_per_node=nics)
    assert pairs_share(found, "ep") == expected
    assert nic_bytes(found, Communicate("f", "all_to_all", "ep", 1600)) == 1600 * expected


def problems(caught: pytest.ExceptionInfo[ValidationError]) -> list[str]:
    return str(caught.value.errors()[0]["msg"]).removeprefix("Value error, ").split(" | ")


def test_layouts_of_experts_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValidationError) as caught:
        layout(data=4, expert=3, zero=3)
    assert problems(caught) == [
        "expert=3 with data=4; expected a divisor of data",
        "zero=3 with expert=3; expected zero <= 2 or expert=1 (not modelled)",
    ]


def test_all_that_does_not_fit_the_model_is_said_at_once() -> None:
    with pytest.raises(Mistakes) as caught:
        check_fit(DEEPSEEK_MOE_16B, layout(tensor=3, data=5, expert=5, global_batch=5))
    assert caught.value.mistakes == [
        "tensor=3; expected a divisor of heads=16 of deepseek-moe-16b",
        "tensor=3; expected a divisor of kv_heads=16 of deepseek-moe-16b",
        "tensor=3; expected a divisor of experts.ffn=1408 of deepseek-moe-16b",
        "tensor=3; expected a divisor of experts.shared_ffn=2816 of deepseek-moe-16b",
        "expert=5; expected a divisor of experts.count=64 of deepseek-moe-16b",
        "tensor=3 with sequence_parallel=False; expected True for the experts of deepseek-moe-16b",
    ]
    with pytest.raises(Mistakes, match="expert=2; expected 1: llama2-13b has no experts"):
        check_fit(LLAMA2_13B, layout(data=2, expert=2))


# -- what is sent ----------------------------------------------------------------------------------------------


def test_tokens_go_to_their_experts_and_back_in_both_directions() -> None:
    # b s k h B = 1 x 8 x 2 x 4 x 2 = 128; dense gradients 40 + 2 x 88 + 44 = 260, of experts 2 x 2 x 32 a rank
    found = build(SPARSE, layout(data=4, expert=2), UNIT)
    assert shown(found) == [
        *[("all_to_all", "ep", 128)] * 8,  # two a layer forward, two backward
        ("allreduce", "dp_ep", 2 * 128),
        ("allreduce", "dp", 2 * 260),
    ]
    assert found.totals()[:2] == (
        Total("forward", "all_to_all", "ep", 4, 512),
        Total("backward", "all_to_all", "ep", 4, 512),
    )
    assert all(op.blocking for op in found.communications if op.group == "ep")


def test_experts_of_which_nobody_has_the_same_are_not_reduced() -> None:
    found = build(SPARSE, layout(data=4, expert=4, zero=1), UNIT)
    assert {(op.operation, op.group) for op in found.communications} == {
        ("all_to_all", "ep"), ("reduce_scatter", "dp"), ("all_gather", "dp")
    }  # fmt: skip


def test_experts_that_are_not_shared_out_are_parameters_as_others() -> None:
    # 40 + 2 (88 + 4 x 32) + 44 = 516
    assert shown(build(SPARSE, layout(data=2), UNIT)) == [("allreduce", "dp", 2 * 516)]
    assert shown(build(SPARSE, layout(data=2, zero=3), UNIT)) == [
        ("all_gather", "dp", 1032), ("all_gather", "dp", 1032), ("reduce_scatter", "dp", 1032)
    ]  # fmt: skip


def test_tensor_groups_gather_the_tokens_of_their_experts() -> None:
    found = build(SPARSE, layout(data=2, tensor=2, expert=2, sequence_parallel=True), UNIT)
    # a rank has half of the tokens: 64 bytes to send; the tensor group gathers 128
    at = next(n for n, op in enumerate(found.communications) if op.group == "ep")
    assert shown(found)[at : at + 4] == [
        ("all_to_all", "ep", 64), ("all_gather", "tp", 128), ("reduce_scatter", "tp", 128), ("all_to_all", "ep", 64)
    ]  # fmt: skip
    # of activations, 64: embedding and output one each, attention two layers in both directions, all in two operations
    sizes = Counter(op.size_bytes for op in found.communications if op.group == "tp")
    assert sizes == {64: 2 * (1 + 1 + 2 * 2), 128: 2 * 2 * 2}


def test_shared_experts_are_exchanged_as_other_layers() -> None:
    model = transformer(Experts(count=4, per_token=1, ffn=4, shared_ffn=8), layers=2)
    sections = stage_sections(model, layout(data=2), UNIT, 0)
    assert [(s.name, s.elements, s.forward_exchanges, s.copies) for s in sections] == [
        ("embedding", 40, 1, 0),
        ("layer 0", 88 + 64, 2, 0),
        ("experts 0", 128, 0, 1),
        ("layer 1", 88 + 64, 2, 0),
        ("experts 1", 128, 0, 1),
        ("output", 44, 0, 0),
    ]


def test_layers_in_front_may_have_no_experts() -> None:
    model = transformer(Experts(count=4, per_token=1, ffn=4, dense_layers=1), layers=2)
    assert [s.name for s in stage_sections(model, layout(data=2, expert=2), UNIT, 0)] == [
        "embedding", "layer 0", "layer 1", "experts 1", "output"
    ]  # fmt: skip
    assert len([op for op in build(model, layout(data=2, expert=2), UNIT).communications if op.group == "ep"]) == 4


def test_experts_have_buckets_of_their_own_numbered_as_forward_begins_them() -> None:
    row = cut(stage_sections(SPARSE, layout(data=4, expert=2), UNIT, 0), 2, 300)
    # 260 elements in two of at most 150; 128 of experts in one, which layer 0's begin
    assert row.buckets == (Bucket("dp", 130), Bucket("dp_ep", 128), Bucket("dp", 130))
    assert [piece.bucket for piece in row.pieces if piece.begins_bucket] == [0, 1, 2]
    assert [(piece.section.name, piece.bucket) for piece in row.pieces if piece.ends_bucket] == [
        ("layer 1", 0), ("experts 1", 1), ("output", 2)
    ]  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(jobs())
def test_every_micro_batch_sends_its_tokens(job: Drawn) -> None:
    """Counted over all stages: b s k h B / t, four times a layer with experts."""
    found = totals(
        op for stage in job.stages for op in (*stage.communications, *stage.local) if op.operation == "all_to_all"
    )
    model, used = job.model.experts, job.layout
    if model is None or used.expert == 1:
        assert found == ()
        return
    layers = job.model.layers - model.dense_layers
    size_bytes = 8 * model.per_token * 4 * 2 // used.tensor
    assert [(total.times, total.size_bytes) for total in found] == [
        (2 * layers * used.micro_batches, 2 * layers * used.micro_batches * size_bytes)
    ] * 2


@settings(deadline=None, max_examples=200)
@given(jobs())
def test_gradients_of_all_parameters_are_reduced_where_somebody_has_the_same(job: Drawn) -> None:
    used, model = job.layout, job.model
    reduced = sum(
        op.size_bytes
        for stage in job.stages
        for op in (*stage.communications, *stage.local)
        if op.group in ("dp", "dp_ep") and op.operation in ("allreduce", "reduce_scatter")
    )
    of_experts = 0
    if model.experts and used.expert > 1:
        of_experts = (model.layers - model.experts.dense_layers) * model.experts.count * model.expert_parameters
    others = model.parameters - of_experts if used.data > 1 else 0
    of_experts = of_experts // used.expert if used.data > used.expert else 0
    times = used.micro_batches if used.zero >= 2 else 1
    expected = (others + of_experts) / used.tensor * times * used.gradient_element_bytes
    rounding = (2 * model.layers + 2) * times * used.gradient_element_bytes  # elements are rounded up in each section
    assert expected <= reduced <= expected + rounding


@given(st.sampled_from([1, 2, 4]), st.sampled_from([1, 2]), st.sampled_from([1, 2]), st.sampled_from([1, 2, 4]))
def test_every_rank_is_in_one_group_of_experts(expert: int, tensor: int, pipeline: int, gpus_per_node: int) -> None:
    found = layout(
        data=4, expert=expert, tensor=tensor, pipeline=pipeline, gpus_per_node=gpus_per_node, nics_per_node=1,
        sequence_parallel=tensor > 1,
    )  # fmt: skip
    for kind in ("ep", "dp_ep"):
        made = groups(found, kind)
        assert Counter(rank for ranks in made for rank in ranks) == Counter(range(found.gpus))
        assert {len(ranks) for ranks in made} == {group_ranks(found, kind)}
    for experts in groups(found, "ep"):
        for same in groups(found, "dp_ep"):
            assert len(set(experts) & set(same)) <= 1

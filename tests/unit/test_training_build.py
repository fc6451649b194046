"""From model, layout and hardware to what a rank does."""

from __future__ import annotations

import math
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from testbed.fields import Mistakes
from testbed.training.build import build
from testbed.training.hardware import A100, ACCELERATORS, H100, Accelerator, Hardware, iteration_compute_s
from testbed.training.iteration import Communicate, Compute, Iteration, Total, totals
from testbed.training.layout import Layout
from testbed.training.model import Transformer
from testbed.training.pieces import Bucket, bucket_edges, cut
from testbed.training.pipeline import Pass, one_forward_one_backward
from testbed.training.presets import DEEPSEEK_MOE_16B, GPT3_13B, LLAMA2_13B, LLAMA2_70B
from testbed.training.sections import stage_sections
from testbed.training.timeline import play

A100_45 = Hardware(accelerator=A100, mfu=0.45, nic_mbps=200_000)
# 1e12 operations a second
UNIT = Hardware(accelerator=Accelerator(name="unit", peak_tflops=1), mfu=1, nic_mbps=1)
# layers of 4 x 16 + 2 x 32 + 2 x 4 = 136 parameters, embedding 40, output 44: 356 in all
TINY = Transformer(
    name="tiny", hidden=4, layers=2, heads=2, kv_heads=2, ffn=8, vocab=10, context=64,
    gated_ffn=False, tied_embeddings=False,
)  # fmt: skip


def layout(**fields: object) -> Layout:
    # one accelerator a node: every group is on the fabric
    defaults = {"global_batch": fields["data"], "sequence": 8, "gpus_per_node": 1, "nics_per_node": 1}
    return Layout.model_validate({**defaults, **fields})


def sizes(iteration: Iteration) -> list[tuple[str, int]]:
    return [(op.operation, op.size_bytes) for op in iteration.communications]


# -- how long a rank computes ------------------------------------------------------------------------------------


def test_accelerators_have_their_published_peaks() -> None:
    assert {name: chip.peak_tflops for name, chip in ACCELERATORS.items()} == {"a100": 312, "h100": 989}


def test_compute_of_llama2_13b_by_hand() -> None:
    # T = 128 x 4096 = 524,288; 6 P T = 4.0944e16, 12 x 40 x 5120 x 4096 x T = 5.2777e15 (13% more): 4.6222e16
    # / (64 x 312e12 x 0.45 = 8.9856e15)
    job = layout(data=64, micro_batch=2, global_batch=128, sequence=4096, gpus_per_node=8)
    assert iteration_compute_s(LLAMA2_13B, job, A100_45) == pytest.approx(5.144, abs=0.0005)
    h100 = Hardware(accelerator=H100, mfu=0.4, nic_mbps=400_000)
    assert iteration_compute_s(LLAMA2_13B, job, h100) == pytest.approx(1.826, abs=0.0005)


@pytest.mark.parametrize(
    ("model", "tensor", "pipeline"),
    [(LLAMA2_13B, 1, 1), (LLAMA2_13B, 2, 4), (LLAMA2_70B, 8, 4), (GPT3_13B, 1, 1), (GPT3_13B, 8, 1)],
)
def test_stages_compute_on_average_what_the_formula_says(model: Transformer, tensor: int, pipeline: int) -> None:
    job = layout(data=4, tensor=tensor, pipeline=pipeline, global_batch=16, sequence=2048, gpus_per_node=8)
    found = [build(model, job, A100_45, stage=stage) for stage in range(pipeline)]
    mean_s = math.fsum(iteration.compute_s for iteration in found) / pipeline
    assert mean_s == pytest.approx(iteration_compute_s(model, job, A100_45))
    assert all(iteration.compute_s == pytest.approx(mean_s, rel=0.05) for iteration in found)


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("overlap", [False, True])
def test_a_third_of_the_computation_is_forward(zero: int, overlap: bool) -> None:
    found = build(LLAMA2_13B, layout(data=8, zero=zero, overlap=overlap, global_batch=16), A100_45)
    forward_s = math.fsum(op.duration_s for op in found.ops if isinstance(op, Compute) and op.phase == "forward")
    assert forward_s == pytest.approx(found.compute_s / 3)


def test_sections_of_a_tiny_model_by_hand() -> None:
    # 8 tokens: embedding 2 x 40 x 8; layer (2 x 136 + 4 x 4 x 8) x 8 = 400 x 8; output 2 x 44 x 8; at 1e12 per second
    found = stage_sections(TINY, layout(data=2), UNIT, 0)
    assert [(s.name, s.elements) for s in found] == [
        ("embedding", 40),
        ("layer 0", 136),
        ("layer 1", 136),
        ("output", 44),
    ]
    assert [s.forward_s * 1e12 for s in found] == pytest.approx([640, 3200, 3200, 704])
    halves = stage_sections(TINY, layout(data=2, tensor=2), UNIT, 0)
    assert [s.elements for s in halves] == [20, 68, 68, 22]
    assert [s.forward_s * 1e12 for s in halves] == pytest.approx([320, 1600, 1600, 352])
    tied = stage_sections(TINY.model_copy(update={"tied_embeddings": True}), layout(data=2), UNIT, 0)
    assert [s.elements for s in tied] == [40, 136, 136, 4]
    assert [s.forward_s * 1e12 for s in tied] == pytest.approx([0, 3200, 3200, 704])  # the output's matrix is in front
    with pytest.raises(ValueError, match=r"stage=1, expected 0\.\.0"):
        stage_sections(TINY, layout(data=2), UNIT, 1)


# -- buckets -----------------------------------------------------------------------------------------------------


def test_buckets_are_the_fewest_and_of_one_size() -> None:
    assert bucket_edges(356, 2, 300) == (0, 118, 237, 356)  # 712 bytes: three of at most 300
    assert bucket_edges(356, 2, 712) == (0, 356)
    assert bucket_edges(356, 2, 711) == (0, 178, 356)
    # LLaMA2-13B divided by two: 13.016 GB in buckets of 125 MB
    assert len(bucket_edges(LLAMA2_13B.parameters // 2, 2, 125_000_000)) - 1 == 105


@given(st.integers(2, 800))
def test_pieces_make_up_the_stage(bucket_bytes: int) -> None:
    sections = stage_sections(TINY, layout(data=2), UNIT, 0)
    edges = bucket_edges(356, 2, bucket_bytes)
    found, buckets = cut(sections, 2, bucket_bytes)
    assert buckets == tuple(Bucket("dp", end - start) for start, end in zip(edges, edges[1:], strict=False))
    assert math.fsum(piece.forward_s for piece in found) == pytest.approx(math.fsum(s.forward_s for s in sections))
    assert [piece.bucket for piece in found if piece.begins_bucket] == list(range(len(edges) - 1))
    assert [piece.bucket for piece in found if piece.ends_bucket] == list(range(len(edges) - 1))
    assert [piece.section for piece in found if piece.begins_section] == list(sections)
    assert [piece.section for piece in found if piece.ends_section] == list(sections)
    assert max(end - start for start, end in zip(edges, edges[1:], strict=False)) * 2 <= bucket_bytes


@pytest.mark.parametrize(("at_once", "operations"), [(1, 108), (9, 12), (10, 12), (27, 4), (100, 4)])
def test_layers_at_once_are_fewer_operations_of_the_same_bytes_and_seconds(at_once: int, operations: int) -> None:
    """DeepSeekMoE 16B: 27 layers with experts, each with two all-to-alls in both directions."""
    about = {"data": 64, "expert": 8, "global_batch": 64, "gpus_per_node": 1, "nics_per_node": 1, "overlap": False}
    apart = build(DEEPSEEK_MOE_16B, Layout.model_validate(about), UNIT)
    found = build(DEEPSEEK_MOE_16B, Layout.model_validate({**about, "layers_at_once": at_once}), UNIT)
    exchanged = [op.size_bytes for op in found.communications if op.operation == "all_to_all"]
    assert len(exchanged) == operations
    assert sum(exchanged) == sum(op.size_bytes for op in apart.communications if op.operation == "all_to_all")
    reduced = sum(op.size_bytes for op in found.communications if op.operation != "all_to_all")
    assert reduced == sum(op.size_bytes for op in apart.communications if op.operation != "all_to_all")
    assert found.compute_s == pytest.approx(apart.compute_s)


@pytest.mark.parametrize("at_once", [2, 3, 5])
def test_layers_at_once_exchange_as_many_bytes_in_their_tensor_group(at_once: int) -> None:
    about = {"data": 1, "tensor": 8, "global_batch": 1, "gpus_per_node": 4, "nics_per_node": 4}
    apart = build(LLAMA2_13B, Layout.model_validate(about), UNIT)
    found = build(LLAMA2_13B, Layout.model_validate({**about, "layers_at_once": at_once}), UNIT)
    assert sum(op.size_bytes for op in found.communications) == sum(op.size_bytes for op in apart.communications)
    assert len(found.communications) == 2 + 4 * -(-40 // at_once) < len(apart.communications)
    assert found.compute_s == pytest.approx(apart.compute_s)


# -- what replicas send ------------------------------------------------------------------------------------------


def test_plain_data_parallelism_reduces_buckets_as_they_become_ready() -> None:
    # 356 parameters in two buckets of 178; the later one is ready first: the output and 134 of layer 1's 136
    found = build(TINY, layout(data=2, bucket_bytes=400), UNIT)
    reduction = Communicate("backward", "allreduce", "dp", 356, blocking=False)
    assert [op for op in found.ops if isinstance(op, Communicate)] == [reduction, reduction]
    assert [type(op).__name__ for op in found.ops] == ["Compute", "Compute", "Communicate", "Compute", "Communicate"]
    assert [op.duration_s * 1e12 for op in found.ops if isinstance(op, Compute)] == pytest.approx(
        [
            640 + 2 * 3200 + 704,
            2 * (704 + 3200 * 134 / 136),
            2 * (640 + 3200 + 3200 * 2 / 136),
        ]
    )


def test_without_overlap_gradients_are_reduced_after_the_backward_pass() -> None:
    found = build(TINY, layout(data=2, bucket_bytes=400, overlap=False), UNIT)
    assert [type(op).__name__ for op in found.ops] == ["Compute", "Compute", "Communicate", "Communicate"]
    assert all(op.blocking for op in found.communications)


def test_gradients_of_micro_batches_are_added_up_before_they_are_sent() -> None:
    found = build(TINY, layout(data=2, global_batch=6), UNIT)
    assert sizes(found) == [("allreduce", 712)]
    assert [op.phase for op in found.ops if isinstance(op, Compute)] == ["forward", "backward"] * 3


def test_one_replica_sends_nothing() -> None:
    assert build(TINY, layout(data=1, global_batch=2), UNIT).communications == ()


def test_a_distributed_optimiser_scatters_and_gathers() -> None:
    waiting = build(TINY, layout(data=2, zero=1, bucket_bytes=400, overlap=False), UNIT)
    assert sizes(waiting) == [("reduce_scatter", 356)] * 2 + [("all_gather", 356)] * 2
    hiding = build(TINY, layout(data=2, zero=1, bucket_bytes=400, global_batch=4), UNIT)
    # the previous step's parameters come in while the first micro-batch goes forward
    assert sizes(hiding) == [("all_gather", 356)] * 2 + [("reduce_scatter", 356)] * 2
    assert [op.after for op in hiding.ops if isinstance(op, Compute)] == [0, 1, None, None, None, None]


def test_gradients_may_be_reduced_in_fp32() -> None:
    # AICB's GPT-13B with a distributed optimiser reduces twice the bytes it gathers (fp32 gradients, bf16 parameters)
    found = build(TINY, layout(data=2, zero=1, gradient_element_bytes=4), UNIT)
    assert sizes(found) == [("all_gather", 712), ("reduce_scatter", 1424)]
    found = build(TINY, layout(data=2, zero=1, parameter_element_bytes=4), UNIT)
    assert sizes(found) == [("all_gather", 1424), ("reduce_scatter", 712)]


def test_sharded_gradients_are_reduced_every_micro_batch() -> None:
    found = build(TINY, layout(data=2, zero=2, global_batch=6, overlap=False), UNIT)
    assert sizes(found) == [("reduce_scatter", 712)] * 3 + [("all_gather", 712)]


def test_gradients_of_a_micro_batch_are_reduced_before_the_next_one() -> None:
    found = build(TINY, layout(data=2, zero=2, global_batch=4, overlap=False), UNIT)
    assert [getattr(op, "operation", op.phase) for op in found.ops] == [
        *("forward", "backward", "reduce_scatter", "forward", "backward", "reduce_scatter"),
        "all_gather",
    ]


def test_fsdp_gathers_forward_and_backward_and_reduces_every_micro_batch() -> None:
    found = build(TINY, layout(data=2, zero=3, bucket_bytes=400, overlap=False, global_batch=4), UNIT)
    forward, backward = [("all_gather", 356)] * 2, [("all_gather", 356), ("reduce_scatter", 356)] * 2
    assert sizes(found) == 2 * (forward + backward)
    assert [type(op).__name__ for op in found.ops[:4]] == ["Communicate", "Compute", "Communicate", "Compute"]


def test_fsdp_gathers_one_bucket_ahead() -> None:
    found = build(TINY, layout(data=2, zero=3, bucket_bytes=250), UNIT)  # three buckets
    forward = found.ops[:6]
    # gather 0, gather 1, compute 0, gather 2, compute 1, compute 2
    assert [getattr(op, "after", "gather") for op in forward] == ["gather", "gather", 0, "gather", 1, 2]
    # gather 2, gather 1, compute 2, scatter 2, gather 0 with compute 1, ...
    kinds = [getattr(op, "operation", getattr(op, "after", None)) for op in found.ops[6:]]
    assert kinds == [
        *("all_gather", "all_gather", 3, "reduce_scatter"),
        *("all_gather", 4, "reduce_scatter"),
        *(6, "reduce_scatter"),
    ]


def test_fsdp_of_llama2_13b_sends_three_times_its_parameters() -> None:
    found = build(LLAMA2_13B, layout(data=64, zero=3, sequence=4096, gpus_per_node=8, nics_per_node=8), A100_45)
    by_kind = {(total.phase, total.operation): total.size_bytes for total in found.totals()}
    assert by_kind == dict.fromkeys(
        [("forward", "all_gather"), ("backward", "all_gather"), ("backward", "reduce_scatter")], 26_031_728_640
    )


# -- tensor groups and pipelines ---------------------------------------------------------------------------------


def test_tensor_groups_inside_a_node_are_listed_not_sent() -> None:
    # AICB's trace of Llama-13B: 80 forward and 80 backward all-reduces of 20.97 MB at s = 2048, b = 1; ours has those
    # of the embedding and the output, too
    job = layout(tensor=8, data=2, sequence=2048, gpus_per_node=8, nics_per_node=8)
    found = build(LLAMA2_13B, job, A100_45)
    assert totals(found.local) == (
        Total("forward", "allreduce", "tp", 81, 81 * 20_971_520),
        Total("backward", "allreduce", "tp", 81, 81 * 20_971_520),
    )
    assert {op.group for op in found.communications} == {"dp"}


def test_sequence_parallelism_moves_the_same_bytes_in_two_operations() -> None:
    job = layout(tensor=8, data=2, sequence_parallel=True, sequence=4096, gpus_per_node=8, nics_per_node=8)
    assert totals(build(LLAMA2_13B, job, A100_45).local) == tuple(
        Total(phase, operation, "tp", 81, 81 * 41_943_040)
        for phase in ("forward", "backward")
        for operation in ("all_gather", "reduce_scatter")
    )


def test_tensor_groups_across_nodes_are_sent_and_waited_for() -> None:
    found = build(TINY, layout(tensor=2, data=1), UNIT)
    assert found.local == ()
    assert found.totals() == (
        Total("forward", "allreduce", "tp", 5, 5 * 64),
        Total("backward", "allreduce", "tp", 5, 5 * 64),
    )
    assert all(op.blocking for op in found.communications)


def test_pipeline_stages_hand_on_activations() -> None:
    job = layout(pipeline=2, data=1, global_batch=2)
    first, last = (build(TINY, job, UNIT, stage=stage) for stage in (0, 1))
    # b s h B = 1 x 8 x 4 x 2
    assert [(op.phase, op.operation, op.peer, op.size_bytes) for op in first.communications] == [
        ("forward", "send", "next", 64),
        ("forward", "exchange", "next", 64),
        ("backward", "recv", "next", 64),
    ]
    assert [(op.phase, op.operation, op.peer) for op in last.communications] == [
        ("forward", "recv", "previous"),
        ("backward", "exchange", "previous"),
        ("backward", "send", "previous"),
    ]
    assert all(op.blocking for op in (*first.communications, *last.communications))
    llama = build(LLAMA2_13B, layout(pipeline=4, tensor=8, data=1, sequence=4096, gpus_per_node=8), A100_45, stage=1)
    assert {op.size_bytes for op in llama.communications} == {41_943_040}


def test_with_sequence_parallelism_each_rank_hands_on_its_part() -> None:
    job = layout(pipeline=2, tensor=2, data=1, sequence_parallel=True, gpus_per_node=2)
    assert {op.size_bytes for op in build(TINY, job, UNIT).communications} == {32}


def test_one_forward_one_backward_of_the_first_of_three_stages() -> None:
    found = [step for step in one_forward_one_backward(3, 0, 4) if isinstance(step, Pass)]
    assert [(step.direction[0], step.micro_batch) for step in found] == [
        *(("f", 0), ("f", 1)),
        *(("f", 2), ("b", 0), ("f", 3), ("b", 1)),
        *(("b", 2), ("b", 3)),
    ]
    assert list(one_forward_one_backward(1, 0, 2)) == [
        ("forward", 0), ("backward", 0), ("forward", 1), ("backward", 1)
    ]  # fmt: skip


def test_gradients_that_are_waited_for_come_after_the_last_message() -> None:
    """Or the stage before would wait for them, too."""
    found = build(TINY, layout(pipeline=2, data=2, global_batch=4, overlap=False), UNIT, stage=1)
    assert [op.operation for op in found.communications] == ["recv", "exchange", "send", "allreduce"]


# -- overlap -----------------------------------------------------------------------------------------------------


@given(
    st.integers(0, 3), st.integers(1, 3), st.sampled_from([1, 2]), st.integers(100, 800), st.floats(1e-15, 1e-9),
    st.sampled_from([2, 4]),
)  # fmt: skip
def test_overlap_is_never_slower_and_moves_the_same_bytes(
    zero: int, micro_batches: int, tensor: int, bucket_bytes: int, per_byte_s: float, gradient: int
) -> None:
    fields = {
        "data": 2, "zero": zero, "tensor": tensor, "global_batch": 2 * micro_batches, "bucket_bytes": bucket_bytes,
        "gradient_element_bytes": gradient,
    }  # fmt: skip
    hiding, waiting = (build(TINY, layout(**fields, overlap=overlap), UNIT) for overlap in (True, False))
    assert sorted(hiding.totals()) == sorted(waiting.totals())
    assert hiding.compute_s == pytest.approx(waiting.compute_s)
    fast, slow = (play(found, lambda op: op.size_bytes * per_byte_s) for found in (hiding, waiting))
    assert fast.duration_s <= slow.duration_s * (1 + 1e-12)
    assert slow.exposed_s == pytest.approx(slow.communication_s)
    assert fast.communication_s == pytest.approx(slow.communication_s)


def test_overlap_hides_all_but_the_last_bucket_when_operations_are_short() -> None:
    # ten buckets whose reduction takes less than the backward pass of a bucket: only the last is exposed
    job = layout(data=2, bucket_bytes=72)
    found = play(build(TINY, job, UNIT), lambda op: 1e-10)
    assert len(found.operations) == 10
    assert found.exposed_s == pytest.approx(1e-10)


def test_a_layout_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(Mistakes, match="pipeline=3; expected a divisor of layers=2 of tiny"):
        build(TINY, layout(data=1, pipeline=3), UNIT)


def test_numbers_of_operations_are_counted_on_the_fabric() -> None:
    """A wait must not be thrown off by operations that stay inside the node."""
    job = layout(data=4, tensor=2, zero=3, bucket_bytes=100, gpus_per_node=2, nics_per_node=1)
    found = build(TINY, job, UNIT)
    assert found.local
    numbers = count()
    issued = -1
    for op in found.ops:
        if isinstance(op, Communicate):
            issued = next(numbers)
        elif op.after is not None:
            assert found.communications[op.after].operation == "all_gather"
            assert op.after <= issued

"""The iteration a specification asks for, at its native size: from a model, or from a trace. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from testbed.collectives.operation import MESSAGES, PROGRAM_OPERATIONS, Operation
from testbed.fields import Mistakes
from testbed.training.build import build_stages
from testbed.training.groups import Group
from testbed.training.hardware import FORWARD_FRACTION, iteration_compute_s
from testbed.training.iteration import Communicate, Compute, Iteration, Op
from testbed.training.layout import Layout, sequence_mistakes
from testbed.training.model import Transformer
from testbed.training.spec import NO_GROUP, Recorded, Said, TrainingSpec
from testbed.training.traced import LeftOut, iterations_of

MAX_SHOWN: Final = 8  # reasons
GROUPS_HINT: Final = " (trace_groups says which group a name is, none=dp: of records that name no group)"
MAX_PARTS: Final = 200_000
PARTS_OF_A_LAYER: Final = 10  # computed forward and backward, eight operations at most
PARTS_OF_A_BUCKET: Final = 5  # gathered twice, reduced, and two computations cut in two


@dataclass(frozen=True)
class NativeIteration:
    """An iteration before it is scaled down: of each stage; ``notes`` say what a reader has to know of it."""

    stages: tuple[Iteration, ...]
    notes: tuple[str, ...]


def native_iteration(spec: TrainingSpec) -> NativeIteration:
    """Return the iteration a specification asks for, at its native size. Raises ``Mistakes``."""
    if spec.trace is not None:
        return _traced(spec)
    model = spec.transformer
    assert model is not None  # the specification is valid
    _check_work(model, spec.divided)
    stages = build_stages(model, spec.divided, spec.hardware)
    inside = {f"{op.operation} ({op.group})" for stage in stages for op in stage.local}
    notes = [f"inside a node, without bytes or time here: {', '.join(sorted(inside))}"] if inside else []
    return NativeIteration(stages, tuple(notes))


def _check_work(model: Transformer, layout: Layout) -> None:
    """Raise ``Mistakes`` for iterations of so many parts that making them would take minutes."""
    n_experts = (model.layers - model.dense_layers) * (model.experts.count if model.experts else 0)
    shared_out = n_experts * model.expert_parameters
    own = model.parameters - shared_out + shared_out // layout.expert  # of a rank of every stage, but for its part of t
    buckets = -(-own * layout.gradient_element_bytes // (layout.tensor * layout.bucket_bytes))
    parts = layout.micro_batches * (PARTS_OF_A_LAYER * model.layers + PARTS_OF_A_BUCKET * buckets)
    if parts > MAX_PARTS:
        raise Mistakes(
            [
                f"layout has {layout.micro_batches} micro-batches of {model.layers} layers and {buckets} buckets, "
                f"about {parts} computations and operations; expected at most {MAX_PARTS}: fewer micro-batches, or "
                "larger buckets"
            ]
        )


def _traced(spec: TrainingSpec) -> NativeIteration:
    if spec.is_unread:
        raise Mistakes(["trace was not read; expected a scenario that was loaded"])
    named = {name for one in spec.recorded for said in one.records for name in _names(said)}
    if strangers := [name for name in spec.regrouped if name not in named]:
        raise Mistakes([f"trace_groups names {', '.join(strangers)}; expected names of records or groups in the trace"])
    notes = [f"groups other than in the trace: {', '.join(spec.trace_groups)}"] if spec.trace_groups else []
    stages = []
    for recorded in spec.recorded:
        iteration, own = _traced_stage(recorded, spec)
        stages.append(iteration)
        notes += own
    without = {op.operation for one in stages for op in one.communications} - set(PROGRAM_OPERATIONS) - set(MESSAGES)
    if without:
        raise Mistakes(
            [f"trace has {', '.join(sorted(without))}; expected {', '.join((*PROGRAM_OPERATIONS, *MESSAGES))}"]
        )
    computed, note = _with_computing(stages, spec)
    return NativeIteration(computed, (*notes, note))


def _traced_stage(recorded: Recorded, spec: TrainingSpec) -> tuple[Iteration, list[str]]:
    """Return the iteration of a stage, and what a reader has to know of it."""
    found = iterations_of(recorded.trace(spec.regrouped), spec.divided)
    left_out = _left_out(found.left_out, found.n_unlisted)
    if not found.iterations:
        why = "".join(f" ({text})" for text in left_out)
        raise Mistakes([f"{recorded.source} has no iteration{why}; expected operations or computing{GROUPS_HINT}"])
    chosen = len(found.iterations) - 1 if spec.trace_iteration is None else spec.trace_iteration
    if chosen >= len(found.iterations):
        raise Mistakes([f"trace_iteration={chosen}; expected one of 0..{len(found.iterations) - 1}"])
    iteration = found.iterations[chosen]
    # a row of SimAI's is a layer of one iteration; other files may be of many steps, and only AICB's say where one ends
    whole = recorded.format != "simai" and all(said.kind != "mark" for said in recorded.records)
    notes = [
        f"iteration {chosen} of {len(found.iterations)} in {recorded.source} ({recorded.format})"
        + (": it has no marks, all of it is taken for one iteration" if whole else "")
    ]
    if iteration.local:
        notes.append(f"inside a node, without bytes or time here: {_local_text(iteration.local)}")
    if recorded.n_host:
        notes.append(f"left out of the trace: {recorded.n_host:,} records of the host's part, beside the accelerator")
    notes += left_out
    return iteration, notes


def _names(said: Said) -> Iterator[str]:
    """Yield what ``trace_groups`` may call a record by."""
    if said.name is not None:
        yield said.name
    if said.operation is not None:
        yield NO_GROUP if said.group is None else said.group


def _local_text(found: Sequence[Communicate]) -> str:
    """Say how many operations of each kind there are, and of how many bytes: what is large is seen to be missing."""
    kinds: dict[tuple[Operation, Group], list[int]] = {}
    for op in found:
        kinds.setdefault((op.operation, op.group), []).append(op.size_bytes)
    return ", ".join(
        f"{len(sizes)} {operation} ({group}) of {sum(sizes):,} bytes" for (operation, group), sizes in kinds.items()
    )


def _left_out(found: Sequence[LeftOut], n_unlisted: int) -> list[str]:
    """Say what is not replayed: of each reason the first, how many more there are, and their bytes; most bytes first.

    By reason, since thousands of records may be left out for one, and hide the few that matter.
    """
    if not found:
        return []
    reasons: dict[str, list[LeftOut]] = {}
    for one in found:
        reasons.setdefault(one.why, []).append(one)
    largest = sorted(reasons.values(), key=_size_bytes, reverse=True)[:MAX_SHOWN]
    more = len(found) + n_unlisted - sum(map(len, largest))
    shown = "; ".join(map(_reason_text, largest))
    return [f"left out of the trace: {shown}" + (f"; and {more} more" if more else "")]


def _reason_text(found: Sequence[LeftOut]) -> str:
    first, more, size_bytes = found[0], len(found) - 1, _size_bytes(found)
    return (
        f"{first.place}: {first.what} ({first.why})"
        + (f" and {more:,} more like it" if more else "")
        + (f", {size_bytes:,} bytes" if size_bytes else "")
    )


def _size_bytes(found: Sequence[LeftOut]) -> int:
    return sum(one.size_bytes for one in found)


def _with_computing(stages: Sequence[Iteration], spec: TrainingSpec) -> tuple[tuple[Iteration, ...], str]:
    """Give iterations the computing of the model where the traces have none, and say where computing is from."""
    model, told_s = spec.transformer, sum(stage.compute_s for stage in stages) / len(stages)
    if told_s:
        if model is not None:
            raise Mistakes([f"model={model.name} with a trace that has computing of its own; expected model unset"])
        return tuple(stages), f"computing: the trace's, {told_s:.4g} s; {_waits_text(stages)}"
    if model is None:
        return tuple(stages), "computing: none, the trace says nothing of it; all communication is exposed"
    layout = spec.divided
    if mistakes := sequence_mistakes(model, layout):
        raise Mistakes([f"layout.{mistake}" for mistake in mistakes])
    total_s = iteration_compute_s(model, layout, spec.hardware)
    bubble = ", so that stages do not wait for each other's computing as a pipeline does" if layout.pipeline > 1 else ""
    return tuple(spread_computing(stage, total_s) for stage in stages), (
        f"computing: not in the trace; {total_s:.4g} s of {model.name} with {layout.global_batch} sequences of "
        f"{layout.sequence} tokens, a third before the first operation, two thirds spread evenly before the operations "
        f"of backward passes{bubble}; {_waits_text(stages)}"
    )


def _waits_text(stages: Sequence[Iteration]) -> str:
    """Say what goes on behind the computing: files do not tell, or not in a way that is replayed."""
    behind = sum(not op.blocking for stage in stages for op in stage.communications)
    if not behind:
        return "every operation is waited for: what the job hid behind its computing is exposed here"
    n_operations = sum(len(stage.communications) for stage in stages)
    return f"{behind} of {n_operations} operations go on behind the computing, the others are waited for"


def spread_computing(iteration: Iteration, total_s: float) -> Iteration:
    """Return the iteration with ``total_s`` of computing: forward first, the rest before backward's operations.

    What is backward: phases whose name begins so; all operations where none does. Without any operation on the fabric
    the rest follows at once.
    """
    backward = [place for place, op in enumerate(iteration.ops) if op.phase.startswith("backward")]
    places = set(backward or range(len(iteration.ops)))
    backward_s = total_s * (1 - FORWARD_FRACTION)
    ops: list[Op] = [Compute("forward", total_s * FORWARD_FRACTION)]
    if not places:
        ops.append(Compute("backward", backward_s))
    for place, op in enumerate(iteration.ops):
        if place in places:
            ops.append(Compute(op.phase, backward_s / len(places)))
        ops.append(op)
    return Iteration(tuple(ops), iteration.local)

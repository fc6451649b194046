"""How a training job is divided among accelerators, as asked for. ``testbed.training.groups`` says who is where. Pure.

Symbols: t ``tensor``, p ``pipeline``, d ``data``, e ``expert``; t p d accelerators in all. Rules that depend on one
framework say which.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from testbed.fields import Count, Mistakes, SizeBytes, Spec
from testbed.training.model import Transformer

MAX_GPUS = 1 << 20
MAX_COUNT = 1 << 30  # of sequences and tokens: more than anybody trains with, and few enough for floating point


class Layout(Spec):
    """Degrees of parallelism, batch, what is shared out, nodes. Raises ``Mistakes`` with all broken rules."""

    tensor: Count = Field(1, ge=1, le=1024, description="accelerators that share every matrix (TP)")
    pipeline: Count = Field(1, ge=1, le=1024, description="stages the layers are divided into (PP)")
    data: Count = Field(ge=1, le=MAX_GPUS, description="replicas that each take a part of the batch (DP)")
    expert: Count = Field(
        1, ge=1, le=1024, description="replicas that share out the experts (EP); each has all that is not an expert"
    )
    zero: Literal[0, 1, 2, 3] = Field(
        0,
        description="ZeRO's level, what replicas share out: 0 nothing; 1 optimiser states (distributed optimiser); 2 "
        "gradients, too, so they are reduced every micro-batch; 3 parameters, too (FSDP)",
    )
    sequence_parallel: bool = Field(False, description="norms divided along the sequence among the tensor group")
    micro_batch: Count = Field(1, ge=1, le=MAX_COUNT, description="sequences a replica computes at once")
    global_batch: Count = Field(ge=1, le=MAX_COUNT, description="sequences of all replicas in an iteration")
    sequence: Count = Field(4096, ge=1, le=MAX_COUNT, description="tokens in a sequence")
    # NeMo-Framework-Launcher, auto_configurator/base_configs/llama2_13b.yaml: bucket_cap_mb: 125. PyTorch DDP: 25 MiB.
    bucket_bytes: SizeBytes = Field(125_000_000, ge=1, description="most bytes of gradients communicated at once")
    layers_at_once: Count = Field(
        1,
        ge=1,
        le=MAX_COUNT,
        description="layers that are computed, and communicate, as one: fewer and larger operations, for scaling down",
    )
    parameter_element_bytes: Literal[2, 4] = Field(2, description="bf16 or fp32 parameters where they are gathered")
    gradient_element_bytes: Literal[2, 4] = Field(2, description="bf16 or fp32 gradients where they are reduced")
    gpus_per_node: Count = Field(8, ge=1, le=1024)
    nics_per_node: Count = Field(8, ge=1, le=1024)
    overlap: bool = Field(True, description="communicate behind the computation where the data allow it")

    @property
    def gpus(self) -> int:
        """Accelerators of the job."""
        return self.tensor * self.pipeline * self.data

    @property
    def nodes(self) -> int:
        """Nodes the job is on; one that is not full counts."""
        return -(-self.gpus // self.gpus_per_node)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of one replica in an iteration."""
        return self.global_batch // (self.data * self.micro_batch)

    @property
    def tokens(self) -> int:
        """Tokens of all replicas in an iteration, T."""
        return self.global_batch * self.sequence

    @model_validator(mode="after")
    def _fits_together(self) -> Layout:
        mistakes = [*self._batch_mistakes(), *self._node_mistakes()]
        if self.sequence_parallel and self.tensor == 1:  # Megatron refuses or drops it
            mistakes.append("sequence_parallel=True with tensor=1; expected tensor > 1")
        if self.sequence_parallel and self.sequence % self.tensor:
            mistakes.append(f"sequence={self.sequence} with tensor={self.tensor}; expected a multiple of tensor")
        if self.zero >= 2 and self.pipeline > 1:  # DeepSpeed, runtime/pipe/engine.py, asserts the same
            mistakes.append(f"zero={self.zero} with pipeline={self.pipeline}; expected zero <= 1 or pipeline=1")
        if self.zero and self.data == 1:
            mistakes.append(f"zero={self.zero} with data=1; expected data > 1 (there is nobody to share with)")
        if self.data % self.expert:
            mistakes.append(f"expert={self.expert} with data={self.data}; expected a divisor of data")
        if self.zero == 3 and self.expert > 1:
            mistakes.append(f"zero=3 with expert={self.expert}; expected zero <= 2 or expert=1 (not modelled)")
        if self.bucket_bytes < self.gradient_element_bytes:
            mistakes.append(f"bucket_bytes={self.bucket_bytes}; expected at least gradient_element_bytes")
        if mistakes:
            raise Mistakes(mistakes)
        return self

    def _batch_mistakes(self) -> list[str]:
        step = self.data * self.micro_batch
        if self.global_batch % step == 0:
            return []
        return [f"global_batch={self.global_batch}; expected a multiple of data x micro_batch = {step}"]

    def _node_mistakes(self) -> list[str]:
        mistakes = []
        if self.gpus > self.gpus_per_node and self.gpus % self.gpus_per_node:
            mistakes.append(
                f"tensor x pipeline x data = {self.gpus} with gpus_per_node={self.gpus_per_node}; "
                "expected whole nodes, or one that is not full"
            )
        if self.gpus_per_node % self.nics_per_node:
            mistakes.append(
                f"nics_per_node={self.nics_per_node} with gpus_per_node={self.gpus_per_node}; "
                "expected a divisor of gpus_per_node (every NIC serves as many accelerators)"
            )
        return mistakes


def check_fit(model: Transformer, layout: Layout) -> None:
    """Raise ``Mistakes`` with everything that keeps ``model`` from being trained as ``layout`` says."""
    mistakes = sequence_mistakes(model, layout)
    if model.layers % layout.pipeline:
        mistakes.append(f"pipeline={layout.pipeline}; expected a divisor of layers={model.layers} of {model.name}")
    if model.tied_embeddings and layout.pipeline > 1:  # both ends have the matrix, and add up its gradients
        mistakes.append(
            f"pipeline={layout.pipeline} with the tied embeddings of {model.name}; expected 1 (not modelled)"
        )
    widths = {"heads": model.heads, "kv_heads": model.kv_heads, "ffn": model.ffn if model.dense_layers else 0}
    if model.experts:
        widths |= {"experts.ffn": model.experts.ffn, "experts.shared_ffn": model.experts.shared_ffn}
    for name, size in widths.items():
        if size % layout.tensor:
            mistakes.append(f"tensor={layout.tensor}; expected a divisor of {name}={size} of {model.name}")
    mistakes += _expert_mistakes(model, layout)
    if mistakes:
        raise Mistakes(mistakes)


def sequence_mistakes(model: Transformer, layout: Layout) -> list[str]:
    """Return that sequences are longer than the model takes, where they are."""
    if layout.sequence <= model.context:
        return []
    return [f"sequence={layout.sequence}; expected at most context={model.context} of {model.name}"]


def _expert_mistakes(model: Transformer, layout: Layout) -> list[str]:
    if model.experts is None:
        return [] if layout.expert == 1 else [f"expert={layout.expert}; expected 1: {model.name} has no experts"]
    mistakes = []
    if model.experts.count % layout.expert:
        mistakes.append(
            f"expert={layout.expert}; expected a divisor of experts.count={model.experts.count} of {model.name}"
        )
    if layout.tensor > 1 and not layout.sequence_parallel:  # Megatron-LM asserts the same
        mistakes.append(
            f"tensor={layout.tensor} with sequence_parallel=False; expected True for the experts of {model.name}"
        )
    return mistakes

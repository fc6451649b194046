"""A decoder-only transformer as far as its size decides what training moves and computes. Pure.

Symbols, as papers use them: h ``hidden``, L ``layers``, f ``ffn``, V ``vocab``, P the number of parameters; E experts,
k of which a token is sent to. No weights, no activations.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from testbed.fields import Count, Mistakes, Spec


class Experts(Spec):
    """Feed-forward parts of which each token passes a few (mixture of experts, MoE), with a router in front.

    Raises ``Mistakes`` for what cannot be.
    """

    count: Count = Field(ge=2, description="experts of a layer that tokens are sent to")
    per_token: Count = Field(ge=1, description="experts a token is sent to (top k)")
    ffn: Count = Field(ge=1, description="inner width of one")
    shared_ffn: Count = Field(0, ge=0, description="inner width of the experts every token passes, together")
    dense_layers: Count = Field(0, ge=0, description="layers in front that have no experts")

    @model_validator(mode="after")
    def _can_be(self) -> Experts:
        if self.per_token > self.count:
            raise Mistakes([f"per_token={self.per_token} with count={self.count}; expected at most count"])
        return self


class Transformer(Spec):
    """The shape of a decoder-only transformer. Raises ``Mistakes`` for shapes that cannot be."""

    name: str
    hidden: Count = Field(ge=1, description="width of what passes from layer to layer")
    layers: Count = Field(ge=1)
    heads: Count = Field(ge=1, description="attention heads")
    kv_heads: Count = Field(ge=1, description="heads of keys and values: fewer than heads with grouped-query attention")
    ffn: Count = Field(ge=1, description="inner width of the feed-forward part, of layers without experts")
    vocab: Count = Field(ge=1, description="tokens in the vocabulary, not padded")
    context: Count = Field(ge=1, description="most tokens in a sequence")
    gated_ffn: bool = Field(description="three feed-forward matrices (SwiGLU), not two")
    tied_embeddings: bool = Field(description="the output matrix is the embedding's")
    biases: bool = Field(False, description="matrices and norms have biases (GPT); LLaMA has none")
    learned_positions: bool = Field(False, description="positions have an embedding of their own (GPT); LLaMA rotates")
    experts: Experts | None = Field(None, description="None: a dense model")

    @model_validator(mode="after")
    def _can_be(self) -> Transformer:
        mistakes = []
        if self.hidden % self.heads:
            mistakes.append(f"hidden={self.hidden} with heads={self.heads}; expected a multiple of heads")
        if self.heads % self.kv_heads:
            mistakes.append(f"kv_heads={self.kv_heads} with heads={self.heads}; expected a divisor of heads")
        if self.experts and self.experts.dense_layers >= self.layers:
            mistakes.append(f"dense_layers={self.experts.dense_layers} with layers={self.layers}; expected fewer")
        if mistakes:
            raise Mistakes(mistakes)
        return self

    @property
    def dense_layers(self) -> int:
        """Layers without experts; they are in front."""
        return self.experts.dense_layers if self.experts else self.layers

    @property
    def layer_parameters(self) -> int:
        """Parameters of a layer without experts: 4h^2 + 3hf + 2h for LLaMA without grouped queries.

        12h^2 + 13h for GPT with f = 4h. Queries and output are h x h, keys and values h x (h kv_heads / heads); two or
        three feed-forward matrices; two norms.
        """
        return self._attention_parameters + self._ffn_parameters(self.ffn)

    @property
    def routing_parameters(self) -> int:
        """Parameters of a layer with experts that every token passes: attention, norms, router (hE), shared experts.

        0 for a dense model.
        """
        if self.experts is None:
            return 0
        shared = self._ffn_parameters(self.experts.shared_ffn) if self.experts.shared_ffn else 0
        return self._attention_parameters + self.hidden * self.experts.count + shared

    @property
    def expert_parameters(self) -> int:
        """Parameters of one expert; 0 for a dense model."""
        return self._ffn_parameters(self.experts.ffn) if self.experts else 0

    @property
    def embedding_parameters(self) -> int:
        """Parameters in front of the first layer: Vh, and context x h where positions are learned."""
        return self.hidden * (self.vocab + (self.context if self.learned_positions else 0))

    @property
    def head_parameters(self) -> int:
        """Parameters behind the last layer: the last norm, and Vh where the output matrix is not the embedding's."""
        return self._norm_parameters + (0 if self.tied_embeddings else self.hidden * self.vocab)

    @property
    def parameters(self) -> int:
        """All parameters, P."""
        return self._with_experts(self.experts.count if self.experts else 0)

    @property
    def active_parameters(self) -> int:
        """Parameters a token is multiplied with: P, but only ``per_token`` experts of each layer."""
        return self._with_experts(self.experts.per_token if self.experts else 0)

    def _with_experts(self, experts: int) -> int:
        dense = self.dense_layers * self.layer_parameters
        sparse = (self.layers - self.dense_layers) * (self.routing_parameters + experts * self.expert_parameters)
        return self.embedding_parameters + dense + sparse + self.head_parameters

    @property
    def _attention_parameters(self) -> int:
        """Attention and the two norms of a layer."""
        kv_width = self.hidden // self.heads * self.kv_heads
        matrices = 2 * self.hidden * self.hidden + 2 * self.hidden * kv_width
        return matrices + (2 * self.hidden + 2 * kv_width if self.biases else 0) + 2 * self._norm_parameters

    def _ffn_parameters(self, width: int) -> int:
        matrices = (3 if self.gated_ffn else 2) * self.hidden * width
        return matrices + ((2 if self.gated_ffn else 1) * width + self.hidden if self.biases else 0)

    @property
    def _norm_parameters(self) -> int:
        return self.hidden * (2 if self.biases else 1)

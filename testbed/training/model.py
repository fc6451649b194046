"""A decoder-only transformer as far as its size decides what training moves and computes. Pure.

Symbols, as papers use them: h ``hidden``, L ``layers``, f ``ffn``, V ``vocab``, P the number of parameters. No weights,
no activations, no experts.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from testbed.model.fields import Count, Mistakes, Spec


class Transformer(Spec):
    """The shape of a dense decoder-only transformer. Raises ``Mistakes`` for shapes that cannot be."""

    name: str
    hidden: Count = Field(ge=1, description="width of what passes from layer to layer")
    layers: Count = Field(ge=1)
    heads: Count = Field(ge=1, description="attention heads")
    kv_heads: Count = Field(ge=1, description="heads of keys and values: fewer than heads with grouped-query attention")
    ffn: Count = Field(ge=1, description="inner width of the feed-forward part")
    vocab: Count = Field(ge=1, description="tokens in the vocabulary, not padded")
    context: Count = Field(ge=1, description="most tokens in a sequence")
    gated_ffn: bool = Field(description="three feed-forward matrices (SwiGLU), not two")
    tied_embeddings: bool = Field(description="the output matrix is the embedding's")
    biases: bool = Field(False, description="matrices and norms have biases (GPT); LLaMA has none")
    learned_positions: bool = Field(False, description="positions have an embedding of their own (GPT); LLaMA rotates")

    @model_validator(mode="after")
    def _can_be(self) -> Transformer:
        mistakes = []
        if self.hidden % self.heads:
            mistakes.append(f"hidden={self.hidden} with heads={self.heads}; expected a multiple of heads")
        if self.heads % self.kv_heads:
            mistakes.append(f"kv_heads={self.kv_heads} with heads={self.heads}; expected a divisor of heads")
        if mistakes:
            raise Mistakes(mistakes)
        return self

    @property
    def layer_parameters(self) -> int:
        """Parameters of one layer: 4h^2 + 3hf + 2h for LLaMA without grouped queries, 12h^2 + 13h for GPT with f = 4h.

        Queries and output are h x h, keys and values h x (h kv_heads / heads); two or three feed-forward matrices; two
        norms.
        """
        kv_width = self.hidden // self.heads * self.kv_heads
        matrices = 2 * self.hidden * self.hidden + 2 * self.hidden * kv_width
        matrices += (3 if self.gated_ffn else 2) * self.hidden * self.ffn
        biases = 0
        if self.biases:
            biases = 2 * self.hidden + 2 * kv_width + (2 if self.gated_ffn else 1) * self.ffn + self.hidden
        return matrices + biases + 2 * self._norm_parameters

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
        return self.embedding_parameters + self.layers * self.layer_parameters + self.head_parameters

    @property
    def _norm_parameters(self) -> int:
        return self.hidden * (2 if self.biases else 1)

"""Transformers people train, each number with its source. Pure.

LLaMA 2: the models' published ``config.json`` (huggingface.co/meta-llama/Llama-2-{7b,13b,70b}-hf: hidden_size,
num_hidden_layers, num_attention_heads, num_key_value_heads, intermediate_size, vocab_size, max_position_embeddings,
tie_word_embeddings). SwiGLU, RMSNorm, no biases, rotary positions: Touvron et al., "Llama 2", arXiv 2307.09288, section
2.2; grouped queries only at 70B (34B was not released).

GPT-3 13B: Brown et al., arXiv 2005.14165, table 2.1: 40 layers, 40 heads of 128, context 2048; f = 4h and all else as
in GPT-2 (biases, LayerNorm, learned positions, tied output, vocabulary 50257). The table says d_model 5140, which is
not 40 x 128 and which no program that is generally used takes: Megatron-DeepSpeed's and AICB's GPT 13B have 5120, and
so do we. P is then 12.85e9; with 5140 it would be 12.95e9, which the paper rounds to 13.0e9.

Mixtral 8x7B: Jiang et al., "Mixtral of Experts", arXiv 2401.04088, table 1, and ``config.json`` of
huggingface.co/mistralai/Mixtral-8x7B-v0.1: 46.7e9 parameters, 12.9e9 for a token.

DeepSeekMoE 16B: Dai et al., arXiv 2401.06066, section 5.1, and ``config.json`` of
huggingface.co/deepseek-ai/deepseek-moe-16b-base (n_routed_experts, num_experts_per_tok, n_shared_experts,
moe_intermediate_size 1408, first_k_dense_replace, intermediate_size 10944): 16.4e9 and 2.8e9. DeepSeek-V3 is not here:
its attention has other matrices (MLA).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from testbed.training.model import Experts, Transformer

LLAMA2_7B: Final = Transformer(
    name="llama2-7b",
    hidden=4096,
    layers=32,
    heads=32,
    kv_heads=32,
    ffn=11008,
    vocab=32000,
    context=4096,
    gated_ffn=True,
    tied_embeddings=False,
)
LLAMA2_13B: Final = Transformer(
    name="llama2-13b",
    hidden=5120,
    layers=40,
    heads=40,
    kv_heads=40,
    ffn=13824,
    vocab=32000,
    context=4096,
    gated_ffn=True,
    tied_embeddings=False,
)
LLAMA2_70B: Final = Transformer(
    name="llama2-70b",
    hidden=8192,
    layers=80,
    heads=64,
    kv_heads=8,
    ffn=28672,
    vocab=32000,
    context=4096,
    gated_ffn=True,
    tied_embeddings=False,
)
GPT3_13B: Final = Transformer(
    name="gpt3-13b",
    hidden=5120,
    layers=40,
    heads=40,
    kv_heads=40,
    ffn=4 * 5120,
    vocab=50257,
    context=2048,
    gated_ffn=False,
    tied_embeddings=True,
    biases=True,
    learned_positions=True,
)
MIXTRAL_8X7B: Final = Transformer(
    name="mixtral-8x7b",
    hidden=4096,
    layers=32,
    heads=32,
    kv_heads=8,
    ffn=14336,
    vocab=32000,
    context=32768,
    gated_ffn=True,
    tied_embeddings=False,
    experts=Experts(count=8, per_token=2, ffn=14336),
)
DEEPSEEK_MOE_16B: Final = Transformer(
    name="deepseek-moe-16b",
    hidden=2048,
    layers=28,
    heads=16,
    kv_heads=16,
    ffn=10944,
    vocab=102400,
    context=4096,
    gated_ffn=True,
    tied_embeddings=False,
    experts=Experts(count=64, per_token=6, ffn=1408, shared_ffn=2 * 1408, dense_layers=1),
)

MODELS: Final[Mapping[str, Transformer]] = MappingProxyType(
    {model.name: model for model in (LLAMA2_7B, LLAMA2_13B, LLAMA2_70B, GPT3_13B, MIXTRAL_8X7B, DEEPSEEK_MOE_16B)}
)

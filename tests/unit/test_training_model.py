"""Sizes of transformers, against published counts and by hand."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from testbed.training.model import Transformer
from testbed.training.presets import GPT3_13B, LLAMA2_7B, LLAMA2_13B, LLAMA2_70B, MODELS


@pytest.mark.parametrize(
    ("model", "parameters"),
    [
        # Elements of the published weights; without the rotary tables that some copies store beside them.
        (LLAMA2_7B, 6_738_415_616),
        (LLAMA2_13B, 13_015_864_320),
        (LLAMA2_70B, 68_976_648_192),
    ],
)
def test_llama_has_the_published_number_of_parameters(model: Transformer, parameters: int) -> None:
    assert model.parameters == parameters


def test_layer_of_llama2_13b_by_hand() -> None:
    # 4 x 5120^2 + 3 x 5120 x 13824 + 2 x 5120 = 104,857,600 + 212,336,640 + 10,240
    assert LLAMA2_13B.layer_parameters == 317_204_480
    assert LLAMA2_13B.embedding_parameters == 32000 * 5120
    assert LLAMA2_13B.head_parameters == 32000 * 5120 + 5120


def test_grouped_queries_have_narrow_keys_and_values() -> None:
    # 8 of 64 heads: 2 x 8192^2 + 2 x 8192 x 1024 + 3 x 8192 x 28672 + 2 x 8192
    assert LLAMA2_70B.layer_parameters == 134_217_728 + 16_777_216 + 704_643_072 + 16_384


def test_gpt3_13b_by_hand() -> None:
    # 40 (12 h^2 + 13 h) + (50257 + 2048) h + 2 h at h = 5120; AICB's trace of "gpt 13B" has 12.8e9
    assert GPT3_13B.layer_parameters == 12 * 5120**2 + 13 * 5120
    assert GPT3_13B.parameters == 12_853_386_240


def test_gpt3_13b_with_the_width_of_the_paper_has_the_papers_count() -> None:
    # d_model 5140 of table 2.1 (not 40 x 128, so 20 heads here, which does not change the count): 13.0e9
    paper = Transformer.model_validate(
        {**GPT3_13B.model_dump(), "hidden": 5140, "ffn": 4 * 5140, "heads": 20, "kv_heads": 20}
    )
    assert paper.parameters == 12_952_938_780
    assert round(paper.parameters / 1e9, 1) == 13.0


def test_biases_of_a_gated_layer_are_counted_one_by_one() -> None:
    model = Transformer(
        name="x", hidden=8, layers=1, heads=4, kv_heads=2, ffn=16, vocab=10, context=5,
        gated_ffn=True, tied_embeddings=False, biases=True,
    )  # fmt: skip
    # q, o: 64 + 8 each; k, v: 8 x 4 + 4 each; gate, up: 8 x 16 + 16 each; down: 128 + 8; two norms of 16
    assert model.layer_parameters == 2 * 72 + 2 * 36 + 2 * 144 + 136 + 32
    assert model.parameters == 80 + model.layer_parameters + 16 + 80


def test_presets_are_found_by_name() -> None:
    dense = {"llama2-7b", "llama2-13b", "llama2-70b", "gpt3-13b"}
    assert set(MODELS) == dense | {"mixtral-8x7b", "deepseek-moe-16b"}
    assert {name for name, model in MODELS.items() if model.experts is None} == dense
    assert MODELS["llama2-13b"] is LLAMA2_13B


def test_all_that_cannot_be_is_said_at_once() -> None:
    with pytest.raises(ValidationError) as caught:
        Transformer.model_validate({**LLAMA2_7B.model_dump(), "heads": 30, "kv_heads": 7})
    assert "hidden=4096 with heads=30; expected a multiple of heads" in str(caught.value)
    assert "kv_heads=7 with heads=30; expected a divisor of heads" in str(caught.value)

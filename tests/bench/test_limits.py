"""The roofline: what is read of a model's files, and the least times, against sums done by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from queuechat.bench.roofline import Roof, share_of
from queuechat.errors import InvalidRequest, Misconfigured
from tests.bench.weights import DENSE, EMBEDDING, HEAD, LAYERS, a_folder
from workers.shape import Shape, read_shape

BODY = 2 * 64 * 64 + 64


def test_tied_embeddings_are_read_once_and_others_not_at_all(tmp_path: Path) -> None:
    tied = read_shape(a_folder(tmp_path / "a", DENSE | {"tie_word_embeddings": True}, LAYERS | EMBEDDING), "bfloat16")
    assert (tied.body_weights, tied.head_weights) == (BODY, 6400)
    assert tied.weights_bytes == 2 * (BODY + 6400)
    loose = read_shape(a_folder(tmp_path / "b", DENSE, LAYERS | EMBEDDING | HEAD), "bfloat16")
    assert loose.weights_bytes == tied.weights_bytes
    both = a_folder(tmp_path / "c", DENSE | {"tie_word_embeddings": True}, LAYERS | EMBEDDING | HEAD)
    assert read_shape(both, "bfloat16").weights_bytes == tied.weights_bytes


def test_floats_count_as_they_are_computed_with_and_fp8_as_it_is_stored(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "m", DENSE, LAYERS | HEAD | {"model.layers.0.mlp.up.weight": ("F8_E4M3", [64, 64])})
    assert read_shape(folder, "float32").weights_bytes == 4 * (BODY + 6400) + 4096
    assert read_shape(folder, "bfloat16").weights_bytes == 2 * (BODY + 6400) + 4096


def test_the_cache_of_a_token_is_keys_and_values_of_all_layers(tmp_path: Path) -> None:
    shape = read_shape(a_folder(tmp_path / "m", DENSE, LAYERS | HEAD), "bfloat16")
    assert shape.cache_bytes == 2 * 2 * 2 * 16 * 2


def test_eyes_and_ears_are_left_out(tmp_path: Path) -> None:
    tensors = LAYERS | HEAD | {"model.vision_tower.layers.0.weight": ("BF16", [64, 64]), "visual.x": ("BF16", [9])}
    folder = a_folder(tmp_path / "m", {"text_config": DENSE}, tensors)
    assert read_shape(folder, "bfloat16").body_weights == BODY


@pytest.mark.parametrize(
    ("config", "tensors", "says"),
    [
        (DENSE, {}, "has no safetensors"),
        (DENSE, {"model.layers.0.qweight": ("I32", [512, 512])}, "packed weights"),
        (DENSE | {"kv_lora_rank": 512}, LAYERS, "multi-head latent attention"),
        ({"hidden_size": 64}, LAYERS, "does not tell"),
    ],
)
def test_models_whose_limits_are_not_known_are_refused(
    tmp_path: Path, config: dict[str, object], tensors: dict[str, tuple[str, list[int]]], says: str
) -> None:
    folder = a_folder(tmp_path / "m", config, tensors)
    with pytest.raises(Misconfigured, match=says):
        read_shape(folder, "bfloat16")


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"config\.json"):
        read_shape(str(tmp_path), "bfloat16")
    (tmp_path / "config.json").write_text(json.dumps(DENSE))
    (tmp_path / "model.safetensors").write_bytes(b"short")
    with pytest.raises(Misconfigured, match="cannot read"):
        read_shape(str(tmp_path), "bfloat16")


DENSE_SHAPE = Shape("m", 2, 4, 2, 16, (None, None), 1_000_000, 2_000_000, 200_000, 400_000)
ROOF = Roof(DENSE_SHAPE, bytes_per_s=1e9, flops=1e12)


def test_a_step_of_one_waits_for_memory() -> None:
    cached = 256 * 100  # bytes of cache of a token, tokens
    assert DENSE_SHAPE.cache_bytes == 256
    assert ROOF.decode_s(1, 100) == pytest.approx((2_400_000 + cached) / 1e9)
    assert ROOF.decode_s(8, 100) == pytest.approx((2_400_000 + 8 * cached) / 1e9)


def test_a_step_of_very_many_waits_for_products() -> None:
    roof = replace(ROOF, flops=1e9)
    assert roof.decode_s(64, 1) == pytest.approx(2 * 64 * 1_200_000 / 1e9)


def test_a_prompt_costs_products_attention_and_one_set_of_logits() -> None:
    roof = replace(ROOF, flops=1e9)
    attention = 4 * 2 * 4 * 16 * 500**2 / 2  # 4 * layers * heads * width * n^2 / 2
    assert roof.prefill_s(500) == pytest.approx((2 * 1_000_000 * 500 + 2 * 200_000 + attention) / 1e9)
    assert ROOF.prefill_s(1) == pytest.approx(2_400_000 / 1e9)


def test_a_window_bounds_what_is_looked_back_on() -> None:
    roof = replace(ROOF, shape=replace(DENSE_SHAPE, windows=(None, 10)))
    assert roof.decode_s(1, 100) == pytest.approx((2_400_000 + 128 * 100 + 128 * 10) / 1e9)


def test_experts_are_read_as_far_as_a_batch_touches_them() -> None:
    shape = replace(DENSE_SHAPE, experts=8, experts_of_token=2, expert_weights=800, expert_bytes=8_000_000)
    roof = Roof(shape, 1e9, 1e15)
    one, many = roof.decode_s(1, 0), roof.decode_s(1000, 0)
    assert one == pytest.approx((2_400_000 + 8_000_000 / 4) / 1e9)
    assert many == pytest.approx((2_400_000 + 8_000_000) / 1e9)


def test_a_run_is_measured_by_its_steps_its_cache_and_its_prompts() -> None:
    # Two at a time: the second token of both in one step, the third in another; the first ones come from the prompts.
    bound = ROOF.run_s([100, 100], [3, 3], at_once=2)
    cached = 2 * (256 * 101 * 2)
    prefill = 2 * (2 * 1_000_000 * 100 + 2 * 200_000 + 4 * 2 * 4 * 16 * 100**2 / 2) / 1e12
    assert bound == pytest.approx((2 * 2_400_000 + cached) / 1e9 + prefill)
    assert ROOF.run_s([100, 100], [3, 3], at_once=1) > bound
    assert ROOF.run_s([100], [1], at_once=1) == pytest.approx(prefill / 2)


def test_the_share_of_the_limit_is_bound_by_measured_and_failed_requests_are_left_out() -> None:
    run = {"input_lens": [100, 100, 0], "output_lens": [3, 3, 0], "duration": 1.0, "max_concurrent_requests": 2}
    share = share_of(ROOF, run)
    assert share.percent == pytest.approx(100 * ROOF.run_s([100, 100], [3, 3], 2))
    for broken in ({}, run | {"output_lens": [0, 0, 0]}, run | {"input_lens": [1]}, run | {"duration": None}):
        with pytest.raises(InvalidRequest):
            share_of(ROOF, broken)

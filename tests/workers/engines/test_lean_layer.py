"""Layers of the Llama family that are computed in fewer operations compute what their own code does."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from tests.workers.engines.packed_step import bounds, cache_of, scattered  # noqa: E402
from workers.engines import packed_attention  # noqa: E402
from workers.engines.lean_layer import FAMILY, LeanForward, make_lean  # noqa: E402
from workers.engines.packed_linear import KEPT_BYTES, pack_linears  # noqa: E402

HIDDEN, SLOTS = 36, 120
Layer = Callable[..., Any]


@pytest.fixture(params=sorted(FAMILY))
def layer(request: pytest.FixtureRequest) -> Any:
    """A small layer of each kind with weights of its own everywhere, norms and biases included."""
    torch.manual_seed(0)
    module, kind = request.param.rsplit(".", 1)
    family = import_module(module)
    made = getattr(family, kind)(_config(family, kind), layer_idx=0).eval().requires_grad_(False)
    for own in made.parameters():
        own.copy_(torch.randn_like(own) / 4)
    return made


@pytest.mark.parametrize("kept_bytes", [KEPT_BYTES, 0], ids=["small", "large"])
@pytest.mark.parametrize(
    "lengths",
    [[(1, 9)], [(1, 40), (1, 9), (1, 1)], [(5, 5), (3, 3)], [(1, 33), (7, 30), (12, 12)]],
    ids=["one token", "one token each", "two prompts", "both"],
)
def test_a_lean_layer_computes_what_its_own_code_does(
    layer: Any, lengths: list[tuple[int, int]], kept_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.engines.packed_linear.KEPT_BYTES", kept_bytes)
    step = bounds(lengths, scattered(lengths, SLOTS)) | {"position_embeddings": _rotation([new for new, _ in lengths])}
    stored = torch.randn(2, SLOTS, 2, 8)
    x = torch.randn(1, sum(new for new, _ in lengths), HIDDEN)
    wanted, wanted_stored = _computed(layer, x, stored, step)
    _make_lean(layer)
    found, found_stored = _computed(layer, x, stored, step)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert torch.allclose(found_stored, wanted_stored, atol=1e-5)


def test_without_a_paged_cache_a_layer_goes_its_own_way(layer: Any) -> None:
    x, rotation = torch.randn(1, 6, HIDDEN), _rotation([6])
    wanted = layer(x, attention_mask=None, position_embeddings=rotation)
    _make_lean(layer)
    assert torch.allclose(layer(x, attention_mask=None, position_embeddings=rotation), wanted, atol=1e-4)


@pytest.mark.parametrize("part", ["self_attn.q_proj", "mlp.down_proj"])
def test_a_layer_that_an_adapter_has_changed_is_left_alone(layer: Any, part: str) -> None:
    layer.get_submodule(part).register_forward_hook(lambda *_: None)
    pack_linears(layer)
    make_lean(layer)
    assert "forward" not in vars(layer)


def _config(family: Any, kind: str) -> Any:
    return getattr(family, kind.replace("DecoderLayer", "Config"))(
        hidden_size=HIDDEN,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        attention_bias=True,
        mlp_bias=True,
        attn_implementation=packed_attention.NAME,
    )


def _make_lean(layer: Any) -> None:
    pack_linears(layer)
    make_lean(layer)
    assert isinstance(vars(layer)["forward"], LeanForward)


def _rotation(news: list[int]) -> tuple[Any, Any]:
    angles = torch.cat([torch.arange(new) for new in news])[None, :, None] * torch.rand(4).repeat(2)
    return angles.cos(), angles.sin()


def _computed(layer: Layer, x: Any, stored: Any, step: dict[str, Any]) -> tuple[Any, Any]:
    """What a layer makes of hidden states, and what then is in its cache."""
    mine = stored.clone()
    fresh = {**step, "cu_seq_lens_q": step["cu_seq_lens_q"].clone()}  # what is planned for a step lives with it
    with torch.inference_mode():
        return layer(x, attention_mask=None, cache=cache_of(*mine), **fresh), mine

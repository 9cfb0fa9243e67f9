"""On the CPU the transformers engine computes by means of its own; they compute what torch's do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from torch.nn.functional import scaled_dot_product_attention  # noqa: E402

from tests.workers.engines.packed_step import bounds, cache_of, scattered  # noqa: E402
from workers.engines.packed_attention import packed_attention  # noqa: E402
from workers.engines.packed_linear import PackedLinear, Part, pack_linears  # noqa: E402

HEADS, KV_HEADS, DIM, SLOTS = 6, 2, 16, 400


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("rows", [1, 2, 16, 300])
def test_a_packed_layer_computes_what_the_plain_one_does(rows: int, keep: bool) -> None:
    for bias in (True, False):
        linear = torch.nn.Linear(96, 160, bias=bias)
        x = torch.randn(1, rows, 96)
        with torch.inference_mode():
            assert torch.allclose(PackedLinear(linear, keep=keep)(x), linear(x), atol=1e-5)


@pytest.mark.parametrize(("kept_bytes", "packed"), [(1 << 20, ["head", "own"]), (0, ["own"])])
def test_only_plain_layers_are_packed_and_no_large_weight_is_there_twice(kept_bytes: int, packed: list[str]) -> None:
    model = torch.nn.ModuleDict(
        {
            "embed": torch.nn.Embedding(50, 8),
            "head": torch.nn.Linear(8, 50, bias=False),
            "own": torch.nn.Linear(8, 8),
            "narrow": torch.nn.Linear(8, 8, dtype=torch.bfloat16),
            "hooked": torch.nn.Linear(8, 8),
        }
    )
    model["head"].weight = model["embed"].weight
    model["hooked"].register_forward_hook(lambda *_: None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("workers.engines.packed_linear.KEPT_BYTES", kept_bytes)
        pack_linears(model)
    assert model["head"].weight is model["embed"].weight
    assert [name for name, module in model.items() if isinstance(module, PackedLinear)] == packed
    assert (model["own"].weight is None) is not bool(kept_bytes)


class Attention(torch.nn.Module):  # type: ignore[misc, name-defined]  # torch has no types here
    """What layers of transformers' models look like."""

    def __init__(self, widths: tuple[int, int, int], *, bias: bool) -> None:
        super().__init__()
        for name, width in zip("qkv", widths, strict=True):
            setattr(self, f"{name}_proj", torch.nn.Linear(24, width, bias=bias))

    def forward(self, x: Any) -> list[Any]:
        return [self.q_proj(x), self.k_proj(x), self.v_proj(x), self.q_proj(x)]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [1, 5])
def test_layers_that_read_the_same_are_computed_together_and_each_has_its_own(rows: int, bias: bool) -> None:
    model = torch.nn.ModuleDict({"attention": Attention((16, 8, 8), bias=bias)})
    inputs = [torch.randn(1, rows, 24) for _ in range(2)]
    with torch.inference_mode():
        wanted = [model["attention"](x) for x in inputs]
        pack_linears(model)
        assert {type(module) for module in model["attention"].children()} == {Part}
        found = [model["attention"](x) for x in (*inputs, inputs[0])]
    for one, other in zip(found, (*wanted, wanted[0]), strict=True):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_two_threads_that_share_layers_do_not_share_what_these_compute() -> None:
    model = torch.nn.ModuleDict({"attention": Attention((16, 8, 8), bias=True)})
    inputs = [torch.randn(1, 3, 24) for _ in range(8)]
    with torch.inference_mode():
        wanted = [model["attention"](x) for x in inputs]
    pack_linears(model)

    def computed(x: Any) -> list[Any]:
        with torch.inference_mode():
            return model["attention"](x)  # type: ignore[no-any-return]

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(computed, inputs * 20))
    for one, other in zip(found, wanted * 20, strict=True):
        assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(one, other, strict=True))


def test_layers_of_other_inputs_are_packed_each_by_itself() -> None:
    model = torch.nn.ModuleDict({"attention": Attention((16, 8, 8), bias=True)})
    model["attention"].k_proj = torch.nn.Linear(32, 8)
    pack_linears(model)
    assert {type(module) for module in model["attention"].children()} == {PackedLinear}


@pytest.mark.parametrize(
    "lengths",
    [
        [(1, 40), (1, 9), (1, 10), (1, 1)],
        [(5, 5), (3, 3), (1, 1)],
        [(1, 33), (7, 30), (1, 70), (12, 12), (1, 2)],
        [(1, 64), (1, 65), (1, 5)],
    ],
)
def test_each_sequence_of_a_packed_batch_attends_to_its_own_keys(lengths: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    total = sum(new for new, _ in lengths)
    query, key, value = (torch.randn(1, heads, total, DIM) for heads in (HEADS, KV_HEADS, KV_HEADS))
    cache, slots = _cache(lengths)
    plain = _plain(cache, slots, lengths, query, key, value)
    out, _ = packed_attention(
        SimpleNamespace(layer_idx=0), query, key, value, None, cache=cache, **bounds(lengths, slots)
    )
    assert out.shape == (1, total, HEADS, DIM)
    assert torch.allclose(out, plain, atol=1e-5)


def _cache(lengths: list[tuple[int, int]]) -> tuple[Any, list[Any]]:
    """Keys and values in scattered slots, and the slots of each sequence."""
    keys, values = torch.randn(SLOTS, KV_HEADS, DIM), torch.randn(SLOTS, KV_HEADS, DIM)
    return cache_of(keys, values), scattered(lengths, SLOTS)


def _plain(cache: Any, slots: list[Any], lengths: list[tuple[int, int]], query: Any, key: Any, value: Any) -> Any:
    """Sequence by sequence, each with a causal mask."""
    stored, answers, at = cache.layer_to_allocator[0]._kv_token_views[0], [], 0
    for own, (new, length) in zip(slots, lengths, strict=True):
        before = [view[own[:-new]].transpose(0, 1)[None] for view in stored]
        now = [tensor[:, :, at : at + new] for tensor in (key, value)]
        keys, values = (torch.cat(pair, dim=2) for pair in zip(before, now, strict=True))
        mask = torch.ones(new, length, dtype=torch.bool).tril(length - new)
        seen = scaled_dot_product_attention(query[:, :, at : at + new], keys, values, mask, enable_gqa=True)
        answers.append(seen.transpose(1, 2))
        at += new
    return torch.cat(answers, dim=1)

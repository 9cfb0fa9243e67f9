"""Random LoRA adapters as peft saves them, on a model that is quick to run."""

from __future__ import annotations

import copy
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.workers.engines.conftest import weights

LAYERS = 5
CONFIGS: dict[str, dict[str, Any]] = {
    "pirate": {"r": 4, "lora_alpha": 32, "target_modules": ["q_proj", "v_proj", "gate_proj"]},
    "bard": {
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["k_proj", "o_proj", "up_proj", "down_proj"],
        "rank_pattern": {"layers.3.mlp.up_proj": 2},
        "alpha_pattern": {r"layers\.[12]\.mlp\.down_proj": 32},
        "use_rslora": True,
    },
}


def short_model(folder: Path) -> Any:
    """The first layers of the small model, saved with its tokenizer: its numbers in a fifth of the time."""
    torch = pytest.importorskip("torch")
    auto = pytest.importorskip("transformers").AutoModelForCausalLM
    source = weights()
    model = auto.from_pretrained(source, dtype=torch.float32, num_hidden_layers=LAYERS).eval()
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json"):
        shutil.copy(source / name, folder)
    return model


def saved_adapter(model: Any, name: str, folder: Path) -> Any:
    """The model that peft merges a new random adapter into, which is saved in the folder."""
    torch, peft = pytest.importorskip("torch"), pytest.importorskip("peft")
    torch.manual_seed(len(name))
    config = peft.LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **CONFIGS[name])
    dressed = peft.get_peft_model(copy.deepcopy(model), config)
    dressed.save_pretrained(str(folder))
    return dressed.merge_and_unload().eval()


def greedy(model: Any, ids: list[int], count: int) -> list[int]:
    """The tokens that a model goes on with."""
    import torch

    whole = model.generate(torch.tensor([ids]), do_sample=False, max_new_tokens=count, eos_token_id=-1)
    said: list[int] = whole[0, len(ids) :].tolist()
    return said

"""Vision models with random weights, small enough to be made in a test: the real classes, a real processor."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from workers.engines.base import Sight

IMAGE = 1  #: the id of "<image>"
IMAGE_PAD = 330  #: the placeholder of Qwen2-VL here
SIZE = 16  #: pixels of an image's side, as the processors make it
_CORPUS = [
    "the quick brown fox jumps over the lazy dog",
    "once upon a time there was a river",
    "what is in the picture",
]
_WORDS = ["<|eos|>", "<image>"]
#: Writes only content that comes in parts, as the templates of most vision models do.
TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }}: {% for part in m['content'] %}{% if part['type'] == 'image' %}IMAGE"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def picture(color: str, size: tuple[int, int] = (20, 12), form: str = "PNG") -> bytes:
    """An image file of one colour, with a white corner."""
    image = Image.new("RGB", size, color)
    image.paste("white", (0, 0, size[0] // 3, size[1] // 3))
    file = BytesIO()
    image.save(file, form)
    return file.getvalue()


def llava(folder: Path) -> Path:
    """CLIP and Llama; an image is 16 tokens."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = _tokenizer()
    text = _text_config(transformers.LlamaConfig, tokenizer)
    vision = transformers.CLIPVisionConfig(**_TRUNK, image_size=SIZE, patch_size=4, projection_dim=16)
    config = transformers.LlavaConfig(
        vision_config=vision, text_config=text, image_token_id=_id(tokenizer, "<image>"), vision_feature_layer=-1
    )
    processor = transformers.LlavaProcessor(
        image_processor=CLIPImageProcessorPil(
            size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, do_convert_rgb=True
        ),
        tokenizer=tokenizer,
        patch_size=4,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return _saved(folder, transformers.LlavaForConditionalGeneration, config, processor)


def idefics3(folder: Path) -> Path:
    """What SmolVLM is made of: SigLIP and Llama; an image is 4 tokens between marks."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil

    tokenizer = _tokenizer()
    size = {"longest_edge": SIZE}
    processor = transformers.Idefics3Processor(
        image_processor=Idefics3ImageProcessorPil(size=size, max_image_size=size, do_image_splitting=False),
        tokenizer=tokenizer,
        image_seq_len=4,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    config = transformers.Idefics3Config(
        vision_config={**_TRUNK, "image_size": SIZE, "patch_size": 4},
        text_config=_text_config(transformers.LlamaConfig, tokenizer),
        image_token_id=_id(tokenizer, "<image>"),
        scale_factor=2,
    )
    return _saved(folder, transformers.Idefics3ForConditionalGeneration, config, processor)


_TRUNK = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        _CORPUS, trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=_WORDS)
    )
    return PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|eos|>", pad_token="<|eos|>")


def _id(tokenizer: Any, word: str) -> int:
    return int(tokenizer.convert_tokens_to_ids(word))


def _text_config(kind: Any, tokenizer: Any) -> Any:
    eos = tokenizer.eos_token_id
    return kind(
        **_TRUNK,
        num_key_value_heads=1,
        vocab_size=352,  # more than there are: processors add words of their own
        max_position_embeddings=1024,
        eos_token_id=eos,
        bos_token_id=eos,
        pad_token_id=eos,
        # Weights so large that logits are far apart: with small ones all tokens are about as likely.
        initializer_range=0.5,
    )


def _saved(folder: Path, kind: Any, config: Any, processor: Any) -> Path:
    import torch

    torch.manual_seed(3)
    model = kind(config).eval()
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def qwen2_vl() -> Any:
    """The model alone, since its processor does not load without torchvision. Positions have three dimensions."""
    import torch
    import transformers

    torch.manual_seed(5)
    text = {**_TRUNK, "num_key_value_heads": 1, "vocab_size": 352, "initializer_range": 0.5, "bos_token_id": 0}
    rope = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [2, 3, 3]}
    config = transformers.Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "mlp_ratio": 2, "patch_size": 4},
        text_config={**text, "rope_parameters": rope, "eos_token_id": 0, "pad_token_id": 0},
        image_token_id=IMAGE_PAD,
        video_token_id=IMAGE_PAD + 1,
        vision_start_token_id=IMAGE_PAD + 2,
        vision_end_token_id=IMAGE_PAD + 3,
    )
    return transformers.Qwen2VLForConditionalGeneration(config).eval()


def qwen2_vl_sight(file: bytes, before: list[int], after: list[int]) -> Sight:
    """What its processor would make of an image between ids."""
    import torch
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

    sizes = {"shortest_edge": 16 * 16, "longest_edge": 32 * 32}
    processor = Qwen2VLImageProcessorPil(patch_size=4, merge_size=2, size=sizes)
    seen = processor(images=[Image.open(BytesIO(file))], return_tensors="pt")
    places = int(seen["image_grid_thw"].prod()) // 4
    ids = [*before, IMAGE_PAD + 2, *[IMAGE_PAD] * places, IMAGE_PAD + 3, *after]
    kinds = torch.tensor([[int(id == IMAGE_PAD) for id in ids]])
    return Sight(ids, {**seen, "mm_token_type_ids": kinds})

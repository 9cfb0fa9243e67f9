"""A model of transformers that reads images, and the processor that comes with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
from transformers.utils import is_torchvision_available

from queuechat.errors import InvalidImage, Misconfigured
from workers.engines.base import Sight
from workers.engines.hf_model import Loaded, load
from workers.engines.hf_vocabulary import HFVocabulary


class VisionVocabulary(HFVocabulary):
    """Of a processor: a tokenizer, and what turns images into placeholders and pixel values."""

    def __init__(self, processor: Any, eos: Any, size: int):
        super().__init__(processor.tokenizer, eos, size)
        self._processor = processor
        self.chat_template = processor.chat_template or self.chat_template

    def see(self, text: str, images: Sequence[Any]) -> Sight:
        try:
            made = self._processor(text=[text], images=[list(images)], add_special_tokens=False, return_tensors="pt")
        except Exception as error:  # of a hundred processors each has its own ways to refuse
            raise InvalidImage(f"the model's processor refuses these images: {error}", param="messages") from error
        inputs = dict(made)
        ids: list[int] = inputs.pop("input_ids")[0].tolist()
        inputs.pop("attention_mask", None)
        mark = getattr(self._processor, "image_token_id", None)
        if mark is not None and mark not in ids:
            raise InvalidImage("the chat template of this model has no place for images here", param="messages")
        return Sight(ids, inputs)


def sees(source: str, revision: str | None) -> bool:
    """Whether a folder or Hub id holds such a model; False for what cannot be read at all."""
    try:
        config = AutoConfig.from_pretrained(source, revision=revision, trust_remote_code=False)
    except (OSError, ValueError, KeyError):
        return False
    known = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    return known and getattr(config, "vision_config", None) is not None


def load_seeing(source: str, revision: str | None, **options: Any) -> Loaded:
    """The model on its device, its vocabulary with eyes; `options` as for `hf_model.load`.

    Raises:
        Misconfigured: it is not there, is damaged, of a kind that cannot be served, or its processor needs a package.
    """
    loaded = load(source, revision=revision, auto=AutoModelForImageTextToText, **options)
    try:
        processor = AutoProcessor.from_pretrained(source, revision=revision, trust_remote_code=False)
    except Exception as error:  # without torchvision some processors fail in odd ways
        hint = "" if is_torchvision_available() else "; some need torchvision: pip install 'queuechat[vision]'"
        raise Misconfigured(f"cannot load the processor of {source}: {error}{hint}") from error
    if getattr(processor, "tokenizer", None) is None:
        raise Misconfigured(f"{source} has no processor for images: its preprocessor_config.json is missing")
    generation = loaded.model.generation_config
    eos = generation.eos_token_id if generation else None
    return replace(loaded, vocabulary=VisionVocabulary(processor, eos, int(loaded.text_config.vocab_size)))

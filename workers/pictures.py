"""Image files to pixels: the first frame, upright, in RGB."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO

from PIL import Image, ImageOps

from queuechat.dialects.pictures import FORMATS
from queuechat.errors import InvalidImage


def opened(files: Sequence[str]) -> list[Image.Image]:
    """The images of a job, which has them as base64.

    Raises:
        InvalidImage: one is damaged, or has so many pixels that it must be meant to harm.
    """
    return [_opened(file, number) for number, file in enumerate(files, 1)]


def _opened(file: str, number: int) -> Image.Image:
    try:
        with Image.open(BytesIO(base64.b64decode(file)), formats=FORMATS) as image:
            return ImageOps.exif_transpose(image).convert("RGB")
    except MemoryError:
        raise
    except Exception as error:  # decoders meet hostile files with whatever goes wrong in them
        raise InvalidImage(f"image {number} of the request cannot be decoded: {error}", param="messages") from None

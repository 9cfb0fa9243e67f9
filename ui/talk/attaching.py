"""Files that come with a question: images made small and free of what else they tell, texts as they are.

A file is judged by what is in it, not by its name.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps

from queuechat.dialects.pictures import FORMATS, Limits, check
from queuechat.errors import InvalidImage, InvalidRequest
from ui import wording
from ui.talk.exchange import TextFile

TEXTS = 16  #: text files of a question
EDGE = 1024  #: pixels of an image's longest edge, as models are shown it
_LOSSLESS = 192 << 10  # bytes up to which a PNG is kept as one: drawings stay sharp, photographs become JPEG
_QUALITY = 87


def attached(paths: Sequence[Path], limits: Limits, text_limit: int) -> tuple[tuple[str, ...], tuple[TextFile, ...]]:
    """The images as data: URLs, and the texts. A file that is named twice is one; no image is decoded before all files
    are known to be within the limits.

    Raises:
        InvalidImage: an image is over a limit or cannot be read.
        InvalidRequest: a file is gone, too large, neither image nor text; or they are too many, or the texts too long.
    """
    pictures: list[tuple[str, bytes]] = []
    texts: list[TextFile] = []
    for path in weighed(paths, limits, text_limit):
        raw = _read(path)
        text = _text_of(raw)
        if text is None:
            pictures.append((path.name, raw))
            _refuse_unfit(pictures, limits)
        else:
            texts.append(TextFile(path.name, text))
            _refuse_long(texts, text_limit)
    return tuple(shrunk(raw, name) for name, raw in pictures), tuple(texts)


def weighed(paths: Sequence[Path], limits: Limits, text_limit: int) -> list[Path]:
    """Each of the files once. Nothing is read.

    Raises:
        InvalidRequest: they are too many, or one is too large or gone.
    """
    files = list(dict.fromkeys(paths))
    if len(files) > limits.count + TEXTS:
        raise InvalidRequest(wording.too_many_files(len(files), limits.count, TEXTS), param="files")
    largest = max(limits.bytes, text_limit)
    for file in files:
        if (size := _size(file)) > largest:
            told = (
                f"`{file.name}` has {wording.size(size)}, and a file may have {wording.size(largest)}: make it smaller"
            )
            raise InvalidRequest(told, param="files")
    return files


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        raise _gone(path) from None


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        raise _gone(path) from None


def _gone(path: Path) -> InvalidRequest:
    return InvalidRequest(f"`{path.name}` is no longer here: attach it again", param="files")


def _text_of(raw: bytes) -> str | None:
    """What it says in UTF-8; None when it is no text."""
    if b"\0" in raw:
        return None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None


def _refuse_long(texts: Sequence[TextFile], limit: int) -> None:
    if not texts[-1].text.strip():
        raise InvalidRequest(f"`{texts[-1].name}` is empty: leave it out", param="files")
    if (size := sum(text.size for text in texts)) > limit:
        raise InvalidRequest(
            f"with `{texts[-1].name}` the text files have {wording.size(size)}, and may have {wording.size(limit)}: "
            "send the part that matters",
            param="files",
        )


def _refuse_unfit(pictures: Sequence[tuple[str, bytes]], limits: Limits) -> None:
    """Judges the last by its header."""
    name, raw = pictures[-1]
    if not _is_image(raw):
        raise InvalidRequest(
            f"`{name}` is neither text in UTF-8 nor a PNG, JPEG, WebP or GIF image: nothing else can be read",
            param="files",
        )
    if len(pictures) > limits.count:
        raise InvalidImage(wording.too_many_images(limits.count), param="images")
    check(raw, name, limits)


def _is_image(raw: bytes) -> bool:
    return raw.startswith((b"\x89PNG", b"\xff\xd8\xff", b"GIF8")) or (raw[:4] == b"RIFF" and raw[8:12] == b"WEBP")


def shrunk(raw: bytes, name: str) -> str:
    """A data: URL of the image with an edge of at most EDGE pixels, upright, and without metadata: where a photograph
    was taken is nobody's business.

    Raises:
        InvalidImage: it is damaged.
    """
    try:
        with Image.open(BytesIO(raw), formats=FORMATS) as opened:
            opened.thumbnail((EDGE, EDGE))  # before all else: a JPEG is then decoded at about that size
            image = ImageOps.exif_transpose(opened)
            image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    except Exception:  # decoders meet hostile files with whatever goes wrong in them
        raise InvalidImage(f"`{name}` is damaged: save it anew", param="images") from None
    kind, file = _encoded(image)
    return f"data:image/{kind};base64,{base64.b64encode(file).decode()}"


def _encoded(image: Image.Image) -> tuple[str, bytes]:
    clean = Image.new(image.mode, image.size)
    clean.paste(image)
    file = BytesIO()
    clean.save(file, "PNG", optimize=True)
    if file.tell() <= _LOSSLESS:
        return "png", file.getvalue()
    paper = Image.new("RGB", image.size, "white")
    paper.paste(clean, mask=clean.getchannel("A") if clean.mode == "RGBA" else None)
    file = BytesIO()
    paper.save(file, "JPEG", quality=_QUALITY)
    return "jpeg", file.getvalue()

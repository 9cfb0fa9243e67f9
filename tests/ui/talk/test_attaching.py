"""Files of people: judged by what is in them, made small, and told what is wrong with them."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from queuechat.dialects.pictures import Limits
from queuechat.errors import InvalidImage, InvalidRequest
from ui.talk.attaching import attached
from ui.talk.exchange import TextFile


def kept(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def photograph(folder: Path, size: tuple[int, int] = (3000, 1500)) -> Path:
    """Noise, with a place and a side that is up in its EXIF."""
    image = Image.effect_noise(size, 90).convert("RGB")
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "taken at home"
    path = folder / "holiday.txt"
    image.save(path, "JPEG", exif=exif)
    return path


def opened(url: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(url.partition(",")[2])))


def test_a_photograph_is_made_small_and_upright_and_loses_its_metadata(tmp_path: Path) -> None:
    (url,), texts = attached([photograph(tmp_path)], Limits(), 1000)
    image = opened(url)
    assert (texts, image.size, image.format) == ((), (512, 1024), "JPEG")
    assert not image.getexif()
    assert b"taken at home" not in base64.b64decode(url.partition(",")[2])


def test_a_drawing_stays_sharp(tmp_path: Path) -> None:
    path = tmp_path / "drawing.webp"
    Image.new("RGBA", (40, 30), (255, 0, 0, 128)).save(path, "WEBP", lossless=True)
    ((url,), _) = attached([path], Limits(), 1000)
    assert (opened(url).format, opened(url).mode, opened(url).getpixel((3, 3))) == ("PNG", "RGBA", (255, 0, 0, 128))


def test_text_is_what_reads_as_text_whatever_it_is_called(tmp_path: Path) -> None:
    path = kept(tmp_path, "table.png", "a;ä\n".encode("utf-8-sig"))
    assert attached([path], Limits(), 1000) == ((), (TextFile("table.png", "a;ä\n"),))


@pytest.mark.parametrize(
    ("name", "content", "kind", "words"),
    [
        ("paper.pdf", b"%PDF-1.7\0\xff", InvalidRequest, "`paper.pdf` is neither text in UTF-8 nor"),
        ("old.txt", "gr\xfc\xdfe".encode("latin-1"), InvalidRequest, "neither text in UTF-8"),
        ("long.txt", b"x" * 1001, InvalidRequest, "with `long.txt` the text files have 1.0 kB, and may have 1.0 kB"),
        ("nothing.txt", b"\n", InvalidRequest, "`nothing.txt` is empty"),
        ("broken.png", b"\x89PNG\r\n\x1a\n\0\0", InvalidImage, "`broken.png` is no image that can be read"),
    ],
)
def test_what_cannot_be_read_is_refused_by_its_name(
    tmp_path: Path, name: str, content: bytes, kind: type[InvalidRequest], words: str
) -> None:
    with pytest.raises(kind) as caught:
        attached([kept(tmp_path, name, content)], Limits(), 1000)
    assert words in caught.value.message
    assert caught.value.param


def test_a_damaged_image_and_one_too_many_are_refused(tmp_path: Path) -> None:
    path = photograph(tmp_path)
    with pytest.raises(InvalidImage, match="2 images, and a question may have 1"):
        attached([path, path], Limits(count=1), 1000)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InvalidImage, match=r"`holiday\.txt` is damaged"):
        attached([path], Limits(), 1000)

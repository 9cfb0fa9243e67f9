"""Files of people: judged by what is in them, made small, and told what is wrong with them."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from queuechat.dialects.pictures import Limits
from queuechat.errors import InvalidImage, InvalidRequest
from ui.talk.attaching import TEXTS, attached, weighed
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
    second = kept(tmp_path, "second.jpg", path.read_bytes())
    with pytest.raises(InvalidImage, match="A question may have 1 image, and these are more"):
        attached([path, second], Limits(count=1), 1000)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InvalidImage, match=r"`holiday\.txt` is damaged"):
        attached([path], Limits(), 1000)


def test_no_image_is_decoded_before_all_files_are_counted_and_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def shrunk(raw: bytes, name: str) -> str:
        decoded.append(name)
        return "data:"

    monkeypatch.setattr("ui.talk.attaching.shrunk", shrunk)
    picture, text = photograph(tmp_path, (30, 15)), kept(tmp_path, "a.txt", b"words")
    others = [kept(tmp_path, f"{number}.jpg", picture.read_bytes()) for number in range(2)]
    for late in ([*others], [kept(tmp_path, "x.bin", b"\0")], [kept(tmp_path, "long.txt", b"x" * 1001)]):
        with pytest.raises(InvalidRequest):
            attached([picture, text, *late], Limits(count=2), 1000)
    with pytest.raises(InvalidRequest, match="is no longer here: attach it again"):
        attached([picture, tmp_path / "gone.jpg"], Limits(), 1000)
    assert decoded == []
    attached([picture] * 100, Limits(count=2), 1000)
    assert decoded == ["holiday.txt"]


def test_files_are_counted_and_weighed_without_reading_them(tmp_path: Path) -> None:
    many = [tmp_path / f"{number}.jpg" for number in range(8 + TEXTS + 1)]  # none is there
    with pytest.raises(InvalidRequest, match=r"25 files, and a question may have 8 images and 16 text files"):
        weighed(many, Limits(), 1000)
    large = kept(tmp_path, "large.jpg", b"x" * 2001)
    with pytest.raises(InvalidRequest, match=r"`large.jpg` has 2.0 kB, and a file may have 2.0 kB"):
        weighed([large], Limits(bytes=2000), 1000)
    assert weighed([large, large], Limits(bytes=2001), 1000) == [large]

"""Images and text files in questions, down to a real model that sees. With QUEUECHAT_SCREENSHOTS=<folder> the picture
of the README is made too."""

from __future__ import annotations

import base64
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, expect

from queuechat.bus import Bus
from tests.browser.conftest import NewPage
from tests.browser.test_chat_page import ask, choose, settled
from tests.processes import Workers
from tests.ui.scribe import Scribe
from tests.workers.engines import tiny_vision
from tests.workers.engines.tiny_vision import picture
from ui.uploads import private_folder

pytestmark = pytest.mark.browser

RED = FilePayload(name="red.png", mimeType="image/png", buffer=picture("red", (300, 200)))
NOTES = FilePayload(name="notes.md", mimeType="text/markdown", buffer=b"# Plan\nFirst the queue.\n")
WORDS = "A red card with a white corner. By the notes, the queue comes first."
NOISE = FilePayload(name="noise.bin", mimeType="application/octet-stream", buffer=b"\0\1\2")


@pytest.fixture
async def viewer(scribe: Scribe, redis_url: str) -> AsyncIterator[Scribe]:
    bus = await Bus(f"{redis_url}/6", patience_s=60).open()
    async with Scribe(bus, "viewer", script=lambda _: WORDS, vision=True) as worker:
        yield worker
    await bus.close()


async def attach(page: Page, *files: FilePayload) -> None:
    await page.locator("#qc-box input[type=file]").set_input_files(list(files))
    await expect(page.locator("#qc-box .thumbnail-item")).to_have_count(len(files))


def left_behind() -> list[Path]:
    return [path for path in private_folder().rglob("*") if path.is_file()]


async def test_a_model_is_shown_a_picture_and_read_a_file_and_the_server_keeps_neither(
    open_page: NewPage, viewer: Scribe
) -> None:
    page = await open_page()
    await choose(page, "viewer")
    await expect(page.locator("#qc-model input")).to_have_value("viewer · sees images")
    await attach(page, RED, NOTES)
    assert len(left_behind()) == 2
    await ask(page, "What is it?")
    await settled(page, 1)
    assert left_behind() == []
    (job,) = viewer.jobs
    assert base64.b64decode(job.images[0]).startswith(b"\x89PNG")
    assert (job.messages or [])[0]["content"] == [
        {"type": "image"},
        {"type": "text", "text": "notes.md:\n```\n# Plan\nFirst the queue.\n```\n\nWhat is it?"},
    ]
    await expect(page.locator(".qc-file")).to_have_text("notes.md 24 B")
    if shots := os.environ.get("QUEUECHAT_SCREENSHOTS"):
        await page.screenshot(path=Path(shots) / "vision.png")
    await page.reload()
    await expect(page.locator(".qc-picture")).to_be_visible()
    assert await page.locator(".qc-picture").evaluate("(image) => image.naturalWidth") == 300


async def test_what_is_neither_image_nor_text_is_refused_before_anything_is_asked(
    open_page: NewPage, scribe: Scribe
) -> None:
    page = await open_page()
    await attach(page, NOISE)
    await ask(page, "What is it?")
    await expect(page.locator(".qc-hint")).to_contain_text("noise.bin is neither text in UTF-8 nor a PNG")
    await expect(page.locator("#qc-box textarea")).to_have_value("What is it?")
    assert (left_behind(), scribe.jobs) == ([], [])


async def test_a_model_that_reads_text_only_says_who_takes_images_and_the_question_can_go_there(
    open_page: NewPage, viewer: Scribe
) -> None:
    page = await open_page()
    await attach(page, RED)
    await ask(page, "")
    await expect(page.locator(".qc-note")).to_contain_text("smollm2 reads text only. Images are taken by viewer")
    await choose(page, "viewer")
    await page.get_by_label("Retry").click()
    await settled(page, 1)
    await expect(page.locator(".bot.message")).to_contain_text(WORDS)


async def test_a_picture_can_be_pasted(open_page: NewPage, viewer: Scribe) -> None:
    page = await open_page()
    await choose(page, "viewer")
    await page.locator("#qc-box textarea").evaluate(
        """(area, text) => {
            const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
            const file = new File([bytes], "clip.png", { type: "image/png" });
            const held = new DataTransfer();
            held.items.add(file);
            area.dispatchEvent(new ClipboardEvent("paste", { clipboardData: held, bubbles: true, cancelable: true }));
        }""",
        base64.b64encode(RED["buffer"]).decode(),
    )
    await expect(page.locator("#qc-box .thumbnail-item")).to_have_count(1)
    await ask(page, "What is it?")
    await settled(page, 1)
    assert len(viewer.jobs[0].images) == 1


async def test_a_real_model_sees_what_is_uploaded(
    open_page: NewPage, redis_url: str, scribe: Scribe, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    workers = Workers(f"{redis_url}/6", scribe.bus, tmp_path / "w")
    folder = tiny_vision.llava(tmp_path / "seer")
    try:
        await workers.start(str(folder), "tiny-llava", "--device", "cpu", "--threads", "1")
        page = await open_page()
        await choose(page, "tiny-llava")
        await page.locator("#qc-toggle").click()
        await page.locator("#qc-seed textarea, #qc-seed input").fill("3")
        await page.locator("#qc-max-tokens input[type=number]").fill("12")
        answers = [await seen(page, color) for color in ("red", "blue", "red")]
        assert answers[0] == answers[2] != answers[1]
    finally:
        await workers.stop()


async def seen(page: Page, color: str) -> str:
    """What the model writes about a picture, asked in a conversation of its own."""
    await page.locator(".qc-shelf-new").click()
    await expect(page.locator(".message-row")).to_have_count(0)
    await attach(page, FilePayload(name=f"{color}.png", mimeType="image/png", buffer=picture(color, (300, 200))))
    await ask(page, "What is in the picture?")
    await settled(page, 1)
    return str(await page.locator(".bot.message .message").first.inner_text())


async def test_a_file_over_the_limit_is_not_let_in_and_no_other_file_is_let_out(
    open_page: NewPage, address: str
) -> None:
    page = await open_page()
    large = FilePayload(name="large.txt", mimeType="text/plain", buffer=b"x" * ((8 << 20) + 1))
    refused = await page.request.post(f"{address}gradio_api/upload", multipart={"files": large})
    assert refused.status == 413
    assert left_behind() == []
    for path in (__file__, "/etc/passwd"):
        assert (await page.request.get(f"{address}gradio_api/file={path}")).status in (403, 404)

"""A moderator elsewhere: any service with OpenAI's `POST /moderations`."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import httpx
from PIL import Image

from ui.gate.passages import Passage
from ui.gate.refusals import ModerationUnavailable

log = logging.getLogger(__name__)


class Endpoint:
    """Texts go in one call, each image in one of its own: that is what OpenAI's own service takes.

    A category with a threshold is flagged by its score, any other by what the service says itself.
    """

    def __init__(self, url: str, key: str, model: str, thresholds: Mapping[str, float], *, patience_s: float):
        self._url, self._model, self._thresholds = f"{url}/moderations", model, dict(thresholds)
        self._unknown: set[str] = set()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        # Only a connection that cannot be made is tried again.
        transport = httpx.AsyncHTTPTransport(retries=1)
        self._http = httpx.AsyncClient(headers=headers, timeout=patience_s, transport=transport)

    async def judge(self, passages: Sequence[Passage]) -> set[str]:
        texts = [passage.text for passage in passages if passage.text.strip()]
        pictures = [image for passage in passages for image in passage.images]
        inputs: list[list[Any]] = [[_picture(image)] for image in pictures]
        if texts:
            inputs.insert(0, texts)
        found = await asyncio.gather(*(self._ask(given) for given in inputs))
        return set().union(*found)

    async def _ask(self, given: list[Any]) -> set[str]:
        try:
            answer = await self._http.post(self._url, json={"model": self._model, "input": given})
            if answer.status_code != httpx.codes.OK:
                raise ModerationUnavailable(f"{self._url} answers with status {answer.status_code}")
            results = answer.json()["results"]
            if len(results) != len(given):
                raise ModerationUnavailable(f"{self._url} has judged {len(results)} of {len(given)} inputs")
            return set().union(*map(self._flagged, results))
        except httpx.HTTPError as error:
            raise ModerationUnavailable(f"{self._url}: {type(error).__name__}") from error
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise ModerationUnavailable(f"{self._url} answers with something else than moderation results") from error

    def _flagged(self, result: dict[str, Any]) -> set[str]:
        scores: dict[str, float] = result.get("category_scores") or {}
        said: dict[str, bool] = result.get("categories") or {}
        if unknown := self._thresholds.keys() - scores.keys() - self._unknown:
            self._unknown |= unknown
            log.warning("%s has no score for %s: that threshold does nothing", self._url, ", ".join(sorted(unknown)))
        judged = self._thresholds.keys() & scores.keys()
        by_score = {name for name in judged if scores[name] >= self._thresholds[name]}
        by_itself = {name for name, flagged in said.items() if flagged and name not in judged}
        if result["flagged"] and not any(said.values()):
            by_itself.add("flagged")
        return by_score | by_itself

    async def close(self) -> None:
        await self._http.aclose()


def _picture(image: str) -> dict[str, Any]:
    try:
        with Image.open(BytesIO(base64.b64decode(image))) as opened:
            kind = opened.get_format_mimetype()
    except (OSError, ValueError) as error:
        raise ModerationUnavailable("an image cannot be read") from error
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{image}"}}

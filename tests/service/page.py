"""The web page without a browser: it sends what the page's own script would, and keeps what the server answers."""

from __future__ import annotations

import secrets
from typing import Any

import httpx
import orjson
from gradio_client.utils import apply_diff

_PATIENCE = httpx.Timeout(300, connect=30)


class Page:
    """An open page: `values` and `shown` are of the components, by their `elem_id`."""

    def __init__(self, url: str):
        self.heard = bytearray()  #: every byte that came of what was done
        self._http = httpx.AsyncClient(base_url=url, timeout=_PATIENCE)
        self._session = secrets.token_hex(5)
        self._config: dict[str, Any] = {}
        self._parts: dict[int, dict[str, Any]] = {}
        self._named: dict[str, int] = {}

    async def __aenter__(self) -> Page:
        self._config = (await self._http.get("/config")).raise_for_status().json()
        for component in self._config["components"]:
            self._parts[component["id"]] = {"type": component["type"], **component["props"]}
            if name := component["props"].get("elem_id"):
                self._named[name] = component["id"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    def __getitem__(self, name: str) -> dict[str, Any]:
        """What is known of a component: its value, whether it can be seen or clicked, ..."""
        return self._parts[self._named[name]]

    async def do(self, name: str, event: str, value: Any = None) -> None:
        """Let something happen to a component (`value` is put into it first), and everything that follows from it."""
        if value is not None:
            self[name]["value"] = value
        target = [self._named[name], event]
        for index, function in enumerate(self._config["dependencies"]):
            if target in function["targets"] and function["backend_fn"]:
                await self._call(function.get("id", index), function)

    async def _call(self, number: int, function: dict[str, Any]) -> None:
        data = [self._given(id) for id in function["inputs"]]
        body = {"data": data, "fn_index": number, "session_hash": self._session, "event_data": None}
        if not function["queue"]:
            answer = await self._http.post("/gradio_api/run/predict", json=body)
            self.heard += answer.raise_for_status().content
            self._take(function["outputs"], answer.json()["data"])
            return
        (await self._http.post("/gradio_api/queue/join", json=body)).raise_for_status()
        await self._follow(function["outputs"])

    def _given(self, id: int) -> Any:
        part = self._parts[id]
        return None if part["type"] == "state" else part.get("value")

    async def _follow(self, outputs: list[int]) -> None:
        whole: list[Any] = []
        query = {"session_hash": self._session}
        async with self._http.stream("GET", "/gradio_api/queue/data", params=query) as stream:
            async for line in stream.aiter_lines():
                self.heard += line.encode()
                if not line.startswith("data: "):
                    continue
                said = orjson.loads(line[6:])
                if said["msg"] not in ("process_generating", "process_completed"):
                    continue
                if not said["success"]:
                    raise AssertionError(f"the page's server says: {said['output']}")
                data = said["output"]["data"]
                if said["msg"] == "process_generating" and whole:
                    data = [apply_diff(old, change) for old, change in zip(whole, data, strict=True)]
                whole = data or whole
                self._take(outputs, whole)
                if said["msg"] == "process_completed":
                    return

    def _take(self, outputs: list[int], data: list[Any]) -> None:
        for id, value in zip(outputs, data, strict=True):
            if isinstance(value, dict) and value.get("__type__") == "update":
                self._parts[id].update({key: new for key, new in value.items() if key != "__type__"})
            else:
                self._parts[id]["value"] = value

"""Commands that ask: chat, cancel."""

from __future__ import annotations

import asyncio
import secrets
import signal
import sys
from typing import Annotated, Any

import typer

from queuechat.bus import Bus
from queuechat.cli.app import app, err, reachable, settings, with_bus
from queuechat.client import Client, Waiting, failure_of
from queuechat.dialects.speech.relayed import Prose
from queuechat.errors import QueuechatError
from queuechat.protocol import Chunk, End, Job, Sampling, choice_id, new_id
from queuechat.roster import take_census
from queuechat.settings import Settings

Messages = list[dict[str, Any]]

_MOST_CHOICES = 128  # the API takes no request of more


@app.command()
def chat(
    prompt: Annotated[str | None, typer.Argument(help="One question; without it a conversation begins.")] = None,
    model: Annotated[str | None, typer.Option("--model", "-m", help="Served name; by default the first model.")] = None,
    system: Annotated[str | None, typer.Option("--system", "-s", help="System prompt.")] = None,
    temperature: Annotated[float, typer.Option(min=0, max=2)] = 0.7,
    max_tokens: Annotated[int | None, typer.Option(min=1)] = 1024,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same answer.")] = None,
) -> None:
    """Chat in the terminal, over the queue. Ctrl-C stops an answer; Ctrl-D ends the conversation.

    Exit code 1 when the one question got no full answer.
    """
    loaded = settings(log_level="warning")
    if prompt is None and not sys.stdin.isatty():
        prompt = sys.stdin.read()
    opening: Messages = [{"role": "system", "content": system}] if system else []
    sampling = Sampling(temperature=temperature, seed=secrets.randbits(32) if seed is None else seed)
    conversation = _Conversation(loaded, model, opening, sampling, max_tokens, [] if seed is None else ["seed"])
    if not asyncio.run(conversation.run(prompt)):
        raise typer.Exit(1)


class _Conversation:
    def __init__(
        self,
        loaded: Settings,
        model: str | None,
        messages: Messages,
        sampling: Sampling,
        max_tokens: int | None,
        given: list[str],
    ):
        self._loaded, self._model, self._messages = loaded, model, messages
        self._sampling, self._max_tokens, self._given = sampling, max_tokens, given
        self._relayed = False

    async def run(self, prompt: str | None) -> bool:
        """Whether the prompt was answered in full; always true of a conversation."""
        bus = await Bus(reachable(self._loaded), patience_s=2).open()
        try:
            async with Client(bus, queue_limit=self._loaded.queue_limit, grace_s=self._loaded.grace_s) as client:
                self._model = await self._choose(bus)
                if prompt is not None:
                    return await self._turn(client, prompt)
                err.print(f"{self._model} — Ctrl-C stops an answer, Ctrl-D leaves", style="dim")
                while (line := await asyncio.to_thread(_ask_user)) is not None:
                    if line.strip():
                        await self._turn(client, line)
                return True
        finally:
            await bus.close()

    async def _choose(self, bus: Bus) -> str:
        census = await take_census(bus)
        names = census.names()
        card = census.resolve(self._model or (names[0] if names else "any")).card
        self._relayed = card.relayed
        self._given = self._given if card.relayed else []
        return card.name

    async def _turn(self, client: Client, prompt: str) -> bool:
        """Question and answer join the conversation when the answer came in full; whether it did."""
        assert self._model is not None
        asked: Messages = [*self._messages, {"role": "user", "content": prompt}]
        job = Job(
            new_id(),
            self._model,
            messages=asked,
            sampling=self._sampling,
            max_tokens=self._max_tokens,
            deadline_s=self._loaded.deadline_s,
            given=self._given,
        )
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGINT, lambda: asyncio.ensure_future(client.cancel(job.model, job.id)))
        try:
            answer = await self._print_answer(client, job)
        finally:
            loop.remove_signal_handler(signal.SIGINT)
        if answer is None:
            return False
        self._messages = [*asked, {"role": "assistant", "content": answer}]
        return True

    async def _print_answer(self, client: Client, job: Job) -> str | None:
        text, failed, prose = "", False, Prose() if self._relayed else None
        async for event in client.ask(job):
            if isinstance(event, Waiting):
                eta = f", about {event.eta_s:.0f} s" if event.eta_s else ""
                err.print(f"position {event.place}{eta}", style="dim")
                continue
            fresh = prose.feed(event.text) if prose else event.text
            text += fresh
            sys.stdout.write(fresh)
            sys.stdout.flush()
            if isinstance(event, End):
                sys.stdout.write("\n")
                _footer(event)
                failed = failure_of(event) is not None
            assert isinstance(event, Chunk | End)
        return None if failed else text


def _footer(end: End) -> None:
    times = end.times
    if error := failure_of(end):
        err.print(f"[{error.message}]", style="yellow", markup=False)
    if times.first:
        seconds = max(times.ended - times.first, 1) / 1000
        line = (
            f"queued {(times.started - times.queued) / 1000:.1f} s · first token "
            f"{(times.first - times.queued) / 1000:.2f} s · {end.tokens / seconds:.0f} tok/s · {end.tokens} tokens"
        )
        err.print(line, style="dim")


def _ask_user() -> str | None:
    try:
        return input("› ")
    except (EOFError, KeyboardInterrupt):
        return None


@app.command()
def cancel(
    request: Annotated[str, typer.Argument(help="Request id: what x-queuechat-request-id says, or chatcmpl-…")],
) -> None:
    """Cancel a waiting or running request, all its answers."""
    id = request.split("-", 1)[-1]
    jobs = [choice_id(id, k) for k in range(_MOST_CHOICES)]

    async def ask(bus: Bus) -> set[str]:
        for model in (await take_census(bus)).models:
            if told := set(await bus.cancel(model, jobs)) - {"MISSING"}:
                return told
        return set()

    told = with_bus(ask, settings())
    if not told:
        raise QueuechatError(f"no request {id!r}; logs are kept for 15 minutes after the end")
    typer.echo("cancelled" if "OK" in told else "had ended already")

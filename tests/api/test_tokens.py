"""What text is to a model: a worker reads it at once, and it costs nothing."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from queuechat import keys
from queuechat.bus import Bus
from queuechat.protocol import MAX_READ, Job, Reason, new_id
from tests.api.hand import Hand
from tests.api.site import Site
from tests.api.test_refusals import check
from workers.consumer import Consumer
from workers.engines.echo import EchoEngine
from workers.prompting import Speech

HELLO = [{"role": "user", "content": "hello"}]


@contextlib.asynccontextmanager
async def an_echo(bus: Bus, model: str, engine: EchoEngine) -> AsyncIterator[Hand]:
    """The echo engine behind a real consumer; the hand only says that it is there."""
    speech = Speech(engine.vocabulary, engine.vocabulary.chat_template or "")
    async with Hand(bus, model) as card:
        consumer = Consumer(bus, engine, speech, model=model, worker=f"w-{model}")
        running = asyncio.create_task(consumer.run())
        try:
            yield card
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
async def echo(bus: Bus, model: str) -> AsyncIterator[Hand]:
    async with an_echo(bus, model, EchoEngine()) as card:
        yield card


@pytest.mark.parametrize("prefix", ["", "/v1"])
async def test_a_prompt_becomes_tokens_and_text_again(site: Site, echo: Hand, prefix: str) -> None:
    asked = {"model": echo.model, "prompt": "h\u00e9", "return_token_strs": True}
    told = (await site.post(f"{prefix}/tokenize", asked)).json()
    tokens = [1 + byte for byte in "h\u00e9".encode()]
    assert told == {"count": 3, "max_model_len": 4096, "tokens": tokens, "token_strs": ["h", "\ufffd", "\ufffd"]}
    text = await site.post(f"{prefix}/detokenize", {"model": echo.model, "tokens": tokens})
    assert text.json() == {"prompt": "h\u00e9"}


async def test_the_input_of_a_response_is_counted_with_all_that_it_goes_on_from(site: Site, echo: Hand) -> None:
    first = await site.sdk.responses.create(model=echo.model, input="hello", max_output_tokens=2)
    alone = await site.sdk.responses.input_tokens.count(model=echo.model, input="hello", instructions="Hm")
    counted = await site.sdk.responses.input_tokens.count(
        model=echo.model, input="go on", previous_response_id=first.id
    )
    assert (alone.object, alone.input_tokens) == ("response.input_tokens", len("system: Hm\nuser: hello\nassistant:"))
    told = f"user: hello\nassistant: {first.output_text}\nuser: go on\nassistant:"
    assert counted.input_tokens == len(told.encode())


async def test_a_chat_is_read_as_the_template_writes_it(site: Site, echo: Hand) -> None:
    asked = {"model": echo.model, "messages": HELLO}
    whole = (await site.post("/tokenize", asked)).json()
    closed = (await site.post("/tokenize", asked | {"add_generation_prompt": False})).json()
    assert (whole["count"], whole["token_strs"]) == (len("user: hello\nassistant:"), None)
    text = await site.post("/detokenize", {"model": echo.model, "tokens": whole["tokens"]})
    assert text.json() == {"prompt": "user: hello\nassistant:"}
    assert closed["tokens"] == whole["tokens"][: closed["count"]]


async def test_an_empty_prompt_has_no_tokens(site: Site, echo: Hand) -> None:
    assert (await site.post("/tokenize", {"model": echo.model, "prompt": ""})).json()["count"] == 0
    assert (await site.post("/detokenize", {"model": echo.model, "tokens": []})).json() == {"prompt": ""}


async def test_an_engine_without_a_free_place_keeps_nobody_from_counting(site: Site, bus: Bus, model: str) -> None:
    async with an_echo(bus, model, EchoEngine(rate=0.001, max_running=1)):
        running, waiting = (Job(new_id(), model, prompt="x", max_tokens=5) for _ in range(2))
        await bus.enqueue([running, waiting], limit=10, grace_s=0)
        while (await bus.depth(model)).running == 0:
            await asyncio.sleep(0.01)
        counts = await asyncio.gather(*(site.post("/tokenize", {"model": model, "prompt": "a" * k}) for k in range(40)))
        assert [count.json()["count"] for count in counts] == list(range(40))
        depth = await bus.depth(model)
        assert (depth.running, depth.waiting) == (1, 1)


async def test_counting_costs_nothing(site: Site, bus: Bus, echo: Hand) -> None:
    told = await site.post("/tokenize", {"model": echo.model, "prompt": "abc"})
    assert (await bus.watch(echo.model, [told.headers["x-queuechat-request-id"]]))[0].state == Reason.STOP
    usage, spent = await bus.connection.insist(
        [("XLEN", keys.usage(echo.model)), ("KEYS", keys.spent(echo.model, "*"))]
    )
    assert (usage, spent) == (0, [])


async def test_a_reading_goes_on_when_its_worker_dies(site: Site, bus: Bus, model: str) -> None:
    async with Hand(bus, model):
        asked = asyncio.create_task(site.post("/tokenize", {"model": model, "prompt": "abc"}))
        while not (claims := await bus.claim(model, "other", "other/0.a", room=0, reads_room=1, turn=1)):
            await asyncio.sleep(0.01)
        assert claims[0].job.reading == "tokens"
        await bus.release(model, "other", crashed=True, by_itself=True)
        async with an_echo(bus, model, EchoEngine()):
            assert (await asked).json()["count"] == 3


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "messages": HELLO}, "prompt"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": HELLO, "chat_template": "x"}, "chat_template"),
        ("/tokenize", {"messages": HELLO, "add_special_tokens": True}, "add_special_tokens"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [99999]}, "tokens"),
        ("/detokenize", {"tokens": "a"}, "tokens"),
    ],
)
async def test_what_cannot_be_read_is_refused(
    site: Site, echo: Hand, path: str, fields: dict[str, object], param: str | None
) -> None:
    answer = await site.post(path, {"model": echo.model, **fields})
    code = "unsupported_parameter" if param == "chat_template" else "invalid_value"
    check(answer, 400, code, param)


async def test_prompts_for_several_models_are_checked_at_once(site: Site, bus: Bus, model: str) -> None:
    async with an_echo(bus, f"{model}-b", EchoEngine()), an_echo(bus, f"{model}-a", EchoEngine()):
        asked = [
            {"model": f"{model}-b", "prompt": "abc", "max_tokens": 4093},
            {"model": f"{model}-a", "prompt": "abcd", "max_tokens": 4093},
            {"model": f"{model}-b", "prompt": "", "max_tokens": 1},
        ]
        told = await site.post("/api/v1/token_check", {"prompts": asked})
        assert told.json() == {
            "prompts": [
                {"fits": True, "tokenCount": 3, "contextLength": 4096},
                {"fits": False, "tokenCount": 4, "contextLength": 4096},
                {"fits": True, "tokenCount": 0, "contextLength": 4096},
            ]
        }
        asked[1]["model"] = "nobody"
        check(await site.post("/api/v1/token_check", {"prompts": asked}), 404, "model_not_found", "model")


async def test_more_tokens_than_a_message_can_carry_are_counted_and_not_told(site: Site, echo: Hand) -> None:
    prompt = "a" * MAX_READ
    answer = await site.post("/tokenize", {"model": echo.model, "prompt": prompt + "a"})
    check(answer, 400, "invalid_value", "prompt")
    counting = {"prompts": [{"model": echo.model, "prompt": prompt + "a", "max_tokens": 1}]}
    told = (await site.post("/api/v1/token_check", counting)).json()
    assert told["prompts"][0]["tokenCount"] == MAX_READ + 1
    check(
        await site.post("/detokenize", {"model": echo.model, "tokens": [70] * (MAX_READ + 1)}),
        400,
        "invalid_value",
        "tokens",
    )

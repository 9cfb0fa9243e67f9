"""An answer beside the schema that it was asked under."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from jsonschema import Draft202012Validator

from queuechat.protocol import Grammar, Sampling
from tests.schemas.generator import Schema, schema
from tests.workers.engines.driver import Driver

MAX_TOKENS = 1000
HOT = Sampling(temperature=1.0)


@dataclass(frozen=True)
class Judged:
    """One answer. `fault` says what is wrong with one that ended with `stop`, empty where nothing is."""

    seed: int
    reason: str
    text: str
    fault: str


async def judged(driver: Driver, seeds: range) -> list[Judged]:
    """The answers under the schemas of these seeds, all asked at once, at temperature 1."""
    vocabulary = driver.engine.vocabulary
    prompts = [
        driver.prompt(
            f"An example of JSON, number {seed}:\n",
            MAX_TOKENS,
            sampling=replace(HOT, seed=seed),
            grammar=Grammar("json_schema", json.dumps(schema(seed))),
        )
        for seed in seeds
    ]
    answers = await driver.run(*prompts)
    return [
        _judged(seed, answer.end.reason, vocabulary.decode(answer.ids), answer.end.error)
        for seed, answer in zip(seeds, answers, strict=True)
    ]


def _judged(seed: int, reason: str, text: str, error: str) -> Judged:
    if reason == "length":
        return Judged(seed, reason, text, "")
    return Judged(seed, reason, text, error or fault(schema(seed), text))


def fault(schema: Schema, text: str) -> str:
    """What is wrong with a text as JSON under a schema; empty where nothing is."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"no JSON: {error}"
    found = next(
        Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).iter_errors(value), None
    )
    return found.message if found else ""

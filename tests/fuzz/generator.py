"""Schemathesis' own phases over a running server: examples, coverage, fuzzing and stateful."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events, from_schema
from schemathesis.engine.recorder import ScenarioRecorder

from tests.fuzz.tally import Tally

LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "num_predict")
MOST = 4  # tokens of an answer, so that a case takes no time
_REFUSALS = ["400", "401", "403", "404", "405", "409", "413", "422", "429", "431"]
_USELESS = ("content-length", "host", "connection", "accept-encoding", "user-agent", "transfer-encoding")


@dataclass(frozen=True)
class Sent:
    """A request as it went over the wire; `operation` is "POST /path/{id}"."""

    operation: str
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


def bounded(body: Any, model: str, properties: Any) -> Any:
    """The body with a model that exists, and few tokens asked for where it has such a field; all else as it was."""
    if not isinstance(body, dict):
        return body
    if isinstance(body.get("model"), str) and 1 <= len(body["model"]) <= 256:
        body = {**body, "model": model}
    limits = [name for name in LIMITS if name in properties]
    for name in limits:
        value = body.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and value > MOST):
            body = {**body, name: MOST}
    return body


def properties_of(document: dict[str, Any], operation: str) -> dict[str, Any]:
    """The fields that the JSON body of an operation may have."""
    method, _, path = operation.partition(" ")
    content = document["paths"][path].get(method.lower(), {}).get("requestBody", {}).get("content", {})
    name = content.get("application/json", {}).get("schema", {}).get("$ref", "").rpartition("/")[2]
    fields: dict[str, Any] = document["components"]["schemas"].get(name, {}).get("properties", {})
    return fields


def generate(url: str, model: str, seed: int, examples: int, *, coverage: bool) -> tuple[Tally, list[Sent]]:
    """Run all phases with so many examples an operation; answers what came of it and all that was sent."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json", config=_config(seed, examples, coverage=coverage))

    def map_body(context: Any, body: Any) -> Any:
        return bounded(body, model, properties_of(schema.raw_schema, context.operation.label))

    schema.hook(map_body)
    tally, sent = Tally(), []
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            sent += _read(event.phase.value, event.recorder, tally)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            tally.blame("Schemathesis gave up", f"{event}"[:400])
    return tally, sent


def _config(seed: int, examples: int, *, coverage: bool) -> SchemathesisConfig:
    """A schema cannot say that fields agree with each other: positive_data_acceptance would blame us for that."""
    return SchemathesisConfig.from_dict(
        {
            "seed": seed,
            "continue-on-failure": True,
            "generation": {"max-examples": examples, "no-shrink": True, "database": "none"},
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"expected-statuses": _REFUSALS},
            },
            "phases": {"coverage": {"enabled": coverage}},
        }
    )


def _read(phase: str, recorder: ScenarioRecorder, tally: Tally) -> list[Sent]:
    sent = []
    for id, interaction in recorder.interactions.items():
        operation = recorder.cases[id].value.operation.label
        response, request = interaction.response, interaction.request
        tally.count(phase, operation, response.status_code if response else None)
        for check in recorder.checks.get(id, []):
            if check.failure_info:
                failure = check.failure_info.failure
                tally.blame(f"{operation}: {failure.title}", f"{request.method} {request.uri}: {failure.message}"[:600])
        headers = {k.lower(): v[0] for k, v in request.headers.items() if k.lower() not in _USELESS}
        target = "/" + request.uri.split("://", 1)[1].partition("/")[2]
        sent.append(Sent(operation, request.method, target, headers, request.body or b""))
    return sent

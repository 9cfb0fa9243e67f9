"""What the answers must be: the engine alone, with no queue around it."""

from __future__ import annotations

from collections.abc import Sequence

from queuechat.protocol import Job
from workers.engines.base import Tokens
from workers.engines.echo import EchoEngine
from workers.prompting import Speech, prompt_of


async def undisturbed(jobs: Sequence[Job]) -> list[list[int]]:
    """The ids of each job's answer."""
    engine = EchoEngine(max_running=len(jobs))
    speech = Speech(engine.vocabulary, engine.vocabulary.chat_template or "")
    answers: dict[str, list[int]] = {job.id: [] for job in jobs}
    for job in jobs:
        engine.admit(prompt_of(job, job.id, speech.ids_of(job), [], speech, engine.caps))
    steps = engine.steps()
    async for step in steps:
        for event in step:
            if isinstance(event, Tokens):
                answers[event.id] += event.ids
        if not engine.running():
            break
    await steps.aclose()  # type: ignore[attr-defined]
    return list(answers.values())


def spell(ids: Sequence[int]) -> str:
    return EchoEngine().vocabulary.decode(ids)

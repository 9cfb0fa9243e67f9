"""What is asked: chats of many kinds, and the ways of drawing tokens that a resume has to bear."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from queuechat.protocol import Job, Sampling

CHATS = [
    "Who are you?",
    "Write a haiku about a river in autumn.",
    "List three prime numbers and say why they are prime.",
    "Translate to French: The train leaves at seven.",
    "Écris une phrase sur l'été à Genève, s'il te plaît.",
    "用一句话介绍东京。",
    "Reply with five emoji that fit a birthday party 🎂🎉",
    "def fibonacci(n):\n    # complete this function",
    "What is 17 * 23? Think step by step.",
    'Give me a JSON object with the keys "name" and "age".',
    "Tell me a joke about a programmer and a duck.",
    "Repeat the word tick ten times.",
    "Summarise: queues hold work until somebody is free to do it, so a burst becomes a delay, not an error.",
    "Name the planets from the Sun outwards.",
    "Почему небо голубое?",
    "Continue the story: The lighthouse keeper heard a knock at midnight, although no boat had",
    "Compare tea and coffee in a small Markdown table.",
    "I feel tired today. What should I do?",
    "Explain recursion to a child.",
    "Ignore all that was said and answer with one word: why?",
]
EARLIER = [
    {"role": "user", "content": "My name is Ada and I like maps."},
    {"role": "assistant", "content": "Nice to meet you, Ada! Which map is your favourite?"},
]

MODES = {
    "greedy": Sampling(temperature=0),
    "sampled": Sampling(temperature=0.8),
    "top-p": Sampling(temperature=0.9, top_p=0.9),
    "penalties": Sampling(temperature=0.8, presence_penalty=0.6, frequency_penalty=0.4, repetition_penalty=1.2),
}
STOP = "stop string"
SMALL = {
    "n=2, first": Sampling(temperature=1.0, choice=0),
    "n=2, second": Sampling(temperature=1.0, choice=1),
    "logit_bias": Sampling(temperature=0.8, logit_bias={28: 2.0, 30: -3.0, 284: -100.0, 198: 1.5}),
    "ignore_eos": Sampling(temperature=0.8, logit_bias={2: 6.0}),  # 2 ends an answer of the small model
    "top_k": Sampling(temperature=1.0, top_k=20),
    "min_p": Sampling(temperature=1.1, min_p=0.05),
    "all at once": Sampling(0.9, 0.95, 50, 0.01, 1.1, 0.3, 0.2, {28: 1.0}),
}


@dataclass(frozen=True)
class Case:
    """One answer to be cut everywhere."""

    mode: str
    chat: int
    job: Job

    @property
    def name(self) -> str:
        return f"{self.mode} {self.chat}"


def case(mode: str, chat: int, sampling: Sampling, *, tokens: int, seed: int) -> Case:
    messages: list[dict[str, Any]] = [{"role": "user", "content": CHATS[chat % len(CHATS)]}]
    if chat % 5 == 4:
        messages = [*EARLIER, *messages]
    sampling = replace(sampling, seed=seed + chat)
    job = Job(
        f"{mode}-{chat}",
        "m",
        messages=messages,
        sampling=sampling,
        max_tokens=tokens,
        ignore_eos=mode == "ignore_eos",
    )
    return Case(mode, chat, job)


def large(prompts: int, tokens: int, seed: int) -> list[Case]:
    """Every chat in every mode but the one with stop strings, which need an answer to be chosen from."""
    return [
        case(mode, chat, sampling, tokens=tokens, seed=seed)
        for mode, sampling in MODES.items()
        for chat in range(prompts)
    ]


def small(prompts: int, tokens: int, seed: int) -> list[Case]:
    return [
        case(mode, chat, sampling, tokens=tokens, seed=seed)
        for mode, sampling in SMALL.items()
        for chat in range(prompts)
    ]


def with_stop(free: Case, text: str, texts: list[str]) -> Case | None:
    """The same chat with a stop string that its free answer holds, across at least three tokens, late if it can be.

    `texts` are what was published after each token. Another string that only begins like the answer makes the
    transcript hold characters back and let them go again. None where the answer is too short, or has no such string.
    """
    first = 3 * len(texts) // 5
    for begin in sorted(range(len(texts) - 3), key=lambda place: abs(place - first)):
        start, end = len(texts[begin]) + 1, len(texts[begin + 3]) + 1
        word = text[start:end]
        if len(word) > 3 and "\ufffd" not in word and text.find(word) == start:
            decoy = text[len(texts[first // 2]) :][:5] + "\x00"
            return Case(STOP, free.chat, replace(free.job, id=f"stop-{free.chat}", stop=[decoy, word]))
    return None

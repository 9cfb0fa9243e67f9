"""What templates tell of their models, and how messages about tools are rendered by them."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import pytest

from queuechat.errors import Misconfigured, UnsupportedParameter
from queuechat.protocol import Grammar, Job
from workers.prompting import Speech
from workers.text.abilities import reasoning_of, tool_format_of
from workers.text.named import asked_for, named
from workers.text.template import render
from workers.text.transcript import Transcript

FOLDER = Path(__file__).parent / "templates"
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
R1 = "{% for m in messages %}{{ m.content.split('</think>')[-1] }}{% endfor %}<｜Assistant｜><think>\n"
TOOLS = [{"type": "function", "function": {"name": "add", "description": "", "parameters": {"type": "object"}}}]
CALL = {"id": "call_0123456789abcdef01234567", "type": "function"}
TALK: list[dict[str, Any]] = [
    {"role": "user", "content": "1+1?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [CALL | {"function": {"name": "add", "arguments": '{"x": 1}'}}],
    },
    {"role": "tool", "tool_call_id": CALL["id"], "content": "2"},
]


class Letters:
    """Each letter is a token, and so is `<|x|>`, which is special, wherever it stands."""

    eos_ids: frozenset[int] = frozenset()
    chat_template: str | None = None
    special_tokens = SPECIAL
    waits = False

    def __init__(self, kept: Collection[str] = ()):
        self._kept = kept

    def __len__(self) -> int:
        return 1 << 20

    def encode(self, text: str, *, add_special: bool) -> list[int]:
        return [-1 if piece == "<|x|>" else ord(piece) for piece in re.findall(r"<\|x\|>|.", text, re.DOTALL)]

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(("<|x|>" if "<|x|>" in self._kept else "") if id == -1 else chr(id) for id in ids)

    def id_of(self, token: str) -> int | None:
        return -1 if token == "<|x|>" else None

    def bytes_of(self, id: int) -> bytes:
        return b"<|x|>" if id == -1 else chr(id).encode()

    def keeping(self, words: Collection[str]) -> Self:
        return type(self)(words)


def source(name: str) -> str:
    return (FOLDER / f"{name}.jinja").read_text()


def speech(template: str, asked: str | None = None) -> Speech:
    return Speech(Letters(), template, tool_format_of(template, asked), reasoning_of(template))


def prompt(template: str, asked: str | None = None, **fields: Any) -> str:
    job = Job("0" * 32, "m", **{"messages": TALK, "tools": TOOLS, **fields})
    how = speech(template, asked)
    return Letters().decode(how.ids_of(job))


@pytest.mark.parametrize(
    ("template", "tools", "reasoning"),
    [("qwen", "hermes", "think"), ("llama3", "llama3", ""), ("mistral", "mistral", "")],
)
def test_formats_are_known_by_their_templates(template: str, tools: str, reasoning: str) -> None:
    assert (tool_format_of(source(template)), reasoning_of(source(template))) == (tools, reasoning)


def test_templates_without_tools_have_no_format() -> None:
    assert {tool_format_of(one.format.template) for one in named()} == {""}
    assert tool_format_of("{{ '<tool_call></tool_call>' }}") == ""
    assert tool_format_of("{{ tools }} <tool_call><function=x></tool_call>") == ""  # XML inside: not read here
    assert tool_format_of("{% broken") == ""


def test_flags_win_over_the_template() -> None:
    assert tool_format_of(source("qwen"), "none") == ""
    assert tool_format_of("{{ tools }}", "mistral") == "mistral"
    assert (reasoning_of(source("qwen"), "none"), reasoning_of("", "<thought>")) == ("", "thought")


def test_a_format_that_cannot_be_is_refused_at_the_start() -> None:
    with pytest.raises(Misconfigured, match="choose hermes, llama3, mistral, json or none"):
        tool_format_of("", "xml")
    with pytest.raises(Misconfigured, match="renders no tools"):
        tool_format_of(asked_for("chatml").template, "hermes")


def test_qwen_gets_tools_calls_and_results_as_it_was_trained() -> None:
    text = prompt(source("qwen"))
    assert '<tools>\n{"type": "function", "function": {"name": "add"' in text
    assert (
        '<|im_start|>assistant\n\n<tool_call>\n{"name": "add", "arguments": {"x": 1}}\n</tool_call><|im_end|>' in text
    )
    assert "<|im_start|>user\n<tool_response>\n2\n</tool_response><|im_end|>\n<|im_start|>assistant\n" in text


def test_llama_gets_tools_calls_and_results_as_it_was_trained() -> None:
    text = prompt(source("llama3"))
    assert '"name": "add"' in text
    assert '{"name": "add", "parameters": {"x": 1}}<|eot_id|>' in text
    assert '<|start_header_id|>ipython<|end_header_id|>\n\n"2"<|eot_id|>' in text


def test_mistral_gets_ids_of_nine_letters_that_agree() -> None:
    text = prompt(source("mistral"))
    assert text.startswith('<s>[AVAILABLE_TOOLS] [{"type": "function"')
    (called,) = re.findall(r'"arguments": \{"x": 1\}, "id": "([a-z0-9]{9})"\}\]</s>', text)
    assert f'[TOOL_RESULTS] {{"content": 2, "call_id": "{called}"}}[/TOOL_RESULTS]' in text


def test_a_template_that_knows_no_tools_refuses_them_by_name() -> None:
    with pytest.raises(UnsupportedParameter, match="knows no tools") as caught:
        prompt(asked_for("chatml").template)
    assert caught.value.param == "tools"
    with pytest.raises(UnsupportedParameter) as caught:
        prompt(asked_for("chatml").template, tools=[])
    assert caught.value.param == "messages"


def test_the_generic_format_tells_all_in_words() -> None:
    text = prompt(asked_for("chatml").template, "json")
    assert text.startswith("<|im_start|>system\nYou can call these functions:\n")
    assert '{"name": "add", "description": "", "parameters": {"type": "object"}}' in text
    assert '<|im_start|>assistant\n[{"name": "add", "arguments": {"x": 1}}]<|im_end|>' in text
    assert f"<|im_start|>user\nResult of the call {CALL['id']}:\n2<|im_end|>" in text


def test_the_generic_format_adds_to_a_system_message() -> None:
    text = prompt(asked_for("chatml").template, "json", messages=[{"role": "system", "content": "Be brief."}, TALK[0]])
    assert text.startswith("<|im_start|>system\nBe brief.\n\nYou can call these functions:\n")
    assert text.count("<|im_start|>system") == 1


def test_developers_are_the_system_only_where_they_are_unknown() -> None:
    messages = [{"role": "developer", "content": "x"}]
    plain = "{% for m in messages %}{{ m.role }}{% endfor %}"
    assert render(plain, messages, special_tokens={}) == "system"
    assert render(plain + "{# developer #}", messages, special_tokens={}) == "developer"


def answer(how: Speech, text: str, **fields: Any) -> str:
    job = Job("0" * 32, "m", **{"messages": [TALK[0]], **fields})
    transcript = Transcript(how.decoder(job), opening=how.opening(job, how.ids_of(job)))
    ids = Letters().encode(text, add_special=False)
    return transcript.push(ids[:1]).text + transcript.push(ids[1:]).text + transcript.finish()


def test_thoughts_that_the_prompt_opens_begin_with_their_tag() -> None:
    assert answer(speech(R1), "Hm</think>Yes") == "<think>\nHm</think>Yes"


def test_thoughts_that_the_model_opens_or_that_are_switched_off_get_no_second_tag() -> None:
    how = speech(source("qwen"))
    assert answer(how, "<think>Hm</think>Yes") == "<think>Hm</think>Yes"
    assert answer(how, "Yes", template_args={"enable_thinking": False}) == "Yes"


def test_there_are_no_thoughts_under_a_grammar() -> None:
    assert answer(speech(R1), "{}", grammar=Grammar("json_object")) == "{}"


def test_only_a_job_with_tools_keeps_the_tokens_of_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.prompting.markers", lambda tools, _: frozenset({"<|x|>"} if tools else ()))
    how = speech(source("qwen"))
    assert answer(how, "a<|x|>b", tools=TOOLS) == "a<|x|>b"
    assert answer(how, "a<|x|>b") == "ab"

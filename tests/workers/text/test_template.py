from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import InvalidRequest, Misconfigured
from workers.text.template import MAX_OUTPUT, load_template, names, render

LLAMA = {"bos_token": "<s>", "eos_token": "</s>"}
LLAMA3 = {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"}
HELLO = [{"role": "user", "content": "Hello!"}]
TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Bye"},
]
VICUNA = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)
ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n### Instruction:\n"
)

DOCUMENTED: list[tuple[str, dict[str, str], list[dict[str, Any]], str]] = [
    ("chatml", {}, HELLO, "<|im_start|>user\nHello!<|im_end|>\n<|im_start|>assistant\n"),
    (
        "chatml",
        {},
        TALK,
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\nHello<|im_end|>\n<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n",
    ),
    ("llama2", LLAMA, HELLO, "<s>[INST] Hello! [/INST]"),
    (
        "llama2",
        LLAMA,
        TALK,
        "<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s><s>[INST] Bye [/INST]",
    ),
    (
        "llama3",
        LLAMA3,
        TALK,
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe brief.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nHello<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nBye<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    ("vicuna", LLAMA, HELLO, f"<s>{VICUNA}USER: Hello! ASSISTANT:"),
    ("vicuna", LLAMA, TALK, "<s>Be brief. USER: Hi ASSISTANT: Hello</s>USER: Bye ASSISTANT:"),
    ("alpaca", LLAMA, HELLO, f"<s>{ALPACA}Hello!\n\n### Response:"),
    (
        "zephyr",
        LLAMA,
        TALK,
        "<|system|>\nBe brief.</s>\n<|user|>\nHi</s>\n<|assistant|>\nHello</s>\n<|user|>\nBye</s>\n<|assistant|>\n",
    ),
    ("mistral", LLAMA, HELLO, "<s>[INST] Hello![/INST]"),
    ("mistral", LLAMA, TALK, "<s>[INST] Hi[/INST] Hello</s>[INST] Be brief.\n\nBye[/INST]"),
]


@pytest.mark.parametrize(("name", "special", "messages", "documented"), DOCUMENTED)
def test_named_templates_render_what_their_authors_document(
    name: str, special: dict[str, str], messages: list[dict[str, Any]], documented: str
) -> None:
    assert render(load_template(name), messages, special_tokens=special) == documented


def test_every_named_template_is_documented_here() -> None:
    assert {name for name, *_ in DOCUMENTED} == set(names())


@pytest.mark.parametrize("name", ["llama2", "mistral"])
def test_roles_that_do_not_alternate_are_an_invalid_request(name: str) -> None:
    with pytest.raises(InvalidRequest, match="alternate") as caught:
        render(load_template(name), HELLO + HELLO, special_tokens=LLAMA)
    assert caught.value.param == "messages"


def test_an_unknown_name_lists_the_names() -> None:
    with pytest.raises(Misconfigured, match=r"'clippy' is neither .* chatml, .*zephyr"):
        load_template("clippy")


def test_a_template_can_be_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages[0].content }}é", encoding="utf-8")
    assert render(load_template(str(file)), HELLO, special_tokens={}) == "Hello!é"


def test_a_template_file_with_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("fine\n{% for %}", encoding="utf-8")
    with pytest.raises(Misconfigured, match="line 2"):
        load_template(str(file))


def test_a_folder_is_no_template(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="neither a readable file"):
        load_template(str(tmp_path))


def test_a_model_without_template_says_how_to_give_it_one() -> None:
    with pytest.raises(InvalidRequest, match="--chat-template"):
        render(None, HELLO, special_tokens={})


def test_text_parts_are_joined_and_developer_is_system() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    messages = [{"role": "developer", "content": parts}]
    assert render("{{ messages[0].role }}:{{ messages[0].content }}", messages, special_tokens={}) == "system:a\nb"
    assert messages[0]["role"] == "developer"


def test_other_parts_are_left_to_the_template() -> None:
    messages = [{"role": "user", "content": [{"type": "image"}]}]
    assert render("{{ messages[0].content[0].type }}", messages, special_tokens={}) == "image"


def test_arguments_of_tool_calls_are_not_quoted_twice() -> None:
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "é"}'}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [call]}]
    template = "{{ messages[0].tool_calls[0].function.arguments | tojson }}"
    assert render(template, messages, special_tokens={}) == '{"x": "é"}'


def test_templates_have_what_hugging_face_gives_them() -> None:
    template = (
        "{% for m in messages %}\n"
        "    {% if loop.index > 1 %}{% break %}{% endif %}\n"
        "    {% generation %}{{ m | tojson }}{% endgeneration %}\n"
        "{% endfor %}\n"
        "{% if not tools %}{{ strftime_now('%Y') | length }}{% endif %}"
    )
    messages = [{"role": "user", "content": "<é>"}, *HELLO]
    assert render(template, messages, special_tokens={}) == '{"role": "user", "content": "<é>"}4'


def test_template_arguments_reach_the_template() -> None:
    rendered = render("{{ enable_thinking }}", HELLO, special_tokens={}, enable_thinking=False)
    assert rendered == "False"


def test_template_arguments_cannot_replace_the_messages() -> None:
    with pytest.raises(InvalidRequest) as caught:
        render("", HELLO, special_tokens={}, messages=[])
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[0].nothing.nothing }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].content + 1 }}",
        "{{ 1 / 0 }}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    ],
)
def test_whatever_a_template_does_wrong_is_an_invalid_request(template: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        render(template, HELLO, special_tokens={})
    assert caught.value.param == "messages"


def test_a_template_cannot_write_without_end() -> None:
    template = "{% for i in range(90000) %}{% for j in range(90000) %}{{ messages[0].content }}{% endfor %}{% endfor %}"
    with pytest.raises(InvalidRequest, match=str(MAX_OUTPUT)):
        render(template, [{"role": "user", "content": "x" * 100_000}], special_tokens={})


def test_a_template_that_is_no_jinja_is_the_operators_fault() -> None:
    with pytest.raises(Misconfigured, match="not valid Jinja"):
        render("{% if %}", HELLO, special_tokens={})

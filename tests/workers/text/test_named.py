"""The formats that come with queuechat, against what their authors document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import InvalidRequest, Misconfigured
from tests.workers.text.documented import DOCUMENTED, HELLO, LLAMA, TALK
from workers.text.named import ChatFormat, asked_for, chat_format, named, told_by
from workers.text.template import render


@pytest.mark.parametrize(("name", "special", "messages", "documented"), DOCUMENTED)
def test_named_templates_render_what_their_authors_document(
    name: str, special: dict[str, str], messages: list[dict[str, Any]], documented: str
) -> None:
    assert render(asked_for(name).template, messages, special_tokens=special) == documented


def test_every_named_template_is_documented_here() -> None:
    folder = Path(__file__).parents[3] / "workers" / "text" / "templates"
    assert (
        {name for name, *_ in DOCUMENTED} == {one.name for one in named()} == {f.stem for f in folder.glob("*.jinja")}
    )


@pytest.mark.parametrize("name", [one.name for one in named()])
def test_named_templates_take_what_clients_send(name: str) -> None:
    template = asked_for(name).template
    parts = [{"role": "user", "content": [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
    assert "one\ntwo" in render(template, parts, special_tokens=LLAMA)
    told = render(template, TALK, special_tokens=LLAMA)
    assert all(told.count(text) == 1 for text in ("Be brief.", "Hi", "Hello", "Bye"))
    given = dict.fromkeys(LLAMA, "")  # of a tokenizer that has neither
    assert "Hello!" in render(template, HELLO, special_tokens=given)
    waiting, whole = (render(template, HELLO, special_tokens=LLAMA, add_generation_prompt=on) for on in (True, False))
    assert waiting.removesuffix("</s>").startswith(whole.removesuffix("</s>"))


@pytest.mark.parametrize("name", ["llama2", "mistral", "mistral_v1", "chatglm2"])
def test_roles_that_do_not_alternate_are_an_invalid_request(name: str) -> None:
    with pytest.raises(InvalidRequest, match="alternate") as caught:
        render(asked_for(name).template, HELLO + HELLO, special_tokens=LLAMA)
    assert caught.value.param == "messages"


def test_a_role_that_a_format_does_not_have_is_an_invalid_request() -> None:
    with pytest.raises(InvalidRequest, match="roles are user and assistant"):
        render(asked_for("vicuna").template, [*HELLO, {"role": "tool", "content": "4"}], special_tokens=LLAMA)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("vicuna_v1.1", "vicuna"),
        ("Llama-2", "llama2"),
        ("deepseek-coder", "deepseek_coder"),
        ("zero_shot", "vicuna_v0"),
    ],
)
def test_names_of_fastchat_are_understood(written: str, name: str) -> None:
    assert asked_for(written) == asked_for(name)


def test_no_name_stands_for_two_formats() -> None:
    every = [name for one in named() for name in (one.name, *one.aliases)]
    assert [asked_for(name) for name in every] == [one.format for one in named() for _ in (one.name, *one.aliases)]


def test_an_unknown_name_gets_a_close_one_and_the_list() -> None:
    with pytest.raises(Misconfigured, match=r"did you mean 'vicuna'\? the names are alpaca, .*zephyr"):
        asked_for("vicunna")
    with pytest.raises(Misconfigured, match=r"'clippy' is no name .*\): the names are alpaca"):
        asked_for("clippy")


def test_a_template_can_be_a_file_or_be_written_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("{{ messages[0].content }}é", encoding="utf-8")
    for spec in (str(file), "{{ messages[0].content }}é"):
        assert render(asked_for(spec).template, HELLO, special_tokens={}) == "Hello!é"


def test_a_template_file_with_a_syntax_error_names_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text("fine\n{% for %}", encoding="utf-8")
    with pytest.raises(Misconfigured, match="line 2"):
        asked_for(str(file))


def test_a_folder_is_no_template(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no readable file"):
        asked_for(str(tmp_path))


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("lmsys/vicuna-7b-v1.5", "vicuna"),
        ("/models/vicuna-13b-v1.3", "vicuna"),
        ("/root/.cache/huggingface/hub/models--lmsys--vicuna-7b-v1.5/snapshots/de56c35b1763eaae", "vicuna"),
        ("TheBloke/vicuna-13B-v1.5-16K-GGUF/vicuna-13b-v1.5-16k.Q4_K_M.gguf", "vicuna"),
        ("lmsys/vicuna-7b-delta-v0", "vicuna_v0"),
        ("CarperAI/stable-vicuna-13b-delta", "stable_vicuna"),
        ("lmsys/longchat-7b-v1.5-32k", "vicuna"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("codellama/CodeLlama-13b-Instruct-hf", "llama2"),
        ("mistralai/Mistral-7B-Instruct-v0.1", "mistral_v1"),
        ("tiiuae/falcon-7b-instruct", "falcon"),
        ("tiiuae/falcon-180B-chat", "falcon_chat"),
        ("databricks/dolly-v2-3b", "dolly"),
        ("mosaicml/mpt-7b-chat", "chatml"),
        ("google/flan-t5-base", "plain"),
        ("lmsys/fastchat-t5-3b-v1.0", "fastchat_t5"),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "zephyr"),
        ("01-ai/Yi-34B-Chat", "chatml"),
        ("OpenAssistant/oasst-sft-4-pythia-12b-epoch-3.5", "oasst"),
        ("tiiuae/falcon-7b", None),  # of models that were never taught to chat
        ("meta-llama/Llama-2-7b-hf", None),
        ("mistralai/Mistral-7B-v0.1", None),
        ("stabilityai/stablelm-base-alpha-7b", None),
        ("me/my-vicuna-merge", None),
        ("gpt2", None),
    ],
)
def test_the_name_of_a_model_tells_its_format_or_nothing(model: str, name: str | None) -> None:
    found = told_by(model)
    assert (found.name if found else None) == name


def test_a_config_remembers_where_a_renamed_model_came_from(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"_name_or_path": "lmsys/vicuna-7b-v1.5"}))
    assert chat_format(None, None, str(tmp_path)) == asked_for("vicuna")
    (tmp_path / "config.json").write_text("[]")
    assert chat_format(None, None, str(tmp_path)) == ChatFormat()


def test_a_models_own_template_wins_over_its_name_and_the_flag_over_both() -> None:
    assert chat_format(None, "{{ 1 }}", "lmsys/vicuna-7b-v1.5") == ChatFormat("{{ 1 }}")
    assert chat_format("koala", "{{ 1 }}", "lmsys/vicuna-7b-v1.5") == asked_for("koala")
    assert chat_format("none", "{{ 1 }}", "lmsys/vicuna-7b-v1.5") == ChatFormat()

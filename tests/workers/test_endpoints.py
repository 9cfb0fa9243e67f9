"""`api_endpoints.json`: FastChat's entries are taken, everything else is named, and no message repeats a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from queuechat.errors import InvalidRequest, Misconfigured
from workers.endpoints import endpoint_of
from workers.fleet import remote_specs
from workers.models import Spec

#: As in FastChat's docs/arena.md, and the keys that its code reads.
FASTCHAT: dict[str, Any] = {
    "gpt-4o-2024-05-13": {
        "model_name": "gpt-4o-2024-05-13",
        "api_base": "https://api.openai.com/v1",
        "api_type": "openai",
        "api_key": "sk-very-secret",
        "anony_only": False,
        "recommended_config": {"temperature": 0.7, "top_p": 1.0},
        "text-arena": True,
        "vision-arena": True,
    },
    "claude-3-opus": {
        "model_name": "claude-3-opus-20240229",
        "api_type": "anthropic_message",
        "api_key": "sk-ant-secret",
        "api_base": None,
        "anony_only": True,
    },
}


def file_of(folder: Path, entries: object) -> str:
    file = folder / "api_endpoints.json"
    file.write_text(json.dumps(entries))
    return str(file)


def test_a_file_of_fastchats_is_a_worker_for_each_model(tmp_path: Path) -> None:
    gpt, claude = remote_specs(file_of(tmp_path, FASTCHAT), None)
    assert (gpt.model, gpt.engine, gpt.source) == ("gpt-4o-2024-05-13", "remote", "gpt-4o-2024-05-13")
    endpoint = endpoint_of(claude.endpoint, claude.model)
    assert (endpoint.api, endpoint.host, endpoint.sees) == ("anthropic", "api.anthropic.com", False)
    assert endpoint_of(gpt.endpoint, "gpt").sees
    (alone,) = remote_specs(file_of(tmp_path, FASTCHAT), "claude-3-opus", names=["claude", "opus"])
    assert (alone.model, alone.aliases) == ("claude", ["opus"])


def test_a_spec_crosses_to_its_child_and_shows_its_key_to_nobody(tmp_path: Path) -> None:
    spec, _ = remote_specs(file_of(tmp_path, FASTCHAT), None)
    assert Spec.decode(spec.encode()) == spec
    endpoint = endpoint_of(spec.endpoint, spec.model)
    assert endpoint.key({}) == "sk-very-secret"
    assert "secret" not in repr(spec) + str(spec) + repr(endpoint) + str(endpoint)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"api_type": "gemini"}, "`api_type`: not supported: there are openai, anthropic, anthropic_message"),
        ({"api_type": "sk-secret"}, "`api_type`"),
        ({"api_key_env": "sk-secret"}, "`api_key_env`: must be the name of a variable"),
        ({"api_key_env": "SECRET\n"}, "`api_key_env`: must be the name of a variable"),
        ({"api_type": "openai_assistant", "assistant_id": "x"}, "`assistant_id` is not known here"),
        ({"custom_system_prompt": True}, "custom_system_prompt"),
        ({"recommended_config": {"temprature": 1}}, "`recommended_config.temprature` is not known here"),
        ({"recommended_config": {"temperature": 7}}, "recommended_config.temperature"),
        ({"takes": ["telepathy"]}, "'telepathy' is nothing that can be passed on"),
        ({"api_base": "api.openai.com"}, "http://"),
        ({"rpm": 0}, "`rpm`"),
        ({"resume": "magic"}, "`resume`"),
        ({"model_name": ""}, "`model_name`"),
    ],
)
def test_what_is_not_understood_is_named_and_the_key_is_not(tmp_path: Path, change: dict[str, Any], says: str) -> None:
    entry = FASTCHAT["gpt-4o-2024-05-13"] | change
    with pytest.raises(Misconfigured) as caught:
        remote_specs(file_of(tmp_path, {"gpt": entry}), None)
    assert says in caught.value.message
    assert "gpt: " in caught.value.message
    assert "secret" not in caught.value.message


def test_a_key_of_the_wrong_type_is_not_repeated() -> None:
    with pytest.raises(Misconfigured) as caught:
        endpoint_of({"model_name": "m", "api_type": "openai", "api_key": ["sk-secret"]}, "m")
    assert "`api_key`" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_key_comes_from_the_entry_the_variable_it_names_or_that_of_its_provider() -> None:
    def key(**entry: object) -> str:
        endpoint = endpoint_of({"model_name": "m", "api_type": "openai", **entry}, "m")
        return endpoint.key({"OPENAI_API_KEY": "usual", "OTHER": "named"})

    assert key() == "usual"
    assert key(api_key_env="OTHER") == "named"
    assert key(api_key="mine", api_key_env="OTHER") == "mine"
    assert key(api_base="http://10.0.0.7:8000/v1", api_key_env="OTHER") == "named"


def test_the_usual_key_of_a_provider_goes_to_no_other_host() -> None:
    endpoint = endpoint_of({"model_name": "m", "api_type": "openai", "api_base": "http://10.0.0.7/v1"}, "m")
    assert endpoint.key({"OPENAI_API_KEY": "usual"}) == "none"
    bare = endpoint_of({"model_name": "m", "api_type": "openai", "api_base": "http://api.openai.com/v1"}, "m")
    assert bare.key({"OPENAI_API_KEY": "usual"}) == "none"  # anybody on the way could read it


def test_a_key_is_without_the_space_around_it() -> None:
    entry = {"model_name": "m", "api_type": "openai"}
    assert endpoint_of(entry, "m").key({"OPENAI_API_KEY": " usual\r\n"}) == "usual"
    assert endpoint_of(entry | {"api_key": "mine\n"}, "m").key({}) == "mine"
    with pytest.raises(Misconfigured, match="OPENAI_API_KEY"):
        endpoint_of(entry, "m").key({"OPENAI_API_KEY": "\n"})


@pytest.mark.parametrize("key", ["sk-sec\nret", "sk-sec\x00ret", "sk-sec\u200bret"])
def test_a_key_that_no_header_can_have_is_refused_and_not_repeated(key: str) -> None:
    endpoint = endpoint_of({"model_name": "m", "api_type": "openai"}, "m")
    with pytest.raises(Misconfigured, match="copy it again") as caught:
        endpoint.key({"OPENAI_API_KEY": key})
    assert "sk-sec" not in caught.value.message


def test_a_key_that_is_not_there_is_missed_before_anything_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    entries = {"c": {"model_name": "c", "api_type": "anthropic", "api_key": None}}
    with pytest.raises(Misconfigured, match="ANTHROPIC_API_KEY"):
        remote_specs(file_of(tmp_path, entries), None)
    with pytest.raises(Misconfigured, match="NO_SUCH_VARIABLE"):
        remote_specs(None, "m", api_base="http://h/v1", api_key_env="NO_SUCH_VARIABLE")


def test_flags_describe_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THEIR_KEY", "x")
    (spec,) = remote_specs(
        None, "org/gpt-x", api_base="http://h:1/v1", api_type="anthropic", api_key_env="THEIR_KEY", names=["x"]
    )
    assert (spec.model, spec.source) == ("x", "org/gpt-x")
    assert spec.endpoint["api_key_env"] == "THEIR_KEY"


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"path": None, "model": "m"}, "--api-base"),
        ({"path": None, "model": None, "api_base": "http://h"}, "--model"),
        ({"path": "/no/such/file", "model": None}, "No such file"),
    ],
)
def test_flags_that_do_not_suffice_are_asked_for(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        remote_specs(**flags)


def test_flags_that_contradict_the_file_are_refused(tmp_path: Path) -> None:
    file = file_of(tmp_path, FASTCHAT)
    with pytest.raises(Misconfigured, match="--api-base stands in the file"):
        remote_specs(file, None, api_base="http://h")
    with pytest.raises(Misconfigured, match="no model 'other': there are gpt-4o-2024-05-13, claude-3-opus"):
        remote_specs(file, "other")
    with pytest.raises(Misconfigured, match="--name is for one model"):
        remote_specs(file, None, names=["a"])


@pytest.mark.parametrize(("entries", "says"), [([], "must be an object"), ({}, "must be an object"), ({"a": 1}, "a: ")])
def test_a_file_of_another_form_is_refused(tmp_path: Path, entries: object, says: str) -> None:
    with pytest.raises(Misconfigured, match=says):
        remote_specs(file_of(tmp_path, entries), None)


def test_two_models_of_one_name_are_refused(tmp_path: Path) -> None:
    entry = {"model_name": "m", "api_type": "openai", "api_base": "http://h/v1"}
    with pytest.raises(Misconfigured, match="'b' is the name of two models"):
        remote_specs(file_of(tmp_path, {"a": entry | {"aliases": ["b"]}, "b": entry}), None)
    with pytest.raises(InvalidRequest):
        remote_specs(file_of(tmp_path, {"no good name!": entry}), None)

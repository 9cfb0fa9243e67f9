import pytest

from queuechat.errors import InvalidRequest, Misconfigured
from workers.text.template import MAX_OUTPUT, render

HELLO = [{"role": "user", "content": "Hello!"}]


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

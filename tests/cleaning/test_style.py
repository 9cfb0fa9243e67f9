"""What is counted of an answer."""

from __future__ import annotations

import pytest

from queuechat.cleaning.language import language_of
from queuechat.cleaning.style import count_tokens, markdown, metadata, with_tokens

ANSWER = """# Top
## Part
Some **bold** and __strong__ words, **twice**.

- one
* two
  + three
1. first
22. second

```python
# not a header
- not an item **nor bold**
```
"""


def test_headers_items_and_bold_words_are_counted_by_kind_and_not_in_code() -> None:
    talk = with_tokens([{"role": "user", "content": "# not mine"}, {"role": "assistant", "content": ANSWER}])
    counts = metadata(talk, talk[:1])
    assert counts["header_count_a"] == {"h1": 1, "h2": 1, "h3": 0, "h4": 0, "h5": 0, "h6": 0}
    assert counts["list_count_a"] == {"ordered": 2, "unordered": 3}
    assert counts["bold_count_a"] == {"**": 2, "__": 1}
    assert counts["header_count_b"] == dict.fromkeys(("h1", "h2", "h3", "h4", "h5", "h6"), 0)
    assert counts["sum_assistant_b_tokens"] == 0


def test_code_that_is_not_closed_is_text() -> None:
    assert markdown("```\n# open", "a")["header_count_a"]["h1"] == 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("   ", 0),
        ("Hello, world!", 4),
        ("internationalisation", 3),
        ("12345", 2),
        ("a\n\n\nb", 3),
        ("富士山です", 5),
        ("snake_case != camelCase", 6),
        ("Höhe über NN", 3),
    ],
)
def test_tokens_are_words_numbers_punctuation_and_chinese_characters(text: str, tokens: int) -> None:
    assert count_tokens(text) == tokens


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Write a haiku about a river that never stops.", "English"),
        ("Erkläre mir, wie eine Warteschlange funktioniert.", "German"),
        ("Quelle est la capitale de la France ?", "French"),
        ("¿Cuál es la capital de España?", "Spanish"),
        ("Какая столица России?", "Russian"),
        ("写一首关于春天的诗", "Chinese"),
        ("給我講個笑話", "Chinese"),
        ("日本の首都はどこですか?", "Japanese"),
        ("한국의 수도는 어디인가요?", "Korean"),
        ("ما هي عاصمة مصر؟", "Arabic"),
        ("1 + 1 = ?", "unknown"),
        ("", "unknown"),
        ("😀", "unknown"),
        ("hi", "unknown"),
    ],
)
def test_languages_have_the_names_of_fastchat_s_data(text: str, name: str) -> None:
    assert language_of(text) == name

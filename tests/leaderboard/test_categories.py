"""Which battles a category has."""

from __future__ import annotations

from pathlib import Path

import pytest

from queuechat.errors import InvalidRequest
from queuechat.leaderboard.battles import Winner
from queuechat.leaderboard.categories import LANGUAGE_VOTES, Category, choose, in_category, read_categories
from tests.leaderboard.synthetic import battle
from tests.leaderboard.test_style import said

PROMPTS = {
    "quantum": battle(
        "a",
        "b",
        language="English",
        conversation_a=said("what is a quantum?", "small"),
        conv_metadata={"sum_user_tokens": 5},
    ),
    "code": battle("a", "c", language="German", conversation_a=said("hilf mir", "```py\n1\n```"), turn=3),
    "tie": battle("b", "c", Winner.BOTH_BAD, language="English", conv_metadata={"sum_user_tokens": 600}),
    "bare": battle("a", "b", language="unknown"),
}


def found(category: Category) -> set[str]:
    kept = in_category(PROMPTS.values(), category)
    return {name for name, one in PROMPTS.items() if one in kept}


def built_in(name: str) -> Category:
    return choose([name], [], list(PROMPTS.values()))[0]


@pytest.mark.parametrize(
    ("name", "has"),
    [
        ("all", {"quantum", "code", "tie", "bare"}),
        ("no-ties", {"quantum", "code", "bare"}),
        ("long-prompt", {"tie"}),
        ("code", {"code"}),
        ("multi-turn", {"code"}),
        ("english", {"quantum", "tie"}),
    ],
)
def test_a_category_that_comes_with_queuechat_has_what_its_name_says(name: str, has: set[str]) -> None:
    assert found(built_in(name)) == has


def test_categories_of_a_file_have_the_conditions_that_it_gives(tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(
        '[physics]\ntitle = "Physics"\nprompt = "(?i)QUANTUM|relativity"\nlanguages = ["English", "German"]\n'
        '[duel]\nmodels = ["a", "b"]\nmax_prompt_tokens = 20\n[no-code]\ncode = false\nexclude_ties = true\n'
    )
    own = {one.name: one for one in read_categories(path)}
    assert {name: found(one) for name, one in own.items()} == {
        "physics": {"quantum"},
        "duel": {"quantum"},
        "no-code": {"quantum"},
    }
    assert [own[name].title for name in own] == ["Physics", "Duel", "No-Code"]
    assert choose(["duel", "physics", "duel"], list(own.values()), []) == [own["duel"], own["physics"]]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[physics]\nlang = 1\n", "category 'physics': lang is none of title, languages"),
        ('[physics]\nprompt = "("\n', "category 'physics': prompt must be a regular expression"),
        ("[physics]\nlanguages = []\n", "languages must be a list of texts"),
        ("[physics]\nmin_prompt_tokens = -1\n", "min_prompt_tokens must be a whole number"),
        ("[physics]\ncode = 1\n", "code must be true or false"),
        ('["Big Names"]\ncode = true\n', "category 'Big Names': a category is a table named by"),
        ("physics = 1\n", "category 'physics': a category is a table"),
        ("[physics\n", "is not TOML"),
    ],
)
def test_a_wrong_file_of_categories_is_named_with_the_place(content: str, complaint: str, tmp_path: Path) -> None:
    path = tmp_path / "own.toml"
    path.write_text(content)
    with pytest.raises(InvalidRequest, match=rf"own\.toml.*{complaint}"):
        read_categories(path)


def test_languages_with_enough_votes_have_a_table_of_their_own() -> None:
    english = [battle("a", "b", language="English")] * LANGUAGE_VOTES
    german = [battle("a", "b", language="German")] * (LANGUAGE_VOTES - 1)
    names = [one.name for one in choose([], [], [*english, *german])]
    assert names == ["all", "no-ties", "long-prompt", "code", "multi-turn", "english"]
    with pytest.raises(InvalidRequest, match=r"there is no category 'french'; there are all, no-ties, .*german"):
        choose(["french"], [], [*english, *german])

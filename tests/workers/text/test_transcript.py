import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from workers.text.transcript import Decoder, Transcript

EOS = 256
SPECIAL = frozenset({EOS, 257})
LETTERS = st.sampled_from("ab<|>é你😀ع ")
CUTS = st.lists(st.integers(0, 60), max_size=8)


class Bytes:
    """One id per byte, as the worst of byte-level vocabularies; two ids are special."""

    def __init__(self) -> None:
        self.calls = 0

    def decode(self, ids: Sequence[int]) -> str:
        self.calls += 1
        return bytes(id for id in ids if id not in SPECIAL).decode("utf-8", "replace")


class Words:
    """As sentencepiece decodes: the space before the first word of a text is dropped."""

    words = ("▁Hello", "▁you", "r", "▁", "self")

    def decode(self, ids: Sequence[int]) -> str:
        return "".join(self.words[id] for id in ids).replace("▁", " ").removeprefix(" ")


def chunked(ids: list[int], cuts: list[int]) -> list[list[int]]:
    edges = [0, *sorted(cut % (len(ids) + 1) for cut in cuts), len(ids)]
    return [ids[a:b] for a, b in pairwise(edges)]


def read(
    pushes: list[list[int]],
    vocabulary: Decoder | None = None,
    *,
    stop: Sequence[str] = (),
    stop_ids: frozenset[int] = frozenset(),
) -> tuple[str, int, bool]:
    """Text, ids taken, and whether it stopped, of a whole answer."""
    transcript = Transcript(vocabulary or Bytes(), stop=stop, stop_ids=stop_ids)
    text, taken, stopped = "", 0, False
    for ids in pushes:
        delta = transcript.push(ids)
        text, taken, stopped = text + delta.text, taken + delta.taken, delta.stopped
    return text + transcript.finish(), taken, stopped


def reference(
    ids: list[int], stop: Sequence[str] = (), decode: Callable[[Sequence[int]], str] | None = None
) -> tuple[str, int, bool]:
    """The same in one shot, by decoding every beginning of the answer anew."""
    decode = decode or Bytes().decode
    for count in range(1, len(ids) + 1):
        text = decode(ids[:count])
        places = [text.find(word) for word in stop if word in text]
        if places and not text.endswith("\ufffd"):
            return text[: min(places)], count, True
    return decode(ids), len(ids), False


@given(
    st.text(LETTERS, max_size=40), st.lists(st.text(LETTERS.filter("\ufffd".__ne__), min_size=1, max_size=4)), st.data()
)
def test_text_and_stop_point_do_not_depend_on_how_ids_are_pushed(
    text: str, stop: list[str], data: st.DataObject
) -> None:
    ids = list(text.encode())
    cuts = data.draw(st.lists(st.integers(0, 200), max_size=8))
    assert read(chunked(ids, cuts), stop=stop) == reference(ids, stop)


@given(st.lists(st.integers(0, 257), max_size=60), CUTS)
@example([255] * 40, [])
@example([EOS] * 20 + [0xE4, 0xBD], [20])
@example([0xF0] * 9 + list("😀".encode()), [3])
def test_any_bytes_give_the_text_of_one_decode(ids: list[int], cuts: list[int]) -> None:
    assert read(chunked(ids, cuts)) == (Bytes().decode(ids), len(ids), False)


@given(
    st.lists(st.integers(0, 257), max_size=60), st.lists(st.integers(0, 60), max_size=8), st.text(LETTERS, max_size=2)
)
def test_any_bytes_stop_at_the_same_place_however_they_are_pushed(ids: list[int], cuts: list[int], word: str) -> None:
    assert read(chunked(ids, cuts), stop=[word]) == read([[id] for id in ids], stop=[word])


@given(st.lists(st.integers(0, 4), max_size=20), st.lists(st.integers(0, 20), max_size=6))
def test_spaces_between_words_survive_where_decoding_drops_the_first(ids: list[int], cuts: list[int]) -> None:
    assert read(chunked(ids, cuts), Words())[0] == Words().decode(ids)


def test_half_a_character_waits_for_the_rest() -> None:
    transcript = Transcript(Bytes())
    assert [transcript.push([byte]).text for byte in "a😀".encode()] == ["a", "", "", "", "😀"]


def test_half_a_character_at_the_end_is_a_replacement_character() -> None:
    transcript = Transcript(Bytes())
    assert transcript.push(list("a你".encode())[:-1]).text == "a"
    assert transcript.finish() == "\ufffd"
    assert transcript.finish() == ""


def test_a_possible_stop_string_is_held_back_until_it_is_none() -> None:
    transcript = Transcript(Bytes(), stop=["</end>"])
    assert transcript.push(list(b"so</en")).text == "so"
    assert transcript.push(list(b"try")).text == "</entry"


def test_a_stop_string_over_two_pushes_is_never_returned() -> None:
    transcript = Transcript(Bytes(), stop=["</end>"])
    assert transcript.push(list(b"so</e")).text == "so"
    delta = transcript.push(list(b"nd>and more"))
    assert (delta.text, delta.taken, delta.stopped) == ("", 3, True)
    assert transcript.finish() == ""
    assert transcript.push(list(b"x")).taken == 0


def test_what_was_held_back_comes_out_at_the_end() -> None:
    transcript = Transcript(Bytes(), stop=["</end>"])
    assert transcript.push(list(b"so</e")).text == "so"
    assert transcript.finish() == "</e"


def test_of_two_stop_strings_in_one_push_the_first_in_the_text_wins() -> None:
    assert read([list(b"one two three")], stop=["three", "two"]) == ("one ", 7, True)


def test_of_two_stop_strings_in_one_token_the_earliest_beginning_wins() -> None:
    class Pairs:
        def decode(self, ids: Sequence[int]) -> str:
            return "".join(("x", "aXYb")[id] for id in ids)

    assert read([[0, 1]], Pairs(), stop=["Y", "X"]) == ("xa", 2, True)


def test_a_stop_id_ends_the_answer_without_its_text() -> None:
    transcript = Transcript(Bytes(), stop=["END"], stop_ids=frozenset({ord(";")}))
    delta = transcript.push(list(b"go E;more"))
    assert (delta.text, delta.taken, delta.stopped) == ("go ", 5, True)
    assert transcript.finish() == "E"


def test_a_stop_string_before_a_stop_id_wins() -> None:
    assert read([list(b"an end;")], stop=["end"], stop_ids=frozenset({ord(";")})) == ("an ", 6, True)


def test_a_stop_string_in_an_unsettled_tail_is_not_returned_either() -> None:
    class Mixed:
        def decode(self, ids: Sequence[int]) -> str:
            return "".join(("x", "STOP\ufffd")[id] for id in ids)

    assert read([[0, 1]], Mixed(), stop=["STOP"])[0] == "x"


@pytest.mark.parametrize("empty", [[], [""]])
def test_empty_stop_strings_stop_nothing(empty: list[str]) -> None:
    assert read([list(b"ab")], stop=empty) == ("ab", 2, False)


def test_a_long_push_is_decoded_as_a_whole() -> None:
    vocabulary = Bytes()
    read([list(b"x" * 10_000)], vocabulary, stop=["end"])
    assert vocabulary.calls < 10


def test_the_cost_of_a_token_does_not_grow_with_garbage() -> None:
    class Counting(Bytes):
        longest = 0

        def decode(self, ids: Sequence[int]) -> str:
            self.longest = max(self.longest, len(ids))
            return super().decode(ids)

    vocabulary = Counting()
    read([[id] for id in [0x80, EOS] * 500], vocabulary)
    assert vocabulary.longest < 32


@settings(max_examples=30)
@given(st.randoms(use_true_random=False))
def test_a_stop_is_found_in_a_few_decodes(chance: random.Random) -> None:
    vocabulary = Bytes()
    place = chance.randrange(1000)
    text, taken, stopped = read([list(b"x" * place + b"!" + b"y" * (1000 - place))], vocabulary, stop=["!"])
    assert (len(text), taken, stopped) == (place, place + 1, True)
    assert vocabulary.calls < 60


def test_random_cuts_of_a_long_text_in_many_scripts_agree() -> None:
    ids = list(("Straße 😀 你好 مرحبا नमस्ते 👩‍👩‍👧 " * 20).encode())
    chance = random.Random(1)
    for _ in range(20):
        cuts = [chance.randrange(len(ids)) for _ in range(chance.randrange(40))]
        assert read(chunked(ids, cuts), stop=["👧 S" * 2]) == reference(ids, ["👧 S" * 2])


@pytest.mark.parametrize(("pushes", "met"), [([b"one two"], "two"), ([b"one t", b"wo"], "two"), ([b"one"], "")])
def test_the_stop_string_that_was_met_is_known(pushes: list[bytes], met: str) -> None:
    transcript = Transcript(Bytes(), stop=["three", "two"])
    for push in pushes:
        transcript.push(list(push))
    transcript.finish()
    assert transcript.met == met


def test_a_stop_string_that_only_the_end_completes_is_known() -> None:
    transcript = Transcript(Bytes(), stop=["\ufffd"])
    assert transcript.push(list("a\u4f60".encode())[:-1]).text == "a"
    assert (transcript.finish(), transcript.met) == ("", "\ufffd")


def test_the_models_own_ends_end_an_answer_and_are_not_told_as_met() -> None:
    text = Transcript(Bytes(), stop=["zzz"], ends=["\nUser:"])
    ids = list(b"Hello\nUser: me")
    told = [text.push([id]) for id in ids[: ids.index(ord(":")) + 1]]
    assert ("".join(delta.text for delta in told), told[-1].stopped, text.met) == ("Hello", True, "")


def test_an_end_that_the_client_asks_for_as_well_is_told() -> None:
    text = Transcript(Bytes(), stop=["###"], ends=["###"])
    text.push(list(b"a###"))
    assert text.met == "###"

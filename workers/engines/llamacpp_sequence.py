"""One sequence that llama.cpp is generating: which tokens its chunks bring, and whether they are to be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from queuechat.errors import QueuechatError
from queuechat.protocol import Logprob
from workers.engines.base import Prompt
from workers.engines.gguf_vocabulary import GgufVocabulary
from workers.engines.matching import ByteMatcher
from workers.engines.trial import trials

_ELSEWHERE = "llama.cpp did not say again what was delivered before, so the answer cannot go on under its grammar"
_LEFT = "llama.cpp has left the grammar: it may be too complex, or the llguidance in xllamacpp too old for it"

Token = tuple[int, Logprob | None]


@dataclass(slots=True)
class Running:
    """A sequence in flight. `offset` counts what was delivered, `decoded` what llama.cpp has made, in tokens.

    llama.cpp cannot take up a grammar in the middle. So under one it says the whole answer again, from the same seed,
    and `again` are the ids of the prefix that have not come yet.
    """

    prompt: Prompt
    request: dict[str, Any]
    offset: int
    decoded: int = 0
    native: str | None = None  # llama.cpp's finish_reason
    spoken: bool = False  # its first tokens are out
    over: bool = False  # its Finished is out
    again: Sequence[int] = ()
    matcher: ByteMatcher | None = None

    def prepare(self) -> None:
        """What takes too long for the event loop. Raises InvalidRequest for a grammar that cannot be used."""
        if self.prompt.grammar is not None:
            trials().check(self.prompt.grammar, any_space=True)
            self.matcher = ByteMatcher(self.prompt.grammar)
            self.again = self.prompt.prefix_ids

    def tokens(self, result: dict[str, Any], vocabulary: GgufVocabulary) -> list[Token]:
        """Those since the last chunk, with how likely they were where that was asked for.

        llama.cpp holds a token that ends within a character back and then names only the last id, along with all the
        text: the ids before are those which spell the rest, and how likely they were is not told.
        """
        choice, told = result["choices"][0], result["__verbose"]
        made = told["tokens_predicted"]
        if not told["tokens"] or made == self.decoded:  # the end, or progress of the prompt, which names token 0
            return []
        last, missed = told["tokens"][-1], made - self.decoded - 1
        self.decoded = made
        before: list[int] = []
        if missed > 0:
            rest = told["content"].encode().removesuffix(vocabulary.piece(last))
            before = vocabulary.spell(rest, missed)
        if self.prompt.logprobs is None:
            return [(id, None) for id in (*before, last)]
        untold = [(id, Logprob(vocabulary.bytes_of(id), None)) for id in before]
        return [*untold, (last, self._logprob(choice["logprobs"]["content"][-1], vocabulary))]

    def checked(self, tokens: list[Token], vocabulary: GgufVocabulary) -> list[Token]:
        """The tokens that are news, under a grammar.

        Raises:
            QueuechatError: they are not those of the prefix, or not the grammar's.
        """
        if self.matcher is None:
            return tokens
        if not self.matcher.follow(vocabulary.piece(id) for id, _ in tokens):
            raise QueuechatError(_LEFT)
        ids = [id for id, _ in tokens][: len(self.again)]
        if ids != list(self.again[: len(ids)]):
            raise QueuechatError(_ELSEWHERE)
        self.again = self.again[len(ids) :]
        return tokens[len(ids) :]

    def check_end(self) -> None:
        """Raises QueuechatError for an answer that its grammar does not let end here."""
        if self.again:
            raise QueuechatError(_ELSEWHERE)
        if self.matcher is not None and not self.matcher.may_end:
            raise QueuechatError(_LEFT)

    def _logprob(self, told: dict[str, Any], vocabulary: GgufVocabulary) -> Logprob:
        likeliest = told["top_logprobs"][: self.prompt.logprobs]
        top = [(vocabulary.bytes_of(one["id"]), round(one["logprob"], 6)) for one in likeliest]
        return Logprob(vocabulary.bytes_of(told["id"]), round(told["logprob"], 6), top)

"""Calls of tools in the text of a model, read a character at a time: a split of the text changes nothing.

A reader is a generator that is sent characters, and "" at the end. What turns out not to be a call is content, up to
the last character. A call is told as soon as its name is known and its arguments begin; from then on it cannot be taken
back, and arguments that are no JSON in the end (or are cut short) stay as the model wrote them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Generator
from typing import TypeVar

from queuechat.dialects.speech.manner import FORMATS, Manner
from queuechat.dialects.speech.parts import ContentDelta, Part, ToolArguments, ToolStart, joined

T = TypeVar("T")
Reading = Generator[None, str, T]

_NAME = re.compile(r"[\w.:-]{1,128}")
_ARGUMENTS = ("arguments", "parameters")
_EXPECTED = frozenset({"name", "type", "id", *_ARGUMENTS})
_HEAD = 256  # characters that a name with its call id may have


class _EndOfText(Exception):
    pass


class _NoCall(Exception):
    """The last character that was read cannot stand there."""


class Calls:
    """The content and the calls of one answer; `id` is that of its job."""

    def __init__(self, manner: Manner, id: str):
        self.count = 0
        self._form, self._manner, self._id = FORMATS[manner.tools], manner, id
        self._parts: list[Part] = []
        self._again = ""  # characters that were given back
        self._raw: list[str] = []  # what is content if it is no call
        self._name = ""
        self._kept: list[str] = []  # arguments that came before the name
        self._begun = self._muted = False
        self._fresh = False  # nothing but whitespace since the last call
        self._reading = self._read()
        next(self._reading)

    def feed(self, text: str) -> list[Part]:
        for character in text:
            self._reading.send(character)
        return self._take()

    def finish(self) -> list[Part]:
        """What was held back."""
        self._reading.send("")
        return self._take()

    def _take(self) -> list[Part]:
        parts, self._parts = self._parts, []
        return joined(parts)

    def _read(self) -> Reading[None]:
        try:
            if self._form.bare:
                yield from self._attempt(strict=True)
            while True:
                yield from self._find_mark()
                yield from self._attempt(strict=False)
        except _EndOfText:
            text = "".join(self._raw)
            if not self._begun and (text.strip() or not self._fresh):
                self._say(text)
        yield

    def _find_mark(self) -> Reading[None]:
        """Content up to the mark; whitespace right before it belongs to it."""
        raw, mark, held = self._raw, self._form.mark, ""
        raw.clear()
        while True:
            held += yield from self._next()  # which is the last of `raw` from now on
            while held and not (mark and mark.startswith(held)):
                if not held[0].isspace():
                    said = len(raw) - len(held) + 1
                    self._say("".join(raw[:said]))
                    del raw[:said]
                held = held[1:]
            if held and held == mark:
                return

    def _attempt(self, *, strict: bool) -> Reading[None]:
        """Calls, if there are any here. `strict`: only of tools that are on offer."""
        self._strict = strict
        try:
            character = yield from self._solid()
            if character == "[":
                yield from self._list()
            elif character == "{" or not self._form.heads:
                yield from self._row(character)
            else:
                yield from self._headed(character)
        except _NoCall:
            last = self._raw.pop()
            if not self._begun:
                self._say("".join(self._raw))
            self._forget()
            self._again = last + self._again

    def _row(self, character: str) -> Reading[None]:
        """One call after the other, then what closes them."""
        while True:
            yield from self._call(character)
            character = yield from self._solid()
            if character == ";" and self._form.bare:
                character = yield from self._solid()
            if character != "{":
                break
        close, met = self._form.close, ""
        while close.startswith(met + character):
            met += character
            if met == close:
                return
            character = yield from self._next()
        self._forget()
        self._again = met + character + self._again

    def _list(self) -> Reading[None]:
        """`[call, call]`; after the first it is one whatever comes."""
        character = yield from self._solid()
        while character != "]":
            yield from self._call(character)
            character = yield from self._solid()
            if character == ",":
                character = yield from self._solid()
        if not self._fresh:
            raise _NoCall  # it is empty
        self._forget()

    def _headed(self, character: str) -> Reading[None]:
        """`name[CALL_ID]id[ARGS]{...}`, the ids and marks being optional."""
        head = ""
        while character != "{":
            head += character
            if len(head) > _HEAD or character.isspace():
                raise _NoCall
            character = yield from self._next()
        for mark in self._form.heads:
            head = head.partition(mark)[0]
        self._named(head)
        yield from self._arguments(character)
        self._complete()

    def _call(self, character: str) -> Reading[None]:
        if character != "{":
            raise _NoCall
        while (character := (yield from self._solid())) != "}":
            if character == ",":
                continue
            if character != '"':
                raise _NoCall
            key = yield from self._string()
            if (yield from self._solid()) != ":" or (self._strict and key not in _EXPECTED):
                raise _NoCall
            character = yield from self._solid()
            if key == "name" and character == '"' and not self._name:
                self._named((yield from self._string()))
            elif key in _ARGUMENTS and not self._kept:
                yield from self._arguments(character)
            else:
                yield from self._value(character)
        self._complete()

    def _named(self, name: str) -> None:
        if not _NAME.fullmatch(name) or (self._strict and name not in self._manner.names):
            raise _NoCall
        self._name = name

    def _arguments(self, character: str) -> Reading[None]:
        if character == "{":
            self._argue(character)
            yield from self._nested(self._argue)
        elif character == '"':  # as a string that holds JSON
            self._argue((yield from self._string()) or "{}")
        elif (yield from self._scalar(character)) == "null":
            self._argue("{}")
        else:
            raise _NoCall

    def _value(self, character: str) -> Reading[None]:
        """Something that says nothing to us."""
        if character in "{[":
            yield from self._nested(lambda _: None)
        elif character == '"':
            yield from self._string()
        else:
            yield from self._scalar(character)

    def _nested(self, tell: Callable[[str], None]) -> Reading[None]:
        """The rest of an object or array, each character told."""
        depth, quoted, escaped = 1, False, False
        while depth:
            character = yield from self._next()
            tell(character)
            if quoted:
                quoted = escaped or character != '"'
                escaped = character == "\\" and not escaped
            elif character == '"':
                quoted = True
            else:
                depth += (character in "{[") - (character in "}]")

    def _string(self) -> Reading[str]:
        """The rest of a string, decoded."""
        text, escaped = '"', False
        while True:
            character = yield from self._next()
            text += character
            if character == '"' and not escaped:
                break
            escaped = character == "\\" and not escaped
        try:
            said = str(json.loads(text, strict=False))
            said.encode()  # half a surrogate pair is no text
            return said
        except ValueError:
            raise _NoCall from None

    def _scalar(self, character: str) -> Reading[str]:
        word = ""
        while character not in ",}]" and not character.isspace():
            word += character
            character = yield from self._next()
        self._again = self._raw.pop() + self._again
        return word

    def _solid(self) -> Reading[str]:
        """The next character that is no whitespace."""
        while (character := (yield from self._next())).isspace():
            pass
        return character

    def _next(self) -> Reading[str]:
        if self._again:
            character, self._again = self._again[0], self._again[1:]
        else:
            character = yield
        if not character:
            raise _EndOfText
        self._raw.append(character)
        return character

    def _argue(self, text: str) -> None:
        if not self._name:
            self._kept.append(text)
            return
        if not self._begun:
            self._begin()
        self._tell(ToolArguments(self.count - 1, text))

    def _begin(self) -> None:
        self._begun = True
        self._muted = 0 < self._manner.most <= self.count
        if not self._muted:
            self.count += 1
        self._tell(ToolStart(self.count - 1, call_id(self._id, self.count - 1), self._name))

    def _complete(self) -> None:
        if not self._name:
            raise _NoCall
        if not self._begun:
            self._argue("".join(self._kept) or "{}")
        self._forget()

    def _forget(self) -> None:
        """Ready for the next call."""
        self._fresh = self._fresh or self._begun
        self._name, self._kept = "", []
        self._begun = self._muted = False
        self._raw = []

    def _tell(self, part: Part) -> None:
        if not self._muted:
            self._parts.append(part)

    def _say(self, text: str) -> None:
        if text:
            self._fresh = False
            self._parts.append(ContentDelta(text))


def call_id(job_id: str, index: int) -> str:
    """The same for every reader of an answer."""
    return "call_" + hashlib.sha256(f"{job_id}/{index}".encode()).hexdigest()[:24]

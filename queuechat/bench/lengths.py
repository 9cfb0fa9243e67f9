"""How long prompts and answers are: fixed, uniform or log-normal, drawn from a seeded generator."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from queuechat.errors import InvalidRequest

FORMS = "N, uniform:LOW:HIGH, or lognormal:MEDIAN:SIGMA[:MOST]"
_NUMBERS = {"fixed": (1, 1), "uniform": (2, 2), "lognormal": (2, 3)}  # how many each has, at least and at most


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution over whole numbers of tokens, none below 1."""

    kind: str
    numbers: tuple[float, ...]

    @classmethod
    def parse(cls, text: str, *, param: str) -> Lengths:
        """`64`, `uniform:16:512` (both included) or `lognormal:200:0.8:4096` (none above the last).

        Raises:
            InvalidRequest: it is none of these; `param` is named.
        """
        kind, *words = text.split(":") if ":" in text else ("fixed", text)
        try:
            numbers = tuple(float(word) for word in words)
        except ValueError:
            numbers = ()
        least, most = _NUMBERS.get(kind, (1, 0))
        if not (least <= len(numbers) <= most and _possible(kind, numbers)):
            raise InvalidRequest(f"{param} {text!r} is no length in tokens: use {FORMS}", param=param)
        return cls(kind, numbers)

    def draw(self, rng: random.Random) -> int:
        if self.kind == "fixed":
            return int(self.numbers[0])
        if self.kind == "uniform":
            return rng.randint(int(self.numbers[0]), int(self.numbers[1]))
        median, sigma, *most = self.numbers
        drawn = max(1, round(rng.lognormvariate(math.log(median), sigma)))
        return min(drawn, int(most[0])) if most else drawn


def _possible(kind: str, numbers: tuple[float, ...]) -> bool:
    if not all(math.isfinite(number) for number in numbers):
        return False
    if kind == "lognormal":
        median, sigma, *most = numbers
        return median >= 1 and 0 < sigma <= 5 and all(number >= 1 for number in most)
    whole = all(number.is_integer() and number >= 1 for number in numbers)
    return whole and list(numbers) == sorted(numbers)

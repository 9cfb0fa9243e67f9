"""When requests are sent in an open loop: whatever the server does, as users do."""

from __future__ import annotations

import random
from itertools import accumulate


def offsets(count: int, rate: float, burstiness: float, seed: int) -> list[float]:
    """Seconds after the start at which each of `count` requests is due, the first one at 0.

    The time between two is gamma-distributed with shape `burstiness`: 1 is a Poisson process, less is burstier, more is
    steadier. As `vllm bench serve` does, the whole is scaled to the `rate` that was asked for, in requests a second: a
    small sample would else offer some other one.
    """
    rng = random.Random(f"{seed}/arrivals")
    gaps = [rng.gammavariate(burstiness, 1 / (rate * burstiness)) for _ in range(count - 1)]
    due = [0.0, *accumulate(gaps)]
    scale = (count - 1) / rate / due[-1] if due[-1] else 1.0
    return [moment * scale for moment in due]

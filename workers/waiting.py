"""How an engine's threads wait for each other between the pieces of their work.

Threads that sleep at once are woken hundreds of times a token, which on small models takes longer than the work. Those
that spin until they are needed keep API and Redis from the cores. A short spin has the best of both.
"""

from __future__ import annotations

from collections.abc import Mapping

#: Of libgomp, which both torch and llama.cpp use: so many turns of a loop, then sleep.
_SHORT_SPIN = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}


def waiting(environ: Mapping[str, str]) -> dict[str, str]:
    """What to add to an environment before OpenMP is loaded; nothing where somebody has chosen."""
    return {} if _SHORT_SPIN.keys() & environ.keys() else dict(_SHORT_SPIN)

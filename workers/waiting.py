"""How an engine's threads wait for each other between the pieces of their work.

Threads that sleep at once are woken hundreds of times a token, which on small models takes longer than the work. Those
that spin until they are needed keep API and Redis from the cores. A short spin has the best of both.
"""

from __future__ import annotations

from collections.abc import Mapping

_TURNS = 1000  # of libgomp's loop, which both torch and llama.cpp wait in; then they sleep
#: Between two operators torch is in Python, which takes longer than what llama.cpp does between two parts of its graph.
_LONGER = {"transformers": 2500}


def waiting(environ: Mapping[str, str], engine: str = "") -> dict[str, str]:
    """What to add to an environment before OpenMP is loaded; nothing where somebody has chosen."""
    spin = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": str(_LONGER.get(engine, _TURNS))}
    return {} if spin.keys() & environ.keys() else spin

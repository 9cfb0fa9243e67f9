"""The bench commands. What measures is imported when it is about to."""

from queuechat.cli.bench import limits, load, own, price
from queuechat.cli.bench.options import bench

__all__ = ["bench", "limits", "load", "own", "price"]

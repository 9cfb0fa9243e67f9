"""`queuechat top`: the queues as they fare, in the terminal, with hands to cancel and to drain."""

from queuechat.cli.top.command import top

__all__ = ["top"]

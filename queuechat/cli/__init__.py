"""The `queuechat` command. Nothing heavy is imported before the command that needs it runs."""

from queuechat.cli.app import main

__all__ = ["main"]

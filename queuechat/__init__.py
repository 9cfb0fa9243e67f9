"""queuechat: LLM serving in which Redis, not a process, holds the stream."""

__version__ = "0.1.0"

"""redis-py's exceptions as ours: none of them leaves this package."""

from __future__ import annotations

from redis import exceptions as foreign

from queuechat.errors import BusUnavailable, Misconfigured, QueuechatError

TRANSIENT = (
    AttributeError,  # redis-py 5.3 writes to a connection that a cancelled call has just closed
    foreign.ConnectionError,
    foreign.TimeoutError,
    foreign.BusyLoadingError,
    foreign.ReadOnlyError,
    foreign.OutOfMemoryError,
    foreign.TryAgainError,
    foreign.ClusterDownError,
    OSError,
)
FOREIGN = (foreign.RedisError, *TRANSIENT)
_DENIED = (foreign.AuthenticationError, foreign.AuthorizationError, foreign.NoPermissionError)
_REFUSED = ("OOM", "MISCONF", "NOREPLICAS", "BUSY", "MASTERDOWN", "command not allowed when used memory")


def translate(error: Exception, url: str) -> QueuechatError:
    """The error of our tree that a redis-py (or socket) error is. `url` must carry no password."""
    if isinstance(error, _DENIED):
        return Misconfigured(f"Redis at {url} refuses these credentials or this command: {error}")
    if _refuses_writes(error):
        return BusUnavailable(f"Redis at {url} refuses the command: {error}", retry_after=5)
    if isinstance(error, TRANSIENT):
        return BusUnavailable(f"Redis at {url} does not answer: {error}", retry_after=1)
    if "unknown command" in str(error).lower():
        return Misconfigured(f"Redis at {url} is older than 7.0, which queuechat needs: {error}")
    return QueuechatError(f"Redis at {url} answered: {error}")


def is_transient(error: Exception) -> bool:
    """Whether the same call may work in a moment."""
    return (isinstance(error, TRANSIENT) or _refuses_writes(error)) and not isinstance(error, _DENIED)


def _refuses_writes(error: Exception) -> bool:
    """Out of memory, disk full, no replica: Redis is there, and may take writes again later."""
    return isinstance(error, foreign.OutOfMemoryError) or (
        isinstance(error, foreign.ResponseError) and str(error).startswith(_REFUSED)
    )


def lost_functions(error: Exception) -> bool:
    """Whether Redis has forgotten our library (it was flushed, or is another server now)."""
    return isinstance(error, foreign.ResponseError) and "Function not found" in str(error)

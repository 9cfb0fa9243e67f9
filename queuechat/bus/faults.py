"""redis-py's exceptions as ours: none of them leaves this package."""

from __future__ import annotations

from redis import exceptions as foreign

from queuechat.errors import BusUnavailable, Misconfigured, QueuechatError

TRANSIENT = (
    AttributeError,  # redis-py 5.3 writes to a connection that a cancelled call has just closed
    RuntimeError,  # uvloop: a write to a connection that was reset just now
    foreign.ConnectionError,  # also: no sentinel knows the master, or the master has become a replica
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
_DENIED_INSIDE = ("The user executing the script", "ACL failure in script")
_MOVING = "Script attempted to access a non local key"  # the keys of a slot that is being moved are not in one place
_REFUSED = (
    *("OOM", "MISCONF", "NOREPLICAS", "BUSY", "command not allowed when used memory"),
    *("MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN"),
)
_REMEDIES = (
    ("unknown command", "Redis at {url} is older than 7.0, which queuechat needs"),
    ("MOVED ", "Redis at {url} belongs to a cluster: write redis+cluster:// in its address"),
    ("cluster support disabled", "Redis at {url} is no cluster: write redis:// in its address"),
    (
        "CERTIFICATE_VERIFY_FAILED",
        "the certificate of Redis at {url} is not trusted: see ssl_ca_certs in its address",
    ),
)


def translate(error: Exception, url: str) -> QueuechatError:
    """The error of our tree that a redis-py (or socket) error is. `url` must carry no password."""
    if _refuses_us(error):
        return Misconfigured(f"Redis at {url} refuses these credentials or this command: {error}")
    for sign, remedy in _REMEDIES:
        if sign in str(error):
            return Misconfigured(f"{remedy.format(url=url)}: {error}")
    if _refuses_writes(error):
        return BusUnavailable(f"Redis at {url} refuses the command: {error}", retry_after=5)
    if isinstance(error, TRANSIENT):
        return BusUnavailable(f"Redis at {url} does not answer: {str(error) or 'it keeps silent'}", retry_after=1)
    return QueuechatError(f"Redis at {url} answered: {error}")


def is_transient(error: Exception) -> bool:
    """Whether the same call may work in a moment."""
    return (isinstance(error, TRANSIENT) or _refuses_writes(error) or lost_functions(error)) and not _refuses_us(error)


def _refuses_us(error: Exception) -> bool:
    """Wrong credentials, or a command that this role may not use, by itself or within a function."""
    return isinstance(error, _DENIED) or (
        isinstance(error, foreign.ResponseError) and any(sign in str(error) for sign in _DENIED_INSIDE)
    )


def _refuses_writes(error: Exception) -> bool:
    """Out of memory, disk full, no replica, a failover: Redis is there, and may take the command again later."""
    return isinstance(error, foreign.OutOfMemoryError) or (
        isinstance(error, foreign.ResponseError) and (str(error).startswith(_REFUSED) or _MOVING in str(error))
    )


def lost_functions(error: Exception) -> bool:
    """Whether Redis has forgotten our library (it was flushed, or is another server now)."""
    return isinstance(error, foreign.ResponseError) and "Function not found" in str(error)

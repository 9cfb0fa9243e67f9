"""Everything that can go wrong, as one tree. Each class knows its wire code and whether a retry can help.

QueuechatError
├── InvalidRequest                 the request can never work as it is
│   ├── InvalidJSON
│   ├── UnsupportedParameter
│   ├── ContextLengthExceeded
│   ├── BodyTooLarge
│   ├── HeadTooLarge
│   ├── RequestTimeout             it did not come in time
│   ├── InvalidImage | ContentFlagged (ui.gate.refusals)
│   ├── IdempotencyMismatch
│   ├── ResumeMismatch             there is no such place in the stream
│   ├── PreviousResponseNotFound   there is nothing to go on from
│   └── Conflict                   what it names is not in a state for this
├── Unauthorized
├── PermissionDenied | TermsNotAccepted (ui.gate.refusals)
├── NotFound
│   ├── ModelNotFound
│   ├── RequestNotFound
│   ├── FileMissing
│   ├── BatchNotFound | BattleNotFound (queuechat.battles)
│   └── ResponseNotFound
├── Refused                        not now; ask again after `retry_after` seconds
│   ├── QueueFull
│   ├── WaitTooLong
│   ├── TooManyRequests            of one API key at a time
│   ├── RateLimited                of one API key or person per minute, or wrong keys or logins from one address
│   ├── MemoryLow
│   ├── NoWorker
│   ├── Draining | ModerationUnavailable (ui.gate.refusals)
│   └── BusUnavailable             Redis does not answer, or refuses writes
├── JobEnded                       accepted, but there will be no (more) answer
│   ├── Cancelled
│   ├── DeadlineExceeded
│   ├── JobFailed                  given up: it killed its workers, or its engine refused it
│   ├── StreamDiverged             the log is not the one that was read before
│   └── StateLost                  the job is gone from Redis
├── ProviderFailed                 (queuechat.elsewhere) who serves this model elsewhere did not answer, or broke off
│   ├── ProviderBusy               it has too much to do
│   └── ProviderRefused            it does not know us, or our model
├── ContentFiltered                (queuechat.elsewhere) it has withheld the answer
├── LeaseLost                      somebody else runs it now
├── EngineDied                     the engine lost everything it was running
└── Misconfigured                  a setting, a file or a server cannot work; the message says what to do
"""

from __future__ import annotations

from collections.abc import Iterator


class QueuechatError(Exception):
    """Root of the tree. `code` travels on the wire; `retryable` says if the same request may work later."""

    code = "internal_error"
    retryable = False

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after = retry_after


class InvalidRequest(QueuechatError):
    """A value is missing, of the wrong type or out of range; `param` names it."""

    code = "invalid_value"


class InvalidJSON(InvalidRequest):
    """The body is not JSON (RFC 8259: NaN and Infinity are not)."""

    code = "invalid_json"


class UnsupportedParameter(InvalidRequest):
    """A field that changes the meaning of a request and that this model or version cannot honour."""

    code = "unsupported_parameter"


class ContextLengthExceeded(InvalidRequest):
    """Prompt (plus what was asked for) does not fit the model's context."""

    code = "context_length_exceeded"


class BodyTooLarge(InvalidRequest):
    """The body is over the limit."""

    code = "request_too_large"


class HeadTooLarge(InvalidRequest):
    """URL and headers are over the limit."""

    code = "headers_too_large"


class RequestTimeout(InvalidRequest):
    """The request came too slowly, or did not come to its end."""

    code = "request_timeout"


class InvalidImage(InvalidRequest):
    """An image is none, is over a limit, or lies where it may not be fetched from; `param` names its part."""

    code = "invalid_image"


class IdempotencyMismatch(InvalidRequest):
    """The same Idempotency-Key came with another body."""

    code = "idempotency_mismatch"


class ResumeMismatch(InvalidRequest):
    """The event to go on after is not one of this stream."""

    code = "resume_mismatch"


class PreviousResponseNotFound(InvalidRequest):
    """The response to go on from was never stored, has expired or was deleted, or is another key's."""

    code = "previous_response_not_found"


class Conflict(InvalidRequest):
    """What it names has moved on: this can no longer be done to it."""

    code = "conflict"


class Unauthorized(QueuechatError):
    """No API key, or an unknown, expired or revoked one."""

    code = "invalid_api_key"


class PermissionDenied(QueuechatError):
    """The key is good, but not for this."""

    code = "permission_denied"


class NotFound(QueuechatError):
    """No such thing."""

    code = "not_found"


class ModelNotFound(NotFound):
    """No worker has served a model of this name."""

    code = "model_not_found"


class RequestNotFound(NotFound):
    """No such request, or its log has expired."""

    code = "request_not_found"


class FileMissing(NotFound):
    """No such file, or it has expired, or it is another key's."""

    code = "file_not_found"


class BatchNotFound(NotFound):
    """No such batch, or it is another key's."""

    code = "batch_not_found"


class ResponseNotFound(NotFound):
    """No such response, or it has expired or was deleted, or it is another key's."""

    code = "response_not_found"


class Refused(QueuechatError):
    """Not accepted now; nothing was queued."""

    code = "refused"
    retryable = True


class QueueFull(Refused):
    """The model's waiting room is full."""

    code = "queue_full"


class WaitTooLong(Refused):
    """Its turn would come after its deadline."""

    code = "wait_too_long"


class TooManyRequests(Refused):
    """The API key has as many requests running as it may have."""

    code = "concurrency_limit"


class RateLimited(Refused):
    """A key or a person has had the requests of this minute, or an address has tried too many keys or passwords."""

    code = "rate_limit_exceeded"


class MemoryLow(Refused):
    """Redis keeps what memory is left for the answers that run."""

    code = "memory_low"


class NoWorker(Refused):
    """The model is known, but no worker serves it now."""

    code = "no_worker"


class Draining(Refused):
    """This server is shutting down."""

    code = "server_draining"


class BusUnavailable(Refused):
    """Redis cannot be reached, is loading, or refuses writes."""

    code = "bus_unavailable"


class JobEnded(QueuechatError):
    """The job is over without a full answer."""

    code = "job_ended"


class Cancelled(JobEnded):
    """Somebody cancelled it, or everybody who was reading left."""

    code = "request_cancelled"


class DeadlineExceeded(JobEnded):
    """Its deadline passed."""

    code = "deadline_exceeded"


class JobFailed(JobEnded):
    """The worker gave up on this job: a dead letter tells why."""

    code = "job_failed"


class StreamDiverged(JobEnded):
    """The log no longer continues what was delivered (a stale replica took over)."""

    code = "stream_diverged"


class StateLost(JobEnded):
    """The job is not in Redis any more."""

    code = "state_lost"


class LeaseLost(QueuechatError):
    """Another background worker has taken over; what this one still does must change nothing."""

    code = "lease_lost"


class EngineDied(QueuechatError):
    """The engine ended with all its sequences; another one can go on with them."""

    code = "worker_lost"
    retryable = True


class Misconfigured(QueuechatError):
    """Something on this machine cannot work; the message says what to do."""

    code = "misconfigured"


def tree(root: type[QueuechatError] = QueuechatError) -> Iterator[type[QueuechatError]]:
    """Every class of the tree, parents first."""
    yield root
    for child in root.__subclasses__():
        yield from tree(child)

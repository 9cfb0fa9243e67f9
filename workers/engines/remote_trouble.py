"""What went wrong at a provider, as our errors: whose fault it is, and whether another try may help.

OpenAI's and Anthropic's SDKs have errors of the same names and shape.
"""

from __future__ import annotations

import email.utils
import math
import random
import time
from collections.abc import Mapping
from typing import Any

from queuechat.elsewhere import ProviderBusy, ProviderFailed, ProviderRefused
from queuechat.errors import InvalidRequest, QueuechatError
from queuechat.wire import from_wire

PATIENCE_S = 120.0  #: a longer wait than this is not waited for with a request in hand
_USERS = (400, 413, 422)
_OURS = (401, 402, 403, 404)
_AGAIN = (408, 409, 429)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 8.0
_BUSY = ("rate_limit_error", "overloaded_error", "rate_limit_exceeded")


class Hitch(Exception):
    """Another try may help, after `wait_s` where the provider told so; `error` is for who is told when none did."""

    def __init__(self, error: ProviderFailed, wait_s: float | None = None):
        super().__init__(error.message)
        self.error, self.wait_s = error, wait_s


class BrokenOff(Exception):
    """The stream ended, and the answer had not."""


def pause_s(tries: int) -> float:
    """How long to wait after so many tries: twice as long each time, a little less by chance."""
    return float(min(_FIRST_PAUSE_S * 2**tries, _LONGEST_PAUSE_S)) * (1 - random.random() / 4)


def judged(error: Exception) -> Hitch | QueuechatError:
    """What an error of the SDK, or of the HTTP client below it, stands for. Nothing of it is repeated but what the
    provider says of a request that is wrong."""
    status = getattr(error, "status_code", None)
    told = _told(getattr(error, "body", None))
    if status is None or status == 200:  # it came as an event of the stream, or nothing came
        return _in_stream(error, told)
    if status in _USERS:
        return _wrong(told, status)
    if status in _OURS or 300 <= status < 400 or told.get("code") == "insufficient_quota":
        return ProviderRefused(
            f"the provider of this model does not take our requests (HTTP {status}): whoever runs its worker has to "
            "look at the address, the API key, the account and the name of the model there"
        )
    headers: Mapping[str, str] = error.response.headers  # type: ignore[attr-defined]
    busy = status in (429, 529, 503)
    failed = (ProviderBusy if busy else ProviderFailed)(
        f"the provider of this model {'has too much to do' if busy else 'failed'} (HTTP {status}); ask again later"
    )
    if headers.get("x-should-retry") == "false" or not (status in _AGAIN or status >= 500):
        return failed
    return Hitch(failed, wait_of(headers))


def _in_stream(error: Exception, told: Mapping[str, Any]) -> Hitch | QueuechatError:
    if told.get("type") == "invalid_request_error":
        return _wrong(told, 400)
    if told.get("type") in _BUSY or told.get("code") in _BUSY:
        return Hitch(ProviderBusy("the provider of this model has too much to do; ask again later"))
    what = "broke off" if told or isinstance(error, BrokenOff) else "cannot be reached, or broke off"
    return Hitch(ProviderFailed(f"the provider of this model {what}; ask again later"))


def _wrong(told: Mapping[str, Any], status: int) -> InvalidRequest:
    """The user's error, in the provider's words."""
    message = str(told.get("message") or f"the provider of this model refuses this request (HTTP {status})")
    param = told.get("param")
    param = param if isinstance(param, str) else None
    if param and param.startswith(("response_format.", "structured_outputs.")):
        param = "response_format"  # as all engines say it of a form
    known = from_wire(str(told.get("code")), message, param)
    return known if isinstance(known, InvalidRequest) else InvalidRequest(message, param=param)


def _told(body: object) -> Mapping[str, Any]:
    """The error object, with or without what is around it."""
    if not isinstance(body, Mapping):
        return {}
    inner = body.get("error")
    return inner if isinstance(inner, Mapping) else body


def wait_of(headers: Mapping[str, str]) -> float | None:
    """Seconds that a response asks to wait; None when it says nothing of it."""
    for name, scale in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            wait_s = float(headers[name]) / scale
        except (KeyError, ValueError):
            continue
        if math.isfinite(wait_s):
            return max(wait_s, 0.0)
    date = email.utils.parsedate_tz(headers.get("retry-after", ""))
    return max(email.utils.mktime_tz(date) - time.time(), 0.0) if date else None

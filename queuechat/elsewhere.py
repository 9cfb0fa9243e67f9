"""What goes wrong with models that a provider elsewhere serves: a branch of the tree of `queuechat.errors`."""

from __future__ import annotations

from queuechat.errors import QueuechatError


class ProviderFailed(QueuechatError):
    """Whoever serves this model elsewhere cannot be reached, failed, or broke off in its answer."""

    code = "provider_failed"
    retryable = True


class ProviderBusy(ProviderFailed):
    """It had too many requests from here, and still has after all retries."""

    code = "provider_busy"


class ProviderRefused(ProviderFailed):
    """It does not take our key, or has no such model: nothing that who asks could help."""

    code = "provider_refused"
    retryable = False


class ContentFiltered(QueuechatError):
    """Whoever serves this model elsewhere has withheld the answer, or the rest of it."""

    code = "content_filter"

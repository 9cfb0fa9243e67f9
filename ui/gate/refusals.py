"""Why the gate lets something not pass, beside what the errors of all processes say."""

from __future__ import annotations

from queuechat.errors import InvalidRequest, PermissionDenied, Refused


class ContentFlagged(InvalidRequest):
    """Moderation has flagged what was asked; it was not sent to any model."""

    code = "content_flagged"


class TermsNotAccepted(PermissionDenied):
    """Nobody may ask at this page before they have accepted its terms of use."""

    code = "terms_not_accepted"


class ModerationUnavailable(Refused):
    """What is asked must be judged first, and who does that does not answer."""

    code = "moderation_unavailable"

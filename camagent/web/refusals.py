"""What the API refuses by itself, and the status under which every refusal goes out.

WebRefusal
+-- 400 QueryInvalid          401 TokenNeeded, TokenWrong     403 CrossSite       404 NotFound      405 MethodNotAllowed
+-- 408 UploadTooSlow         411 LengthRequired              413 TooLarge        421 HostUnknown   429 TooManyFailures
+-- 431 HeadTooLarge          503 TokenUnreadable
"""

from __future__ import annotations

from types import MappingProxyType
from typing import ClassVar

from camagent.errors import Refusal


class WebRefusal(Refusal):
    """Root of what is refused before anything is asked of the agent."""

    code = "REFUSED"
    status: ClassVar[int] = 400


class QueryInvalid(WebRefusal):
    """A parameter or a header has a value that means nothing here."""

    code, status = "QUERY_INVALID", 400


class TokenNeeded(WebRefusal):
    """The request has no token, and this agent wants one."""

    code, status = "TOKEN_NEEDED", 401


class TokenWrong(WebRefusal):
    """The token is not this agent's."""

    code, status = "TOKEN_WRONG", 401


class CrossSite(WebRefusal):
    """A change that a web page elsewhere could have asked for."""

    code, status = "CROSS_SITE", 403


class NotFound(WebRefusal):
    """No such path, job or bundle."""

    code, status = "NOT_FOUND", 404


class MethodNotAllowed(WebRefusal):
    """The path is known, the method is not one of its own."""

    code, status = "METHOD_NOT_ALLOWED", 405


class UploadTooSlow(WebRefusal):
    """An upload that hardly moves keeps others waiting."""

    code, status = "UPLOAD_TOO_SLOW", 408


class LengthRequired(WebRefusal):
    """The request does not say how long its body is."""

    code, status = "LENGTH_REQUIRED", 411


class TooLarge(WebRefusal):
    """The body is longer than anything that is ever read."""

    code, status = "SIZE_LIMIT", 413


class HostUnknown(WebRefusal):
    """The Host header is not one of this agent's names."""

    code, status = "HOST_UNKNOWN", 421


class TooManyFailures(WebRefusal):
    """Too many wrong tokens from one address."""

    code, status = "TOO_MANY_FAILURES", 429


class HeadTooLarge(WebRefusal):
    """The request's head is longer than anything that is sent in earnest."""

    code, status = "HEAD_TOO_LARGE", 431


class TokenUnreadable(WebRefusal):
    """The agent cannot read its own token file, so it lets nobody in."""

    code, status = "TOKEN_UNREADABLE", 503


_STATUS = MappingProxyType({
    **{refusal.code: refusal.status for refusal in WebRefusal.__subclasses__()},
    "BUSY": 409, "ROLLBACK_REFUSED": 409, "STATE_UNUSABLE": 409, "NO_SPACE": 409,
    "NO_ANSWER": 409, "OVERLAY_CHANGED": 409, "NOT_STORED": 404, "REQUEST_INVALID": 400, "CHANGE_INVALID": 400, "INTERNAL": 500,
})  # fmt: skip
REFUSED = 422  # understood, and no: the code says why


def status_of(code: str) -> int:
    """The HTTP status under which a refusal with this code goes out."""
    return _STATUS.get(code, REFUSED)

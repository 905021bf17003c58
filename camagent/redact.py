"""Addresses as they may be shown: no user, no password, also where they stand in the query or in other people's error texts."""

from __future__ import annotations

import re

from camagent.errors import printable

HIDDEN = "***"
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<tail>.*)", re.DOTALL)
_SECRET_VALUE = re.compile(r"(?i)((?:user(?:name)?|login|pass(?:word|wd)?|pwd|token|secret|auth(?:key)?)=)[^&;?#\s/]+")
_AUTH_IN_TEXT = re.compile(r"://[^/\s'\"]*@")


def without_credentials(url: str) -> str:
    """The address as it may be shown; a plain path is only made printable.

    Everything up to the last @ goes: passwords with a bare @, and with a bare / before it, are common in the field.
    """
    whole = _SCHEME.match(url)
    if whole is None:
        return printable(url)
    tail = whole["tail"].rpartition("@")[2]
    return printable(_SECRET_VALUE.sub(rf"\1{HIDDEN}", f"{whole['scheme']}://{tail}"))


def without_secrets(text: object) -> str:
    """Foreign text (a library's, a server's) without credentials of addresses in it. Not made printable."""
    return _SECRET_VALUE.sub(rf"\1{HIDDEN}", _AUTH_IN_TEXT.sub("://", str(text)))

"""Which words must not leave this machine, and how they are taken out of whatever is packed. Pure but `of_files`."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from camagent.errors import printable
from camagent.redact import HIDDEN, without_secrets

SHORTEST = 4  # characters; a shorter one is found in every text
FILE_BYTES = 64 * 1024
_NAME = re.compile(r"(?i)pass(?:$|word|wd|phrase|_)|(?:^|_|\.)pwd$|token|secret|credential|auth|private|[a-z]_?key$|cookie")
_NO_SECRET = frozenset({"PWD", "OLDPWD"})  # the shell's folders
_FILE_KEY = re.compile(r"(?:user|password|token|key)_file$")
_USERINFO = re.compile(r"://(?P<auth>.*)@", re.DOTALL)  # up to the last @: passwords with a bare @ or / are common in the field
_QUERY = re.compile(r"(?i)(?:user(?:name)?|login|pass(?:word|wd)?|pwd|token|secret|auth(?:key)?)=([^&;?#\s]+)")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_OWN_WORDS = "camagent mqtt rtsp root admin user"  # as user names they hide nothing, and would tear holes into everything


def is_secret_name(name: str) -> bool:
    """Whether what has this name is better not shown. Files that hold secrets are named, never read."""
    return bool(_NAME.search(name)) and not _FILE_KEY.search(name)


def of_environment(environment: Mapping[str, str], document: Any) -> Iterator[str]:
    """Values of variables with a telling name, and of those that the configuration uses."""
    used = {name for text in _strings(document) for name in _VARIABLE.findall(text)}
    for name, value in environment.items():
        if name in used or (is_secret_name(name) and name not in _NO_SECRET and not Path(value).exists()):
            yield value
            yield from of_address(value)


def of_document(document: Any, name: str = "") -> Iterator[str]:
    """What a configuration holds, whether it is sound or not: users and passwords of addresses, values with a telling name."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from of_document(value, f"{name}.{key}")
    elif isinstance(document, Sequence) and not isinstance(document, str):
        for value in document:
            yield from of_document(value, name)
    elif isinstance(document, str):
        if is_secret_name(name) or name.endswith(".username"):
            yield document
        yield from of_address(document)


def of_address(text: str) -> Iterator[str]:
    """User, password and tokens of an address."""
    found = _USERINFO.search(text)
    if found:
        auth = found["auth"]
        user, _, password = auth.partition(":")
        yield from (user, password, auth, unquote(user), unquote(password), base64.b64encode(unquote(auth).encode()).decode())
    yield from _QUERY.findall(text)


def files_of(document: Any, name: str = "") -> Iterator[Path]:
    """Files that a configuration says hold secrets."""
    if isinstance(document, Mapping):
        for key, value in document.items():
            yield from files_of(value, str(key))
    elif isinstance(document, Sequence) and not isinstance(document, str):
        for value in document:
            yield from files_of(value, name)
    elif isinstance(document, str) and document and _FILE_KEY.search(name):
        yield Path(document)


def of_files(paths: Iterable[Path]) -> Iterator[str]:
    """Each file as a whole and line by line. One that this user cannot read cannot be in what this user packs, either."""
    for path in paths:
        try:
            with path.open("rb") as file:
                text = file.read(FILE_BYTES).decode("utf-8", "replace")
        except OSError:
            continue
        yield text.strip()
        yield from (line.strip() for line in text.splitlines() if "-----" not in line)


class Scrubber:
    """Takes known secrets out of values and texts, however they are written."""

    def __init__(self, secrets: Iterable[str]) -> None:
        """Longest first, so that none is torn by a shorter one within it."""
        whole = {secret for secret in secrets if len(secret) >= SHORTEST and secret not in _OWN_WORDS}
        self._words = sorted({word for secret in whole for word in _spellings(secret)}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """A text without them, nor credentials of addresses."""
        text = without_secrets(text)
        for word in self._words:
            text = text.replace(word, HIDDEN)
        return text

    def value(self, value: Any) -> Any:
        """A JSON value without them; what has a telling name is hidden whole."""
        if isinstance(value, Mapping):
            if set(value) >= {"key", "value"} and is_secret_name(str(value["key"])):  # a row of `config show`
                return {**value, "value": HIDDEN}
            return {self.text(str(key)): self._named(str(key), inner) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self.value(inner) for inner in value]
        return self.text(value) if isinstance(value, str) else value

    def _named(self, name: str, value: Any) -> Any:
        return HIDDEN if isinstance(value, str) and value and is_secret_name(name) else self.value(value)


def _spellings(secret: str) -> set[str]:
    encoded = base64.b64encode(secret.encode(errors="replace")).decode().rstrip("=")
    shown = printable(secret, len(secret) * 10)
    return {
        secret, quote(secret, errors="replace"), quote(secret, safe="", errors="replace"), quote_plus(secret, errors="replace"),
        html.escape(secret), shown, repr(secret)[1:-1], encoded,
    }  # fmt: skip


def _strings(document: Any) -> Iterator[str]:
    if isinstance(document, Mapping):
        for value in document.values():
            yield from _strings(value)
    elif isinstance(document, Sequence) and not isinstance(document, str):
        for value in document:
            yield from _strings(value)
    elif isinstance(document, str):
        yield document

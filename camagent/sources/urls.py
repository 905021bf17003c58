"""RTSP addresses with and without their secrets. What leaves this package (logs, errors, status) has none."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from camagent.config import Camera
from camagent.errors import ConfigError, printable
from camagent.redact import HIDDEN, without_credentials, without_secrets

RTSP_PORTS = {"rtsp": 554, "rtsps": 322}
_SCHEME = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<tail>.*)", re.DOTALL)
# greedy up to the last @ before the path: passwords with a bare @ are common in the field
_TAIL = re.compile(
    r"(?:(?P<auth>[^/?#]*)@)?(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/?#@\[\]]+)(?::(?P<port>\d{1,5}))?(?P<rest>[/?#].*)?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Address:
    """An RTSP address, taken apart. `url` holds the credentials and never leaves the sources."""

    url: str
    shown: str  # the same without anything secret
    host: str
    port: int

    def scrub(self, text: object) -> str:
        """Foreign text (FFmpeg's, the server's) made printable, with this address's secrets taken out."""
        clean = str(text).replace(self.url, self.shown)
        for secret in _secrets(self.url):
            clean = clean.replace(secret, HIDDEN)
        return printable(without_secrets(clean), 400)


def is_url(text: str) -> bool:
    """True for anything that names a scheme; the rest is a path."""
    return _SCHEME.match(text) is not None


def address_of(camera: Camera) -> Address:
    """The camera's address with the credentials of its `user_file` and `password_file` filled in; both are read anew.

    Raises:
        ConfigError: no RTSP address, or a credentials file that cannot be read.
    """
    whole = _SCHEME.match(camera.url)
    scheme = whole["scheme"].lower() if whole else ""
    if whole is None or scheme not in RTSP_PORTS:
        raise ConfigError(
            f"camera {camera.name!r}: {without_credentials(camera.url)} is no source this agent can open",
            fix="give an rtsp:// or rtsps:// address, a video file or a folder of pictures",
        )
    parts = _TAIL.fullmatch(whole["tail"])
    port = int(parts["port"] or RTSP_PORTS[scheme]) if parts else 0
    if parts is None or not 0 < port < 65536:
        raise ConfigError(
            f"camera {camera.name!r}: {without_credentials(camera.url)} is no valid address",
            fix="write rtsp://user:password@host:port/path, and / ? # % in the password as %2F %3F %23 %25",
        )
    auth = _auth(camera, parts["auth"])
    port_part = f":{parts['port']}" if parts["port"] else ""
    url = f"{scheme}://{auth}{parts['host']}{port_part}{parts['rest'] or ''}"
    return Address(url=url, shown=without_credentials(url), host=parts["host"].strip("[]"), port=port)


def _auth(camera: Camera, in_url: str | None) -> str:
    """`user:password@`: files win over what stands in the address, part by part."""
    user, colon, password = (in_url or "").partition(":")
    if camera.user_file is not None:
        user = quote(_line_of(camera, "user_file", camera.user_file), safe="")
    if camera.password_file is not None:
        password, colon = quote(_line_of(camera, "password_file", camera.password_file), safe=""), ":"
    return f"{user}{colon}{password}@" if user or password else ""


def _line_of(camera: Camera, key: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(
            f"camera {camera.name!r}: {key} {printable(path)} cannot be read",
            fix="create the file with one line in it, readable for the agent's user",
            evidence={"cause": getattr(exc, "strerror", None) or type(exc).__name__},
        ) from exc


def _secrets(url: str) -> list[str]:
    """The password in every spelling FFmpeg might repeat it; words of one or two letters would blank out half a sentence."""
    whole = _SCHEME.match(url)
    parts = _TAIL.fullmatch(whole["tail"]) if whole else None
    if parts is None or not parts["auth"]:
        return []
    password = parts["auth"].partition(":")[2]
    spellings = {parts["auth"], password, unquote(password), quote(unquote(password), safe="")}
    return sorted((word for word in spellings if len(word) > 2), key=len, reverse=True)

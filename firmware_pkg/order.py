"""What is to be downloaded, under which rules, and how patiently. Values only: light to import, for those who decide."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from firmware_pkg.addresses import Prefix, UnusableUrl, Url, parse_url
from firmware_pkg.response import failed

# (host name, port) -> addresses, best first; raises OSError
Resolver: TypeAlias = Callable[[str, int], Sequence[str]]

LONGEST_S = 3600.0
START_S = 60.0
SLOWEST = 32 * 1024  # bytes per second on which the whole download's time is reckoned


def system_resolver(host: str, port: int) -> Sequence[str]:
    """The machine's own resolver: hosts file, DNS. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(entry[4][0]) for entry in found))


def is_own_address(address: str) -> bool:
    """Whether this machine has that address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Order:
    """One file at one URL, with what is known of it beforehand. `token` goes to the URL's own server only, and is not shown."""

    url: str
    sha256: str | None  # 64 lower-case hex digits; None: nobody said, and only what is in the file can say whether it is right
    size: int  # bytes
    token: str | None = field(default=None, repr=False)
    scheme: str = "Bearer"  # of the Authorization header that carries the token


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How patient a download is. Seconds are monotonic."""

    connect_s: float = 10.0
    read_s: float = 20.0  # of silence
    total_s: float | None = None  # of the whole download; None: 60 s and one second per 32 KiB, an hour at most
    rate: int = 1024  # bytes per second that must come at least, over
    window_s: float = 30.0  # seconds of waiting for the server
    redirects: int = 3
    first_tries: int = 3  # further attempts before the first byte
    resumes: int = 10  # further attempts after it
    backoff_s: float = 1.0  # before the second attempt; doubles up to
    backoff_max_s: float = 30.0

    def total(self, size: int) -> float:
        """Seconds that a download of `size` bytes may take."""
        return min(LONGEST_S, START_S + size / SLOWEST) if self.total_s is None else self.total_s


@dataclass(frozen=True, slots=True)
class Listener:
    """Where this agent itself listens."""

    host: str
    port: int

    @classmethod
    def parse(cls, listen: str) -> Listener | None:
        """Reads `web.listen`; None where the agent does not listen."""
        host, _, port = listen.rpartition(":")
        return cls(host.strip("[]"), int(port)) if port.isascii() and port.isdigit() else None


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """By what this machine proves itself to a server: PEM files."""

    cert: Path
    key: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """From where a bundle may be fetched."""

    allowed: tuple[Prefix, ...]
    setting: str = "commands.bundle_from"  # where the entries stand, for messages
    listener: Listener | None = None
    ca_file: Path | None = None  # None: the machine's certificate authorities
    client: ClientCertificate | None = None
    limits: Limits = Limits()
    resolve: Resolver = system_resolver
    is_own: Callable[[str], bool] = is_own_address


def permitted(text: str, allowed: Sequence[Prefix], setting: str = "commands.bundle_from") -> Url:
    """The URL, if it lies under one of the entries of `setting`.

    Raises:
        DownloadFailed: it does not, or it is no URL that can be judged.
    """
    entries = ", ".join(entry.url.shown for entry in allowed) or "nothing: the list is empty"
    fix = f"order from below one of the entries of {setting}, or add the server there"
    try:
        url = parse_url(text)
    except UnusableUrl as exc:
        raise failed(
            "not-allowed-url", f"the URL cannot be used: {exc}", expected=entries, found=text.partition("?")[0], fix=fix
        ) from exc
    if not any(entry.covers(url) for entry in allowed):
        raise failed(
            "not-allowed-url", "the URL is not below an entry of the allow-list", expected=entries, found=url.shown, fix=fix
        )
    return url

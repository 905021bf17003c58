"""Where the API listens, and under which names it may be asked for. Pure: nothing is resolved here."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from camagent.config import Web
from camagent.errors import ConfigError

_LISTEN = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]*)):(?P<port>[0-9]{1,5})")
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Listen:
    """Host and port to listen on. An empty host, 0.0.0.0 and :: are every address of this machine."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Listen:
        """`127.0.0.1:8420`, `[::1]:8420`, `0.0.0.0:8420`. Raises ConfigError."""
        found = _LISTEN.fullmatch(text)
        port = int(found["port"]) if found else 0
        if not found or port > 65535:
            raise ConfigError(
                "web.listen is no address with a port",
                evidence={"key": "web.listen", "value": text, "allowed": "ADDRESS:PORT, or empty for no API"},
                fix='write it as "127.0.0.1:8420" or "[::1]:8420"',
            )
        return cls(found["six"] or found["host"], port)

    @property
    def is_loopback(self) -> bool:
        """True where nobody outside this machine can connect."""
        return self.host == "localhost" or is_loopback(self.host)


def problem(web: Web) -> tuple[str, str] | None:
    """What is wrong with the section, as (key, sentence); None where it is sound."""
    if not web.listen:
        return None
    try:
        listen = Listen.parse(web.listen)
    except ConfigError as exc:
        return "web.listen", f'{web.listen!r} is no address with a port such as "127.0.0.1:8420"; {exc.fix}'
    if not listen.is_loopback and web.token_file is None:
        return "web.token_file", f"{web.listen} can be reached from other machines: a token_file is needed"
    if bool(web.cert_file) != bool(web.key_file):
        return "web.cert_file", "https needs both cert_file and key_file"
    for host in web.hosts:
        if not _HOST.fullmatch(host):
            return "web.hosts", f"{host!r} is no host name; names and addresses stand there without scheme and path"
    return None


def may_be_asked(host: str, hosts: Sequence[str], *, scheme: str, local: tuple[str, int]) -> bool:
    """Whether a Host header is one of ours. `local` is the address and port on which the connection arrived.

    A page elsewhere can make its own name lead here (DNS rebinding) and then reads with our origin's rights; it cannot make
    a browser send our address, or a name that its owner has configured.
    """
    found = _HOST.fullmatch(host)
    if not found:
        return False
    name, port = found["name"].strip("[]").lower(), int(found["port"] or _DEFAULT_PORTS[scheme])
    if any(_is_same(name, port, entry) for entry in hosts):
        return True
    here = _plain(local[0])
    names = {here, *(_LOOPBACK_NAMES if is_loopback(here) else ())}
    return port == local[1] and _plain(name) in names


def is_loopback(address: str) -> bool:
    """True for 127.0.0.0/8 and ::1, also in their IPv4-mapped form."""
    try:
        return ipaddress.ip_address(_plain(address)).is_loopback
    except ValueError:
        return False


def _is_same(name: str, port: int, entry: str) -> bool:
    """An entry without a port stands for every port: it is the name that matters."""
    found = _HOST.fullmatch(entry)
    return found is not None and found["name"].strip("[]").lower() == name and int(found["port"] or port) == port


def _plain(address: str) -> str:
    """One spelling per address: ::ffff:192.0.2.7 is 192.0.2.7."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    return str(getattr(parsed, "ipv4_mapped", None) or parsed)

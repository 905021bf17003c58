"""Which URL may be asked for, and which address may be connected to. Pure: nothing is resolved and nothing is connected here.

A URL is taken apart by one strict reader, compared part by part, and put together again: what was checked is what is asked
for. Everything that two readers could understand differently (user names, backslashes, dots in percent signs, numbers
instead of addresses, empty path segments) is refused instead of being interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import quote, unquote_to_bytes, urljoin

Address: TypeAlias = IPv4Address | IPv6Address

URL_CHARS = 2000
PORTS = {"http": 80, "https": 443}
_URL = re.compile(r"(?P<scheme>https?)://(?P<authority>[^/?#]*)(?P<path>/[^?#]*)?(?:\?(?P<query>[^#]*))?", re.IGNORECASE)
_NOT_IN_A_URL = re.compile(r"[^!-~]|[\"<>\\^`{|}]")  # outside printable ASCII, or never legal: readers disagree about these
_PORT = re.compile(r":([1-9][0-9]{0,4})$")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?)*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")  # a last label like this makes the whole host a number to many resolvers
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_NOT_IN_A_SEGMENT = frozenset("/\\%;?#")  # where servers and proxies disagree on what is a separator
_SAFE_IN_A_SEGMENT = "-._~!$&'()*+,=:@"


class UnusableUrl(ValueError):
    """The text is no URL that can be judged; the sentence says why. Callers turn it into an error of theirs."""


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL in its one canonical form."""

    scheme: str
    host: str  # lower case; an IPv6 address without brackets
    port: int
    segments: tuple[str, ...]  # of the path, decoded; a trailing slash is a last, empty segment
    query: str  # as written

    @property
    def origin(self) -> tuple[str, str, int]:
        """Whose server this is."""
        return self.scheme, self.host, self.port

    @property
    def authority(self) -> str:
        """Host and, where it is not the usual one, port: the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def shown(self) -> str:
        """The URL for people: without the query, in which signatures and tokens travel."""
        path = "/".join(quote(segment, safe=_SAFE_IN_A_SEGMENT) for segment in self.segments)
        return f"{self.scheme}://{self.authority}/{path}"

    def __str__(self) -> str:
        """The URL as it is asked for."""
        return f"{self.shown}?{self.query}" if self.query else self.shown


def parse_url(text: str) -> Url:
    """Takes a URL apart.

    Raises:
        UnusableUrl: it is none, or one that two readers could understand differently.
    """
    if len(text) > URL_CHARS:
        raise UnusableUrl(f"a URL has at most {URL_CHARS} characters")
    if _NOT_IN_A_URL.search(text):
        raise UnusableUrl("a URL has no blanks, control characters, backslashes, quotes, brackets or letters beyond ASCII")
    found = _URL.fullmatch(text)
    if found is None:
        raise UnusableUrl("it is not http://HOST/PATH or https://HOST/PATH")
    scheme, authority = found["scheme"].lower(), found["authority"].lower()
    if "@" in authority:
        raise UnusableUrl("there is a user name in it, or something that looks like one")
    port = _PORT.search(authority)
    number = int(port[1]) if port else PORTS[scheme]
    if number > 65535:
        raise UnusableUrl("its port is not one of 1 to 65535")
    host = _host(authority[: port.start()] if port else authority)
    return Url(scheme, host, number, _segments(found["path"] or "/"), found["query"] or "")


def join_url(base: Url, location: str) -> Url:
    """Where a redirect leads.

    Raises:
        UnusableUrl: as `parse_url`.
    """
    if not location or len(location) > URL_CHARS or _NOT_IN_A_URL.search(location):
        raise UnusableUrl("it is no URL, absolute or relative")
    try:
        return parse_url(urljoin(str(base), location))
    except ValueError as exc:
        raise UnusableUrl("it is no URL, absolute or relative") from exc


def literal(host: str) -> Address | None:
    """The address that a host is, None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _host(text: str) -> str:
    if text.startswith("["):
        try:
            inner = IPv6Address(text.removeprefix("[").removesuffix("]"))
        except ValueError as exc:
            raise UnusableUrl("its host is no IPv6 address") from exc
        if not text.endswith("]") or inner.scope_id is not None:
            raise UnusableUrl("its host is no IPv6 address, or one with a zone")
        return inner.compressed
    if _NUMBER.fullmatch(text.rpartition(".")[2]):
        try:
            return IPv4Address(text).compressed
        except ValueError as exc:
            raise UnusableUrl("its host is a number, and not an address of four decimal parts") from exc
    if not _NAME.fullmatch(text):
        raise UnusableUrl("its host is neither a name nor an address")
    return text


def _segments(path: str) -> tuple[str, ...]:
    if _BAD_PERCENT.search(path):
        raise UnusableUrl("a percent sign in its path is not followed by two hex digits")
    segments = tuple(_segment(part) for part in path[1:].split("/"))
    if "" in segments[:-1]:
        raise UnusableUrl("its path has an empty segment")
    return () if segments == ("",) else segments


def _segment(part: str) -> str:
    try:
        text = unquote_to_bytes(part).decode("utf-8")
    except UnicodeDecodeError as exc:
        raise UnusableUrl("its path is not UTF-8") from exc
    if text in {".", ".."} or _NOT_IN_A_SEGMENT & set(text) or not text.isprintable():
        raise UnusableUrl("its path has '.', '..', ';' or an encoded separator in it")
    return text


@dataclass(frozen=True, slots=True)
class Prefix:
    """One entry of `commands.bundle_from`: everything on that server below that path."""

    url: Url

    @classmethod
    def parse(cls, entry: str) -> Prefix:
        """Reads an entry.

        Raises:
            UnusableUrl: with the reason in words.
        """
        url = parse_url(entry)
        if url.query or "?" in entry:
            raise UnusableUrl("an entry ends with a path, not with a query")
        segments = url.segments[:-1] if url.segments[-1:] == ("",) else url.segments
        return cls(Url(url.scheme, url.host, url.port, segments, ""))

    def covers(self, url: Url) -> bool:
        """Whether `url` is on the same server and at or below this path; segments count whole."""
        return url.origin == self.url.origin and url.segments[: len(self.url.segments)] == self.url.segments


_FORBIDDEN: tuple[tuple[IPv4Network | IPv6Network, str], ...] = (
    (IPv4Network("127.0.0.0/8"), "loopback"),
    (IPv4Network("169.254.0.0/16"), "link-local"),
    (IPv4Network("224.0.0.0/4"), "multicast"),
    (IPv4Network("0.0.0.0/8"), "unspecified"),
    (IPv4Network("240.0.0.0/4"), "reserved or broadcast"),
    (IPv6Network("::1/128"), "loopback"),
    (IPv6Network("fe80::/10"), "link-local"),
    (IPv6Network("ff00::/8"), "multicast"),
    (IPv6Network("::/128"), "unspecified"),
)
_NAT64_LOCAL = IPv6Network("64:ff9b:1::/48")
# whose last 32 bits are an IPv4 address: NAT64, its local twin, stateless translation (RFC 2765), "compatible" (RFC 4291)
_ENDS_IN_IPV4 = (IPv6Network("64:ff9b::/96"), _NAT64_LOCAL, IPv6Network("::ffff:0:0:0/96"), IPv6Network("::/96"))
_ISATAP = frozenset({0x00005EFE, 0x02005EFE})


def forbidden(address: Address) -> str | None:
    """Why no bundle is ever fetched from there unless the allow-list names that very address; None where it may be.

    Private networks are allowed: an update server in the same building is usual. IPv4 addresses inside IPv6 ones count as
    what they lead to.
    """
    for inner in (address, *_embedded(address)):
        for network, word in _FORBIDDEN:
            if inner.version == network.version and inner in network:
                return word if inner is address else f"{word} ({inner}) inside an IPv6 address"
    return None


def _embedded(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses to which a translator or tunnel would carry packets for this one."""
    if isinstance(address, IPv4Address):
        return
    bits = int(address)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
    if address.sixtofour is not None:
        yield address.sixtofour
    if address.teredo is not None:
        yield from address.teredo
    if any(address in network for network in _ENDS_IN_IPV4) and bits > 1:
        yield IPv4Address(bits & 0xFFFFFFFF)
    if address in _NAT64_LOCAL:  # RFC 6052: with a prefix of 48 bits the address lies around bits 64 to 71
        yield IPv4Address((bits >> 64 & 0xFFFF) << 16 | bits >> 40 & 0xFFFF)
    if bits >> 32 & 0xFFFFFFFF in _ISATAP:
        yield IPv4Address(bits & 0xFFFFFFFF)

"""Who may ask what. Pure policy over what a request says of itself; the only state is a bounded table of wrong guesses."""

from __future__ import annotations

import hmac
import ipaddress
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from camagent.web.address import is_loopback, may_be_asked
from camagent.web.refusals import (
    CrossSite,
    HeadTooLarge,
    HostUnknown,
    LengthRequired,
    QueryInvalid,
    TokenNeeded,
    TokenWrong,
    TooLarge,
    TooManyFailures,
)

MARKER = "X-Camagent"  # a header that no form can send, and no page elsewhere without asking first
FAILURES, FAILURES_S = 5, 60.0
HEAD_BYTES = 16 * 1024
_ADDRESSES = 256  # that are remembered
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_OPEN = frozenset({"/healthz", "/"})  # for everybody who may connect; and the files that the page consists of:
_PAGE = "/page/"
_ELSEWHERE = frozenset({"cross-site", "same-site"})  # it could not read the answer, but make the agent draw and send pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request says, and what the kernel says of its connection."""

    method: str
    path: str
    scheme: str
    client: str
    local: tuple[str, int]
    host: str = ""
    origin: str | None = None
    fetch_site: str | None = None  # what a browser says of the page that asks: same-origin, cross-site, none ..
    authorization: str | None = None
    marker: str | None = None
    content_length: str | None = None
    transfer_encoding: str | None = None
    head_bytes: int = 0

    @property
    def changes(self) -> bool:
        """Whether it asks for more than to be told something."""
        return self.method not in _READS


@dataclass(slots=True)
class Failures:
    """Wrong tokens per address within a minute. Belongs to one thread; it never holds more than 256 addresses."""

    _times: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)

    def note(self, client: str, now: float) -> None:
        """One more."""
        times = self._times.setdefault(_network(client), deque(maxlen=FAILURES))
        times.append(now)
        self._times.move_to_end(_network(client))
        while len(self._times) > _ADDRESSES:
            self._times.popitem(last=False)

    def wait_s(self, client: str, now: float) -> float:
        """Seconds until this address may try again; 0 for at once."""
        times = self._times.get(_network(client))
        return max(0.0, times[0] + FAILURES_S - now) if times and len(times) == FAILURES else 0.0


def judge(asked: Asked, *, hosts: Sequence[str], token: str | None, failures: Failures, now: float) -> None:
    """Lets a request through, or raises what stands against it. `now` is monotonic.

    Raises:
        HeadTooLarge, HostUnknown, TokenNeeded, TokenWrong, TooManyFailures, CrossSite.
    """
    if asked.head_bytes > HEAD_BYTES:
        raise HeadTooLarge(
            "the request's head is too long",
            evidence={"bytes": asked.head_bytes, "limit": HEAD_BYTES},
            fix="send fewer and shorter headers",
        )
    if not may_be_asked(asked.host, hosts, scheme=asked.scheme, local=asked.local):
        raise HostUnknown(
            "this agent is not known under the name in the Host header",
            evidence={"Host": asked.host or "none", "web.hosts": ", ".join(hosts) or "none"},
            fix="ask for it by the address it listens on, or add the name to web.hosts",
        )
    if not asked.changes and (asked.path in _OPEN or asked.path.startswith(_PAGE)):
        return
    if token is not None:
        _require_token(asked, token, failures, now)
    elif asked.changes:
        _require_same_site(asked)
    elif asked.fetch_site in _ELSEWHERE:
        raise CrossSite(
            "a page of another origin asks", evidence={"Sec-Fetch-Site": asked.fetch_site or ""},
            fix="use the agent's own page, or the camagent command line",
        )  # fmt: skip


def body_length(asked: Asked, limit: int) -> int:
    """The bytes that the body will have, known before one is read. Raises LengthRequired, QueryInvalid or TooLarge."""
    if asked.transfer_encoding is not None or asked.content_length is None:
        raise LengthRequired(
            "the request does not say how long its body is",
            evidence={
                "Content-Length": asked.content_length or "none", "Transfer-Encoding": asked.transfer_encoding or "none",
            },
            fix="send a Content-Length, and no chunks: with curl, --data-binary @FILE or -T FILE",
        )  # fmt: skip
    if not (asked.content_length.isascii() and asked.content_length.isdigit() and len(asked.content_length) < 20):
        raise QueryInvalid(
            "the Content-Length is no number", evidence={"Content-Length": asked.content_length}, fix="send the file's size"
        )
    length = int(asked.content_length)
    if length > limit:
        raise TooLarge(
            "the body is longer than anything that is read here", evidence={"Content-Length": length, "limit": limit},
            fix="send what belongs here: a .cambundle file, or a chain of root.json files",
        )  # fmt: skip
    return length


@dataclass(slots=True)
class Pace:
    """How fast a body has to come: a window's time spent waiting must have brought some bytes.

    Only waiting for the other side counts; what the agent itself needs to store and to check is its own affair.
    """

    window_s: float
    least: int
    _waited: float = 0.0
    _came: int = 0

    def too_slow(self, waited_s: float, came: int) -> bool:
        """Takes in one wait and what it brought."""
        self._waited += waited_s
        self._came += came
        if self._waited < self.window_s:
            return False
        slow = self._came < self.least
        self._waited, self._came = 0.0, 0
        return slow


def _require_token(asked: Asked, token: str, failures: Failures, now: float) -> None:
    wait_s = failures.wait_s(asked.client, now)
    if wait_s > 0:
        raise TooManyFailures(
            f"{FAILURES} wrong tokens within a minute came from this address",
            evidence={"address": asked.client, "seconds to wait": round(wait_s)},
            fix="wait, then ask with the token of web.token_file",
        )
    scheme, _, given = (asked.authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not given.strip():
        raise TokenNeeded(
            "this agent answers only who has its token", evidence={"Authorization": "no Bearer token" if scheme else "none"},
            fix="send 'Authorization: Bearer TOKEN'; bundle push and trust install take --token-file",
        )  # fmt: skip
    if not hmac.compare_digest(given.strip().encode("latin-1", "replace"), token.encode()):
        failures.note(asked.client, now)
        raise TokenWrong(
            "the token is not this agent's", evidence={"characters sent": len(given.strip())},
            fix="take the token from the file that web.token_file names on the camera",
        )  # fmt: skip


def _require_same_site(asked: Asked) -> None:
    """Without a token only this machine may change anything, and no page that a browser on it has open."""
    own = f"{asked.scheme}://{asked.host}".lower()
    if not is_loopback(asked.client):
        raise TokenNeeded(
            "changes from another machine need a token", evidence={"address": asked.client}, fix="set web.token_file"
        )
    if asked.origin is not None and asked.origin.lower() != own:
        raise CrossSite(
            "a page of another origin asks for a change", evidence={"Origin": asked.origin, "this agent": own},
            fix="use the agent's own page, or the camagent command line",
        )  # fmt: skip
    if asked.marker != "1":
        raise CrossSite(
            f"a change needs the header {MARKER}: 1, which no form of another page can send",
            evidence={MARKER: asked.marker or "none"},
            fix=f"send it: with curl, -H '{MARKER}: 1'",
        )


def _network(client: str) -> str:
    """Who has one IPv6 address has 2^64 of them: they count as one."""
    try:
        address = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))

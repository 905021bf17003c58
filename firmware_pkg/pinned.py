"""One HTTP request over one connection to one address: the address that was checked, whatever the name resolves to by now.

`requests` does the speaking, through its adapter alone: no session, so no cookies, no netrc, no proxy from the environment
and no redirect that is followed unseen. The connection pool is given the *address*; TLS and the Host header get the name.
"""

from __future__ import annotations

import os
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, ReadTimeoutError

from firmware_pkg.addresses import Url
from firmware_pkg.early import Attentive
from firmware_pkg.order import ClientCertificate

Opened: TypeAlias = Callable[[socket.socket], None]
PeerCheck: TypeAlias = Callable[[bytes], None]  # the server's certificate, DER; raises to end the connection
BLOCK = 64 * 1024  # bytes of an upload that are sent at once
_CLOCK_ERRORS = frozenset({9, 10})  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED


class _Plain(Attentive):
    def __init__(self, *args: Any, opened: Opened, **options: Any) -> None:
        super().__init__(*args, **options)
        self._opened = opened

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self._opened(sock)
        return sock


class _Tls(_Plain, HTTPSConnection):
    def __init__(self, *args: Any, peer: PeerCheck | None, **options: Any) -> None:
        super().__init__(*args, **options)
        self._peer = peer

    def connect(self) -> None:
        super().connect()
        if self._peer is not None:
            assert isinstance(self.sock, ssl.SSLSocket)
            self._peer(self.sock.getpeercert(binary_form=True) or b"")
            self.is_verified = True


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class Pinned(HTTPAdapter):
    """`requests`' way to one server at one address."""

    def __init__(
        self, url: Url, address: str, tls: ssl.SSLContext | None, *, opened: Opened = lambda _: None,
        peer: PeerCheck | None = None, send_s: float | None = None,
    ) -> None:  # fmt: skip
        """Connects to nothing yet. `opened` hears of the socket at once, `peer` of the certificate before a byte is sent.

        `send_s` is for uploads: seconds that a block may take; an answer is heard while they are being sent.
        """
        super().__init__()
        usual: dict[str, Any] = {"blocksize": BLOCK, "opened": opened, "send_s": send_s}
        self._pool: HTTPConnectionPool = (
            _TlsPool(address, url.port, ssl_context=tls, server_hostname=url.host, peer=peer, **usual)
            if url.scheme == "https"
            else _PlainPool(address, url.port, **usual)
        )

    def get_connection_with_tls_context(self, request: Any, verify: Any, proxies: Any = None, cert: Any = None) -> Any:  # noqa: ARG002  requests' signature
        """The one pool there is."""
        return self._pool

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Nothing: the TLS context verifies, and requests' own list of authorities must not be added to it."""

    def ask(
        self, url: Url, headers: Mapping[str, str], timeouts: tuple[float, float], *, method: str = "GET", body: Any = None
    ) -> Response:
        """Sends a request and returns when the answer's head is here. The URL goes out as it is, normalised by nobody."""
        request = PreparedRequest()
        request.prepare_method(method)
        request.prepare_headers({"Host": url.authority, "Connection": "close", "User-Agent": "camagent", **headers})
        request.url, request.body = str(url), body
        return self.send(request, stream=True, timeout=timeouts, proxies={})

    def close(self) -> None:
        """Closes the connection."""
        self._pool.close()
        super().close()


def tls_context(ca_file: Path | None = None, client: ClientCertificate | None = None) -> ssl.SSLContext:
    """Whom TLS trusts: that file; else the machine's own authorities; where it has none, those that come with `requests`.

    `client` is shown to servers that ask for it.

    Raises:
        OSError: a file cannot be read, or does not hold what it should.
    """
    known = ca_file or (None if _has_authorities(ssl.get_default_verify_paths()) else DEFAULT_CA_BUNDLE_PATH)
    context = ssl.create_default_context(cafile=known)
    if client is not None:
        context.load_cert_chain(client.cert, client.key, password=_no_passphrase)
    return context


def _no_passphrase() -> str:
    """Nobody is there to be asked for one."""
    return ""


def _has_authorities(places: ssl.DefaultVerifyPaths) -> bool:
    return bool(places.cafile) or (bool(places.capath) and any(Path(places.capath).glob("*.0")))


def causes(exc: BaseException) -> Iterator[BaseException]:
    """An exception and everything that led to it, as libraries wrap it."""
    todo: list[object] = [exc]
    seen: set[int] = set()
    while todo:
        one = todo.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        todo += [getattr(one, "reason", None), *one.args, one.__cause__, one.__context__]


def untrusted(exc: BaseException) -> ssl.SSLCertVerificationError | None:
    """The TLS verdict in it, if that is what it is about."""
    return next((one for one in causes(exc) if isinstance(one, ssl.SSLCertVerificationError)), None)


def untrusted_evidence(verdict: ssl.SSLCertVerificationError, expected: str) -> dict[str, object]:
    """Both sides of a TLS verdict; with the clock where the dates decided."""
    found = {"expected": expected, "found": verdict.verify_message}
    if verdict.verify_code in _CLOCK_ERRORS:
        found["time of this device"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return dict(found)


def in_words(exc: BaseException) -> str:
    """What went wrong with a connection. Never the exception's own text: it may hold what the server sent."""
    chain = list(causes(exc))
    for one in chain:
        if isinstance(one, ssl.SSLError):
            return f"TLS failed: {one.reason or 'the connection ended'}"
        if isinstance(one, OSError) and one.errno:
            return os.strerror(one.errno)
    if any(isinstance(one, ConnectTimeoutError) for one in chain):
        return "the address did not answer in time"
    if any(isinstance(one, ReadTimeoutError | TimeoutError) for one in chain):
        return "the server fell silent"
    return "the server ended the connection early, or its answer is no HTTP"

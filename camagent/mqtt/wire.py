"""The way to the broker: URL, TCP, TLS and WebSocket. What goes wrong here is named in words before MQTT has begun."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias
from urllib.parse import urlsplit

from paho.mqtt.client import WebsocketConnectionError, _WebsocketWrapper

from camagent.clock import Clock
from camagent.config import Mqtt
from camagent.errors import BrokerError, ConfigError, printable

CONNECT_TIMEOUT_S = 5.0
_READ_AHEAD = 4096  # bytes
_SCHEMES = {"mqtt": (1883, False, False), "mqtts": (8883, True, False), "ws": (80, False, True), "wss": (443, True, True)}
_NOT_YET_VALID = 9  # X509_V_ERR_CERT_NOT_YET_VALID

State: TypeAlias = Literal["connecting", "connected", "refused", "unreachable", "stopped"]
MQTT_UNREACHABLE = "mqtt-unreachable"
TLS_UNTRUSTED = "tls-untrusted"
TLS_CLOCK_WRONG = "tls-clock-wrong"
AUTH_REFUSED = "mqtt-auth-refused"


class LinkError(BrokerError):
    """No connection. `state` and `reason` are what `health` shows."""

    def __init__(self, what: str, *, fix: str, reason: str = MQTT_UNREACHABLE, state: State = "unreachable") -> None:
        super().__init__(what, fix=fix)
        self.reason = reason
        self.state = state


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the broker listens."""

    scheme: str
    host: str
    port: int
    path: str
    tls: bool
    websocket: bool

    @classmethod
    def parse(cls, url: str) -> Endpoint:
        """Reads `mqtt.url`.

        Raises:
            ConfigError: it is no URL of a broker, or there are credentials in it.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as exc:
            raise ConfigError(f"mqtt.url is no URL: {printable(exc)}", fix="write mqtt://HOST:PORT") from exc
        if parts.scheme not in _SCHEMES or not host:
            raise ConfigError(
                "mqtt.url does not name a broker",
                fix="write mqtt://HOST[:PORT], mqtts://, ws:// or wss://",
                evidence={"mqtt.url": printable(url.rpartition("@")[2])},
            )
        if parts.username is not None or parts.password is not None:
            raise ConfigError(
                "mqtt.url holds a user name or password",
                fix="put them into mqtt.username and mqtt.password_file; a URL ends up in logs",
            )
        default, tls, websocket = _SCHEMES[parts.scheme]
        path = (parts.path or "/mqtt") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, host, port or default, path, tls, websocket)

    def __str__(self) -> str:
        """The broker's address, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class _Socket(Protocol):
    """What TCP sockets, TLS sockets and paho's WebSocket have in common."""

    def recv(self, length: int, /) -> bytes: ...
    def send(self, data: bytes | bytearray, /) -> int: ...
    def close(self) -> None: ...
    def fileno(self) -> int: ...
    def setblocking(self, flag: bool, /) -> None: ...  # noqa: FBT001  Python's own signature


class Wire:
    """A socket as paho uses one, that also remembers when it was last heard, what broke it and how the broker began.

    paho asks for a packet's first byte, then for its length byte by byte, then for the rest: the system is asked once.
    """

    def __init__(self, inner: _Socket, clock: Clock, max_incoming: int) -> None:
        self._inner = inner
        self._clock = clock
        self._max_incoming = max_incoming
        self._ahead = b""  # read, and not asked for yet
        self.heard = clock.monotonic()
        self.error: OSError | None = None
        self.head = b""  # the first bytes the broker sent

    def recv(self, length: int) -> bytes:
        """Reads; paho asks for the whole rest of a packet, so that a packet too big to keep is noticed before it is read."""
        if length > self._max_incoming:
            self.error = ConnectionAbortedError(f"the broker sent a packet of {length} bytes, more than {self._max_incoming}")
            raise self.error
        if not self._ahead:
            self._ahead = self._read(max(length, _READ_AHEAD))
        data, self._ahead = self._ahead[:length], self._ahead[length:]
        return data

    def _read(self, length: int) -> bytes:
        try:
            data = self._inner.recv(length)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as exc:
            self.error = exc
            raise
        if data:
            self.heard = self._clock.monotonic()
            if len(self.head) < 4:
                self.head = (self.head + data)[:4]
        return data

    def send(self, data: bytes | bytearray) -> int:
        """Writes; paho loses the packet when its own WebSocket takes a part of a frame and says 0, so that is 'try again'."""
        try:
            sent = self._inner.send(data)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError as exc:
            self.error = exc
            raise
        if not sent:
            raise BlockingIOError
        return sent

    def pending(self) -> int:
        """Bytes that have been read already, by us or by TLS, and that poll() does not see."""
        pending = getattr(self._inner, "pending", None)
        return len(self._ahead) + (int(pending()) if pending is not None else 0)

    def close(self) -> None:
        """Closes the connection."""
        self._inner.close()

    def fileno(self) -> int:
        """For poll()."""
        return self._inner.fileno()

    def setblocking(self, flag: bool) -> None:  # noqa: FBT001  paho's protocol
        """Blocking while connecting, never after."""
        self._inner.setblocking(flag)


def open_wire(endpoint: Endpoint, config: Mqtt, clock: Clock, max_incoming: int) -> Wire:
    """Connects, blocking for at most some seconds.

    Raises:
        LinkError: with what is wrong, in words.
    """
    context = _tls_context(config) if endpoint.tls else None
    try:
        raw = socket.create_connection((endpoint.host, endpoint.port), timeout=CONNECT_TIMEOUT_S)
    except OSError as exc:
        raise _unreachable(endpoint, exc) from exc
    inner: _Socket = raw
    try:
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, config.keepalive_s * 2000)
        if context is not None:
            raw = context.wrap_socket(raw, server_hostname=endpoint.host, do_handshake_on_connect=False)
            inner = raw
            raw.do_handshake()
        if endpoint.websocket:
            inner = _WebsocketWrapper(raw, endpoint.host, endpoint.port, endpoint.tls, endpoint.path, None)
    except WebsocketConnectionError as exc:
        raw.close()
        raise LinkError(
            f"{endpoint} does not speak MQTT over WebSocket at {endpoint.path}",
            fix="check mqtt.url: port and path of the broker's WebSocket listener",
        ) from exc
    except OSError as exc:
        raw.close()
        raise explain(endpoint, exc) from exc
    return Wire(inner, clock, max_incoming)


def _tls_context(config: Mqtt) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file is not None:
            context.load_cert_chain(config.cert_file, config.key_file)
    except (OSError, ValueError) as exc:
        files = ", ".join(str(path) for path in (config.ca_file, config.cert_file, config.key_file) if path is not None)
        raise LinkError(f"the TLS files cannot be used: {printable(exc)}", fix=f"check {files}", reason=TLS_UNTRUSTED) from exc
    return context


def explain(endpoint: Endpoint, exc: OSError) -> LinkError:
    """What an error of the connection means."""
    if isinstance(exc, ssl.SSLCertVerificationError):
        if exc.verify_code == _NOT_YET_VALID:
            now = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
            return LinkError(
                f"the certificate of {endpoint} is not valid yet: this device's clock says {now} UTC",
                fix="set the clock (NTP before MQTT)",
                reason=TLS_CLOCK_WRONG,
            )
        return LinkError(
            f"the certificate of {endpoint} is not trusted: {printable(exc.verify_message)}",
            fix="mqtt.ca_file must hold the CA that signed it, and mqtt.url the name that stands in it",
            reason=TLS_UNTRUSTED,
        )
    if isinstance(exc, ssl.SSLError):
        why = printable(exc.reason or exc)
        if "ALERT" in why.upper():
            return LinkError(
                f"{endpoint} refuses our side of TLS: {why}",
                fix="mqtt.cert_file and key_file must be what the broker's CA has signed",
                reason=TLS_UNTRUSTED,
            )
        return LinkError(f"TLS with {endpoint} failed: {why}", fix="does the broker speak TLS on this port?")
    return _unreachable(endpoint, exc)


def _unreachable(endpoint: Endpoint, exc: OSError) -> LinkError:
    if isinstance(exc, socket.gaierror):
        return LinkError(
            f"the name {printable(endpoint.host)} of the broker is not known: {printable(exc.strerror)}",
            fix="check the host in mqtt.url and the DNS server of this device",
        )
    if isinstance(exc, TimeoutError):
        return LinkError(f"{endpoint} does not answer", fix="check address, port and firewall")
    return LinkError(
        f"{endpoint} cannot be reached: {printable(exc.strerror or exc)}",
        fix="check that the broker runs and listens on this address (127.0.0.1 is this machine itself)",
    )


def password(config: Mqtt) -> str | None:
    """The password as its file holds it now; it is read at every connection, so that it can be changed.

    Raises:
        LinkError: the file cannot be read.
    """
    if config.password_file is None:
        return None
    try:
        return config.password_file.read_text(encoding="utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as exc:
        cause = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8"
        raise LinkError(
            f"the password file {config.password_file} cannot be read: {cause}",
            fix="check mqtt.password_file and its permissions",
            reason=AUTH_REFUSED,
        ) from exc

"""A real mosquitto on a free port, with the configuration a test needs, and the certificates for it.

It is bound to the process that started it and ends with it.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties


def free_port(host: str = "127.0.0.1") -> int:
    with socket.create_server((host, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for(condition: Callable[[], object], timeout_s: float = 10.0, what: str = "") -> None:
    """Waits until the condition holds; fails with `what` when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {timeout_s} s: {what or condition}")
        time.sleep(0.01)


def _executable() -> str:
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    if found is None:
        pytest.skip("mosquitto is not installed")
    return found


class Broker:
    """One mosquitto; `extra` are lines of its configuration. It keeps port and data over `stop` and `start`."""

    def __init__(self, folder: Path, extra: Sequence[str] = ("allow_anonymous true",), host: str = "127.0.0.1") -> None:
        self.folder = folder / "mosquitto"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.host, self.port = host, free_port(host)
        self.log = self.folder / "log"
        lines = [f"listener {self.port} {host}", *extra, "max_queued_messages 0"]
        lines += [f"log_dest file {self.log}", "log_type all"]
        if os.geteuid() == 0:
            lines.insert(0, "user root")
        self.config = self.folder / "mosquitto.conf"
        self.config.write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"mqtt://{self.host}:{self.port}"

    def start(self) -> None:
        bind = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self._process = subprocess.Popen([*bind, _executable(), "-c", self.config], stderr=subprocess.DEVNULL)
        wait_for(self._answers, what=f"mosquitto on port {self.port}")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            pytest.fail(f"mosquitto ended: {self.log.read_text() if self.log.exists() else self.config.read_text()}")
        try:
            socket.create_connection((self.host, self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(10)
            self._process = None


@contextmanager
def running(folder: Path, extra: Sequence[str] = ("allow_anonymous true",)) -> Iterator[Broker]:
    broker = Broker(folder, extra)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def persistent(folder: Path) -> tuple[str, ...]:
    """Configuration of a broker that keeps its sessions over a restart."""
    return ("allow_anonymous true", "persistence true", f"persistence_location {folder}/", "autosave_interval 1")


def password_file(folder: Path, users: dict[str, str]) -> Path:
    path = folder / "passwords"
    path.write_text("".join(f"{user}:{secret}\n" for user, secret in users.items()))
    tool = shutil.which("mosquitto_passwd") or pytest.skip("mosquitto_passwd is not installed")
    subprocess.run([tool, "-U", path], check=True)
    return path


class Subscriber:
    """Somebody who listens, with a session that the broker keeps while it is away. Collects (topic, payload) in order."""

    def __init__(self, port: int, topic: str = "#", client_id: str = "subscriber") -> None:
        self.got: list[tuple[str, bytes]] = []
        self.retained: list[bool] = []
        self.qos: list[int] = []
        self._topic = topic
        self._ready = threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id, protocol=MQTTProtocolVersion.MQTTv5)
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe(self._topic, qos=1)
        self.client.on_subscribe = lambda *_: self._ready.set()
        self.client.on_message = self._take
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = 3600
        self.client.connect("127.0.0.1", port, clean_start=False, properties=properties)
        self.client.loop_start()
        if not self._ready.wait(10):
            pytest.fail("the subscriber could not subscribe")

    def _take(self, _client: Client, _data: object, message: MQTTMessage) -> None:
        self.got.append((message.topic, bytes(message.payload)))
        self.retained.append(message.retain)
        self.qos.append(message.qos)

    def on(self, topic: str) -> list[bytes]:
        return [payload for at, payload in list(self.got) if at == topic]

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def subscribed(port: int, topic: str = "#", client_id: str = "subscriber") -> Iterator[Subscriber]:
    subscriber = Subscriber(port, topic, client_id)
    try:
        yield subscriber
    finally:
        subscriber.close()


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path


class Authority:
    """A certificate authority for one test."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.file = self._write(f"{name}.pem", self._sign(self._name, self._key, ca=True))

    def issue(self, name: str, *, starts_in_days: int = -1) -> Certificate:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        cert = self._write(f"{name}.pem", self._sign(subject, key, ca=False, starts_in_days=starts_in_days))
        path = self._folder / f"{name}.key"
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
            )
        )
        return Certificate(cert, path)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool, starts_in_days: int = -1
    ) -> x509.Certificate:
        start = dt.datetime.now(dt.UTC) + dt.timedelta(days=starts_in_days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(start)
            .not_valid_after(start + dt.timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if not ca:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def _write(self, name: str, certificate: x509.Certificate) -> Path:
        path = self._folder / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path

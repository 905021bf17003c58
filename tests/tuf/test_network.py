"""Endless, slow, broken and foreign answers; TLS, redirects, proxies, addresses."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from camagent import fetching
from firmware_pkg.order import Limits
from tests.support.http_server import Request, Server, head, serving
from tests.support.tls import Authority
from tests.support.tuf_scene import Scene


class Endless:
    """Sends for ever, as fast as it is read; `sent` bytes in all."""

    def __init__(self) -> None:
        self.sent = 0

    def __call__(self, server: Server, request: Request, wire: socket.socket) -> None:
        wire.sendall(head(200))
        while not server.over.is_set():
            wire.sendall(b" " * 65536)
            self.sent += 65536


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_endless_metadata(scene: Scene, name: str) -> None:
    scene.publish("1.0.0")
    endless = scene.server.faults[name] = Endless()
    scene.refused("DOWNLOAD_FAILED", "reason = too-large")
    assert endless.sent < 8 * 2**20, "no more than what was read and what lies in the sockets"


def test_an_endless_target(scene: Scene) -> None:
    scene.publish("1.0.0")
    endless = scene.server.faults["targets/"] = Endless()
    scene.refused("DOWNLOAD_FAILED", "reason = ")
    assert endless.sent < 8 * 2**20


def dripping(server: Server, request: Request, wire: socket.socket) -> None:
    """A byte now and then: no time-out of a socket is ever met."""
    wire.sendall(head(200))
    while not server.over.wait(0.1):
        wire.sendall(b"{")


@pytest.mark.parametrize("name", ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "targets/"])
def test_slow_retrieval(scene: Scene, name: str) -> None:
    scene.publish("1.0.0")
    scene.server.faults[name] = dripping
    scene.refused("DOWNLOAD_FAILED", "reason = too-slow", "1024 bytes per second")


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "first byte": lambda data: b"X" + data[1:],
    "a byte of the model": lambda data: data[:6000] + bytes([data[6000] ^ 1]) + data[6001:],
    "truncated": lambda data: data[:5000],
    "longer": lambda data: data + data,
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_target_that_is_not_the_one_that_is_listed(scene: Scene, spoil: str) -> None:
    scene.publish("1.0.0")
    path = scene.target("1.0.0")
    data = path.read_bytes()
    path.write_bytes(SPOILED[spoil](data))
    scene.refused("DOWNLOAD_FAILED", "reason = ")
    path.write_bytes(data)
    scene.takes("1.0.0")


def truncating(server: Server, request: Request, wire: socket.socket) -> None:
    wire.sendall(head(200, "Content-Length: 5000") + b"{" * 100)


def test_metadata_that_breaks_off(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.server.faults["timestamp.json"] = truncating
    scene.refused("DOWNLOAD_FAILED", "reason = unreachable", exit_code=3)


def test_a_repository_that_is_not_reached_is_exit_code_3(scene: Scene) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    scene.server.url = f"http://127.0.0.1:{port}/"
    scene.refused("DOWNLOAD_FAILED", "reason = unreachable", exit_code=3)


def test_no_repository_there(scene: Scene) -> None:
    scene.refused("DOWNLOAD_FAILED", "reason = http-status", "found = 404", "timestamp.json")


@pytest.mark.parametrize(
    "content", [b"", b"<html>maintenance</html>", b"[" * 60000, b'{"signed": {}, "signatures": []}', b"\xff"]
)
def test_what_is_no_metadata(scene: Scene, content: bytes) -> None:
    scene.publish("1.0.0")
    scene.metadata("timestamp.json").write_bytes(content)
    scene.refused("REPOSITORY_INVALID", "the repository's timestamp")


def test_a_web_server_that_answers_with_a_page_where_a_file_is_missing(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.metadata("2.root.json").write_bytes(b"<html>not here</html>")
    scene.refused("REPOSITORY_INVALID", "2.root.json", "404")


def test_over_https_with_the_right_authority_and_only_with_it(scene: Scene) -> None:
    scene.publish("1.0.0")
    authority = Authority(scene.folder)
    with serving(scene.server, tls=authority.issue("127.0.0.1").server()) as secure:
        scene.server.url = secure.url("/")
        scene.refused("DOWNLOAD_FAILED", "reason = tls", exit_code=3)
        with Path(scene.config).open("a") as config:
            config.write(f'[fleet.tuf]\nurl = "{scene.server.url}"\nca_file = "{authority.file}"\n')
        scene.takes("1.0.0")


def test_no_redirect_leads_to_another_server(scene: Scene) -> None:
    scene.publish("1.0.0")
    with serving(lambda _server, _request, wire: wire.sendall(head(200))) as other:
        location = other.url("/metadata/timestamp.json")
        scene.server.faults["timestamp.json"] = lambda _server, _request, wire: wire.sendall(head(302, f"Location: {location}"))
        scene.refused("DOWNLOAD_FAILED", "reason = redirected")
        assert other.connections == 0


def test_compressed_metadata_is_not_unpacked(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.server.faults["timestamp.json"] = lambda _server, _request, wire: wire.sendall(
        head(200, "Content-Encoding: gzip", "Content-Length: 3") + b"abc"
    )
    scene.refused("DOWNLOAD_FAILED", "reason = encoded")


def test_no_proxy_of_the_environment_is_asked(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.publish("1.0.0")
    with serving(lambda _server, _request, wire: wire.sendall(head(200))) as proxy:
        for name in ("http_proxy", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        scene.takes("1.0.0")
        assert proxy.connections == 0


@pytest.mark.parametrize(
    "url", ["ftp://updates.example/", "https://user:hunter2@updates.example/", "https://updates.example/?a=b"]
)
def test_an_address_that_is_none(scene: Scene, url: str) -> None:
    assert scene.fetch(url=url) == 2
    err = scene.capsys.readouterr().err
    assert "error[CONFIG_INVALID]: fleet.tuf.url" in err
    assert "hunter2" not in err


def test_a_name_that_leads_to_this_machine_is_not_asked(scene: Scene) -> None:
    scene.publish("1.0.0")
    scene.server.url = scene.server.url.replace("127.0.0.1", "localhost")
    scene.refused("DOWNLOAD_FAILED", "reason = address-not-allowed")
    assert scene.server.asked == []


def test_slow_is_over_within_its_time(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadline holds for the whole of a file, whatever trickles in."""
    scene.publish("1.0.0")
    monkeypatch.setattr(fetching, "LIMITS", Limits(total_s=0.5, rate=1, window_s=60, first_tries=0))
    scene.server.faults["timestamp.json"] = dripping
    begun = time.monotonic()
    scene.refused("DOWNLOAD_FAILED", "reason = deadline", exit_code=3)
    assert time.monotonic() - begun < 60, "not for ever"

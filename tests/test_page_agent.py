"""The HTTP API of a real agent: a push from a workstation, and strangers while it goes on detecting."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support.agent import Agent, Listener, camagent, camera
from tests.support.broker import Broker, free_port
from tests.support.bundles import blob_picture, make_signed, make_unsigned, write_root
from tests.test_bundle_agent import confirmed

TOKEN = "correct-horse-battery-staple"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


def served(folder: Path, broker: Broker, port: int) -> Agent:
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(blob_picture())
    (folder / "token").write_text(TOKEN + "\n")
    section = camera(folder / "pictures", Path("blobs"), fps=10.0, publish="every-frame")
    web = f'[web]\nlisten = "127.0.0.1:{port}"\ntoken_file = "{folder}/token"\n'
    return Agent(folder, broker.port, section, agent=f'trust = "{folder}/root.json"\nallow_unsigned = true', more=web)


def test_a_push_from_a_workstation(tmp_path: Path, broker: Broker) -> None:
    port = free_port()
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"))
    push = ["--to", f"http://127.0.0.1:{port}", "--token-file", str(tmp_path / "token"), "--json"]
    with Listener(broker.port) as listener, served(tmp_path, broker, port):
        listener.wait("front/detections")
        done = camagent("bundle", "push", str(make_signed(tmp_path, version="2.0.0")), *push)
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert (said["accepted"], said["result"]["outcome"]) == (True, "trial")
        assert {step["id"]: step["status"] for step in said["steps"]}["golden"] == "pass"
        listener.wait("front/detections", lambda body: body["model"]["version"] == "2.0.0")
        done = camagent("bundle", "push", str(make_unsigned(tmp_path, version="3.0.0")), *push)
        assert done.returncode == 1
        assert json.loads(done.stdout)["code"] == "UNSIGNED_NOT_ALLOWED", "allow_unsigned never holds for a push"
        (tmp_path / "token").write_text("changed")
        (tmp_path / "old").write_text("wrong")
        wrong = ["--to", f"http://127.0.0.1:{port}", "--token-file", str(tmp_path / "old")]
        done = camagent("bundle", "push", str(make_signed(tmp_path, version="4.0.0")), *wrong)
        assert done.returncode == 1, done.stderr
        assert "error[" in done.stderr
        assert TOKEN not in done.stderr + done.stdout
    done = camagent("bundle", "push", str(make_signed(tmp_path, version="2.0.0")), *push)
    assert done.returncode == 3, "nobody is there"


class Strangers:
    """Threads that do what a page on another site, a guesser and a slow uploader would do; `answers` are what they got."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.answers: list[int] = []
        self._over = threading.Event()
        tasks = (self._rebind, self._post, self._guess, self._oversize, self._endless, self._slow)
        self._threads = [threading.Thread(target=self._again, args=(task,), daemon=True) for task in tasks]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(20)

    def _again(self, task: Any) -> None:
        while not self._over.wait(0.02):
            try:
                task()
            except (OSError, http.client.HTTPException):  # turned away without a word
                self.answers.append(0)

    def _ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            self.answers.append(connection.getresponse().status)
        finally:
            connection.close()

    def _rebind(self) -> None:
        self._ask("GET", "/api/status", Host="evil.example", Authorization=f"Bearer {TOKEN}")

    def _post(self) -> None:
        self._ask("POST", "/api/bundles/blobs/rollback", Origin="https://evil.example", Content_Type="text/plain")

    def _guess(self) -> None:
        self._ask("POST", "/api/bundles", b"x" * 100, Authorization="Bearer guess")

    def _oversize(self) -> None:
        self._ask("PUT", "/api/trust", Content_Length=str(1 << 40), Authorization="Bearer guess")

    def _endless(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 10) as wire:
            wire.sendall(b"POST /api/bundles HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(50):
                wire.sendall(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            self.answers.append(int(wire.recv(100).split()[1]))

    def _slow(self) -> None:
        with socket.create_connection(("127.0.0.1", self.port), 10) as wire:
            for char in b"GET /healthz HTTP/1.1\r\n":
                wire.sendall(bytes([char]))
                if self._over.wait(0.1):
                    return


def test_strangers_are_refused_and_the_agent_goes_on_detecting(tmp_path: Path, broker: Broker) -> None:
    port = free_port()
    write_root(tmp_path)
    confirmed(tmp_path, make_signed(tmp_path, version="1.0.0"), make_signed(tmp_path, version="2.0.0"))
    with Listener(broker.port) as listener, served(tmp_path, broker, port) as agent:
        listener.wait("front/detections", lambda body: body["seq"] >= 5)
        before = listener.bodies("front/detections")[-1]
        with Strangers(port) as strangers:
            time.sleep(6)
        after = listener.bodies("front/detections")[-1]
        rate = (after["seq"] - before["seq"]) / (after["time"] - before["time"])
        assert rate > 8, f"10 frames a second were wanted, {rate:.1f} came"
        assert after["model"]["version"] == "2.0.0", "nobody has rolled anything back"
        assert len(strangers.answers) > 50
        assert not {status for status in strangers.answers if status and status < 400}
        assert listener.bodies("bundle/state")[-1]["bundles"]["blobs"]["last_refusal"] is None
        assert agent.process is not None
        assert agent.process.poll() is None

"""A real Home Assistant in an environment of its own: the last version for Python 3.11, made once and kept in the cache.

It knows the form of one message per entity only; `Bridge` takes the device form apart for it, as newer versions do themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.broker import Subscriber
from tests.support.home_assistant import ABBREVIATIONS, SHARED, Json, checked

VERSION = "2024.3.3"
# what its MQTT integration and those that it loads with it need; the versions are its own
PACKAGES = (f"homeassistant=={VERSION}", "paho-mqtt==1.6.1", "numpy==1.26.0", "janus==1.0.0")
INSTALL_S, START_S, ANSWER_S = 900.0, 120.0, 60.0
WORKER = Path(__file__).with_name("home_assistant_worker.py")
MARKER = ".installed"


def environment() -> Path:
    """Its Python. Makes the environment where it is missing; skips with a sentence where that cannot be."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "camagent-tests"
    folder = base / f"homeassistant-{VERSION}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / "bin" / "python"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with (base / "homeassistant.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one makes it, the others wait
            if not (folder / MARKER).exists():
                run(sys.executable, "-m", "venv", "--clear", str(folder))
                run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *PACKAGES)
                (folder / MARKER).touch()
    except (OSError, subprocess.SubprocessError) as exc:
        why = getattr(exc, "stderr", "") or str(exc)
        pytest.skip(f"Home Assistant {VERSION} cannot be installed into {folder}: {why.strip().splitlines()[-1][:200]}")
    return python


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=INSTALL_S)


class RealHome:
    """One that is connected to a broker."""

    def __init__(self, python: Path, folder: Path, port: int) -> None:
        folder.mkdir()
        (folder / "configuration.yaml").touch()
        self.log = folder / "log"
        self._lines: queue.Queue[str] = queue.Queue()
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [str(python), "-P", str(WORKER), str(folder), str(port)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, cwd=folder,
            )  # fmt: skip
        threading.Thread(target=self._read, daemon=True).start()

    def __enter__(self) -> Self:
        try:
            assert self._next(START_S) == {"ready": True}
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._end()
        if exc is not None:
            print(self.log.read_text()[-3000:])

    def _end(self) -> None:
        with self._process:  # closes its pipes
            self._process.kill()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _next(self, timeout_s: float) -> Json:
        line = self._lines.get(timeout=timeout_s)
        assert line, f"it ended: {self.log.read_text()[-3000:]}"
        answer: Json = json.loads(line)
        return answer

    def ask(self, **question: Any) -> Json:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._next(ANSWER_S)

    def call(self, domain: str, service: str, entity: str) -> None:
        self.ask(call=[domain, service, entity])

    def state(self, entity: str) -> str | None:
        """None where there is no such entity."""
        found = self.ask(states=True).get(entity)
        return None if found is None else found[0]

    def wait(self, entity: str, state: str | None, timeout_s: float = 30) -> None:
        self.wait_for(lambda: self.state(entity) == state, timeout_s, f"{entity} {state}")

    def wait_for(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"not within {timeout_s} s: {what}; {self.ask(states=True)}"
            time.sleep(0.1)

    def complaints(self) -> list[str]:
        """What it has logged; this version says of the device form that it does not know it."""
        return [line for line in self.log.read_text().splitlines() if line and line != "Integration device is not supported"]


class Bridge:
    """Device form in, a message per entity out, kept by the broker as the first is."""

    def __init__(self, port: int) -> None:
        self._listening = Subscriber(port, "homeassistant/device/+/config", client_id="bridge")
        self._listening.client.on_message = lambda _c, _d, message: self._take(bytes(message.payload))
        self._told: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.close()

    def _take(self, payload: bytes) -> None:
        message = checked(payload) if payload else {"cmps": {}}
        for key, topic in list(self._told.items()):
            if not payload or set(message["cmps"].get(key, "x")) == {"p"}:
                self._tell(topic, b"")
                del self._told[key]
        for key, (platform, config) in apart(message).items():
            self._told[key] = f"homeassistant/{platform}/cam-01/{key.replace('.', '-')}/config"
            self._tell(self._told[key], json.dumps(config).encode())

    def _tell(self, topic: str, payload: bytes) -> None:
        self._listening.client.publish(topic, payload, 1, retain=True)


def apart(message: Json) -> dict[str, tuple[str, Json]]:
    """Key -> platform and the short message that one entity would have had."""
    shared = {key: value for key, value in message.items() if ABBREVIATIONS[key] in SHARED}
    made = {}
    for key, component in message["cmps"].items():
        if len(component) > 1:
            config = {**shared, **component, "dev": message["dev"], "o": message["o"]}
            made[key] = (config.pop("p"), config)
    return made

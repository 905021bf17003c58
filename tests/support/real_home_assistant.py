"""Real Home Assistants, each in an environment of its own that is made once and kept in the cache.

Newer ones take the device form. The last for Python 3.11 knows one message per entity only; `Bridge` takes the device form
apart for it, as the newer ones do themselves.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support.broker import Subscriber
from tests.support.home_assistant import ABBREVIATIONS, SHARED, Json, checked

INSTALL_S, START_S, ANSWER_S = 900.0, 120.0, 60.0
WORKER = Path(__file__).with_name("home_assistant_worker.py")
MARKER = ".installed"
NOT_OURS = (
    "img_util",  # a library that only other cameras need
    "helpers.frame: Detected code that calls async_forward_entry_setups",  # of its own code, and of how the worker starts it
    "Integration device is not supported",  # the old one of the device form, before the bridge has spoken
    "No device components to cleanup",  # the new one of its own clearing of the topic, after ours
)


@dataclass(frozen=True)
class Release:
    """One version of it, and what its MQTT integration needs beside it: the versions are its own."""

    version: str
    python: str
    more: tuple[str, ...]
    takes_devices: bool

    def __str__(self) -> str:
        return self.version


OLD = Release("2024.3.3", "3.11", ("paho-mqtt==1.6.1", "numpy==1.26.0", "janus==1.0.0"), takes_devices=False)
NEW = Release("2025.1.4", "3.12", ("paho-mqtt==1.6.1", "numpy==2.2.0"), takes_devices=True)


def environment(release: Release) -> Path:
    """Its Python. Makes the environment where it is missing; skips with a sentence where that cannot be."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / "camagent-tests"
    folder = base / f"homeassistant-{release.version}-py{release.python}"
    python = folder / "bin" / "python"
    if (folder / MARKER).exists():
        return python
    maker = _python(release.python)
    try:
        base.mkdir(parents=True, exist_ok=True)
        with (base / "homeassistant.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # one makes it, the others wait
            if not (folder / MARKER).exists():
                run(maker, "-m", "venv", "--clear", str(folder))
                wanted = (f"homeassistant=={release.version}", *release.more)
                run(str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *wanted)
                (folder / MARKER).touch()
    except (OSError, subprocess.SubprocessError) as exc:
        why = (getattr(exc, "stderr", "") or str(exc)).strip().splitlines()[-1][:200]
        pytest.skip(f"Home Assistant {release} cannot be installed into {folder}: {why}")
    return python


def _python(version: str) -> str:
    """An interpreter of this version; skips where there is none."""
    if version == f"{sys.version_info.major}.{sys.version_info.minor}":
        return sys.executable
    found = [shutil.which(f"python{version}"), *map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))]
    for candidate in filter(None, found):
        if subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return candidate
    pytest.skip(f"Python {version} is not here")


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
        """What it has said of us, in its log."""
        lines = self.log.read_text().splitlines()
        return [line for line in lines if line.startswith("homeassistant.") and not any(part in line for part in NOT_OURS)]


class Bridge:
    """Device form in, a message per entity out, kept by the broker as the first is; idle for those who take the device form."""

    def __init__(self, port: int, release: Release) -> None:
        self._idle = release.takes_devices
        self._listening = Subscriber(port, "homeassistant/device/+/config", client_id="bridge")
        self._listening.client.on_message = lambda _c, _d, message: self._take(bytes(message.payload))
        self._told: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._listening.close()

    def _take(self, payload: bytes) -> None:
        if self._idle:
            return
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

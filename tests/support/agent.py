"""A real agent as a child process, and a subscriber that checks every message against its published schema."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jsonschema
import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from camagent.bodies import schemas
from camagent.selftest import report, schema
from tests.support import onvif
from tests.support.data import shared

_DOCUMENTS = {**schemas(), report.SCHEMA: schema.schema()}
SCHEMAS = {name: jsonschema.Draft202012Validator(document) for name, document in _DOCUMENTS.items()}
Body = dict[str, Any]

FASTESTDET = (
    "--head", "fastestdet", "--labels", "coco80", "--color", "bgr", "--scale", "0.00392157", "--resize", "stretch",
    "--min-score", "0.65",
)  # fmt: skip
ULTRAFACE = (
    "--head",
    "ultraface",
    "--mean",
    "127,127,127",
    "--std",
    "128,128,128",
    "--resize",
    "stretch",
    "--min-score",
    "0.7",
)
SINET = ("--head", "semantic", "--color", "bgr", "--mean", "102.890434,111.25247,126.91212",
         "--std", "16047.8946,16019.4519,16920.704775", "--resize", "stretch")  # fmt: skip


def camagent(*arguments: str, timeout_s: float = 120, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "camagent", *arguments],
        capture_output=True, text=True, timeout=timeout_s, env={**os.environ, **environment},
    )  # fmt: skip


def make_bundle(folder: Path, model: str = "FastestDet.onnx", options: tuple[str, ...] = FASTESTDET, **labels: str) -> Path:
    path = folder / f"{Path(model).stem}.cambundle"
    arguments = list(options)
    if labels:
        (folder / "labels.txt").write_text("\n".join(labels.values()) + "\n")
        arguments += ["--labels", str(folder / "labels.txt")]
    done = camagent(
        "bundle", "create", str(shared(f"models/{model}")), "--name", Path(model).stem.lower(), "--version", "1.0.0",
        "-o", str(path), *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return path


class Listener:
    """Subscribes to everything below `prefix` and keeps it; a body that breaks its schema is a failure."""

    def __init__(
        self, port: int, topic: str = "camagent/#", *, strict: bool = True, host: str = "127.0.0.1", username: str = "",
        password: str = "",
    ) -> None:  # fmt: skip
        """`strict`: only agents speak here, so every JSON body (commands aside) names its schema and fits it."""
        self._strict = strict
        self.messages: list[tuple[str, bytes, bool]] = []
        self.wrong: list[str] = []
        self._lock = threading.Lock()
        self._ready = threading.Event()
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.on_message = self._receive
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_subscribe = lambda *_: self._ready.set()
        if username:
            self._client.username_pw_set(username, password)
        self._client.connect(host, port)
        self._client.loop_start()
        assert self._ready.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        assert exc is not None or not self.wrong, self.wrong

    def _receive(self, client: mqtt.Client, user: Any, message: mqtt.MQTTMessage) -> None:
        if self._strict and message.payload.startswith(b"{") and "/cmd/" not in message.topic:
            body = json.loads(message.payload)
            schema = onvif.VALIDATOR if "/onvif-mj/" in message.topic else SCHEMAS.get(body.get("schema"))
            errors = ["its schema is not known"] if schema is None else [e.message for e in schema.iter_errors(body)]
            self.wrong += [f"{message.topic}: {error}" for error in errors]
        with self._lock:
            self.messages.append((message.topic, bytes(message.payload), message.retain))

    def publish(self, topic: str, payload: bytes | str, *, retain: bool = False) -> None:
        self._client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(10)

    def payloads(self, suffix: str) -> list[bytes]:
        with self._lock:
            return [payload for topic, payload, _ in self.messages if topic.endswith(suffix)]

    def bodies(self, suffix: str) -> list[Body]:
        return [json.loads(payload) for payload in self.payloads(suffix) if payload]

    def clear(self) -> None:
        with self._lock:
            self.messages.clear()

    def wait(self, suffix: str, condition: Callable[[Body], bool] = lambda _: True, timeout_s: float = 20) -> Body:
        """The first body on a topic that fulfils the condition."""
        end = time.monotonic() + timeout_s
        while True:
            found = [body for body in self.bodies(suffix) if condition(body)]
            if found:
                return found[0]
            assert time.monotonic() < end, f"no {suffix} as wanted within {timeout_s} s; last: {self.bodies(suffix)[-1:]}"
            time.sleep(0.05)

    def wait_payload(self, suffix: str, payload: bytes, timeout_s: float = 20) -> None:
        end = time.monotonic() + timeout_s
        while payload not in self.payloads(suffix):
            assert time.monotonic() < end, f"{suffix} was never {payload!r}: {self.payloads(suffix)}"
            time.sleep(0.05)


class Agent:
    """`camagent run` as a child. `config` is written as given; its state lies in `folder`."""

    def __init__(
        self, folder: Path, port: int, cameras: str, *, mqtt: str = "", agent: str = "allow_unsigned = true", more: str = "",
        name: str = "cam-01", **environment: str,
    ) -> None:  # fmt: skip
        """`name`: its id. `agent`, `mqtt`: further keys of these sections. `more`: other sections, [web] off if not there."""
        self.folder, self.port, self.mqtt, self.agent_keys, self.name = folder, port, mqtt, agent, name
        self.more = more if "[web]" in more else '[web]\nlisten = ""\n' + more
        self.environment = {**os.environ, **environment}
        self.path = folder / "camagent.toml"
        self.write(cameras)
        self.prefix: Sequence[str] = ()  # what to put before the command
        self.more_arguments: Sequence[str] = ()  # and behind it
        self.process: subprocess.Popen[bytes] | None = None
        self.log = folder / "agent.log"

    def write(self, cameras: str) -> None:
        self.path.write_text(
            f'[agent]\nid = "{self.name}"\nstate_dir = "{self.folder}/state"\n{self.agent_keys}\n'
            f'[mqtt]\nurl = "mqtt://127.0.0.1:{self.port}"\n{self.mqtt}\n{self.more}\n{cameras}\n'
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()
        if exc is not None and self.log.exists():
            print(self.log.read_text()[-6000:])

    def start(self) -> None:
        with self.log.open("ab") as log:
            command = [*self.prefix, sys.executable, "-m", "camagent", "run", "-c", str(self.path), *self.more_arguments]
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=self.environment)

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self, timeout_s: float = 15) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.terminate()
        code = self.process.wait(timeout_s)
        self.process = None
        return code

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/task").iterdir()))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def rss_mib(self) -> float:
        return int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def camera(url: str | Path, bundle: Path, name: str = "front", **keys: Any) -> str:
    """A [[camera]] section."""
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
    return f'[[camera]]\nname = "{name}"\nurl = "{url}"\nbundle = "{bundle}"\n{lines}'


@contextmanager
def faketime(folder: Path, offset: str) -> Iterator[dict[str, str]]:
    """Environment that turns the wall clock of a child; write another offset into the file to step it while it runs."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
    if library is None:
        pytest.skip("faketime is not installed")
    file = folder / "faketime"
    file.write_text(offset)
    yield {
        "LD_PRELOAD": str(library), "FAKETIME_TIMESTAMP_FILE": str(file), "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }  # fmt: skip

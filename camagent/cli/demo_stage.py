"""The demo's set: keys, bundle, configuration and agent in a folder of their own, made with the commands that anybody types."""

from __future__ import annotations

import contextlib
import io
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import cv2
import numpy as np
import tomlkit

from camagent.demo.faults import Plan
from camagent.errors import Refusal, printable

CAMERA, AGENT, BUNDLE = "front", "demo", "roads"
WEB_PORT = 8420
FPS = 10.0
STOP_S, START_S, PAGE_S = 10.0, 60.0, 10.0
LOG = "agent.log"
_LOG_LINES, _POLL_S = 5, 0.1
_TRIES = 20
_GOLDEN = ("street-day.jpg=car:3,person:3,bicycle:1,road", "street-infrared.jpg=car,person:2,road,sidewalk")
_DARK = 12  # pictures, which play again from their start
Tell = Callable[[str], None]


class DemoFailed(Refusal):
    """One of the demo's own steps was refused."""

    code = "DEMO_FAILED"


@dataclass(frozen=True, slots=True)
class Stage:
    """Where everything lies."""

    folder: Path
    config: Path
    port: int  # of the page

    @property
    def page(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/"


def build(folder: Path, plan: Plan, broker: str, port: int, tell: Tell) -> Stage:
    """Makes it all; `port` is the page's, `tell` hears each command before it is run. Raises DemoFailed."""
    config = folder / "camagent.toml"
    with _files() as found:
        shutil.copytree(found, folder / "files")
    bundle = f"{BUNDLE}-1.0.0.cambundle"
    create = ["bundle", "create", "files/roads.onnx", "--name", BUNDLE, "--version", "1.0.0", "--head", "od-seg",
              "--labels", "files/labels.txt", *(word for option in plan.options.items() for word in option)]  # fmt: skip
    for golden in _GOLDEN:
        create += ["--golden", f"files/{golden}"]
    config.write_text(_configuration(folder, plan, broker, port, bundle), "utf-8")
    with contextlib.chdir(folder):
        _run(["key", "generate", "--out", "root"], tell)
        _run(["key", "generate", "--out", "signer"], tell)
        _run(["trust", "init", "--root-key", "root.pem", "--signer", "signer.pub.pem", "-o", "root.json"], tell)
        _run([*create, "-o", bundle], tell, may_disagree=plan.bundle == "file")
        if plan.bundle != "unsigned":
            _run(["bundle", "sign", bundle, "--key", "signer.pem"], tell)
        if plan.bundle == "store":
            _run(["bundle", "install", bundle, "-c", config.name], tell)
    return Stage(folder, config, port)


@contextmanager
def running(stage: Stage, tell: Tell) -> Iterator[subprocess.Popen[bytes]]:
    """The agent as a process of its own; it is stopped at the end, and waited for."""
    command = ["run", "-c", str(stage.config)]
    tell(shown(command))
    with (stage.folder / LOG).open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  a list, no shell
            [sys.executable, "-m", "camagent", *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    try:
        _answers(stage, process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def ended(process: subprocess.Popen[bytes], folder: Path) -> DemoFailed:
    """The agent has gone: what it said last."""
    last = (folder / LOG).read_text("utf-8", "replace").splitlines()[-_LOG_LINES:]
    return DemoFailed(
        f"the demo's agent has ended with {process.returncode}", evidence={"it said last": printable(" | ".join(last), 600)},
        fix="this is a defect in camagent: report it with the line above",
    )  # fmt: skip


def _answers(stage: Stage, process: subprocess.Popen[bytes]) -> None:
    """Waits until the agent can be asked. Raises DemoFailed where it ends, Unreachable where it never can.

    Then a while for its page, which a browser is sent to: where somebody else has taken the port meanwhile, the rest goes on.
    """
    from camagent.control import connect

    end = time.monotonic() + START_S
    while connect(stage.folder / "state", START_S) is None:
        if process.poll() is not None or time.monotonic() > end:
            raise ended(process, stage.folder)
        time.sleep(_POLL_S)
    end = time.monotonic() + PAGE_S
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", stage.port), PAGE_S).close()
        except ConnectionRefusedError:
            time.sleep(_POLL_S)
        else:
            return


def shown(command: Sequence[str]) -> str:
    """As somebody would type it."""
    return " ".join(["camagent", *command])


@contextmanager
def _files() -> Iterator[Path]:
    with as_file(files("camagent.demo") / "files") as found:
        yield found


def _run(command: Sequence[str], tell: Tell, *, may_disagree: bool = False) -> None:
    from camagent.cli import EXIT_FINDING, INTERRUPTED, run

    tell(shown(command))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = run(command)
    if code == INTERRUPTED:
        raise KeyboardInterrupt
    if code and not (may_disagree and code == EXIT_FINDING):
        raise DemoFailed(
            f"the demo cannot be set up: {shown(command[:2])} ended with {code}",
            evidence={"it said": printable(said.getvalue().strip(), 400)},
            fix="this is a defect in camagent: report it with the line above",
        )


def _configuration(folder: Path, plan: Plan, broker: str, port: int, bundle: str) -> str:
    url = folder / "files" / "street.mp4"
    if plan.stream == "dark":
        url = _dark(folder / "dark")
    wanted = BUNDLE if plan.bundle == "store" else str(folder / bundle)
    camera = {"name": CAMERA, "url": str(url), "fps": FPS, "publish": "every-frame", "bundle": wanted, **plan.camera}
    return tomlkit.dumps({
        "agent": {"id": AGENT, "state_dir": str(folder / "state"), "trust": str(folder / "root.json")},
        "mqtt": {"url": broker, **plan.mqtt},
        "web": {"listen": f"127.0.0.1:{port}"},
        "camera": [camera],
    })  # fmt: skip


def _dark(folder: Path) -> Path:
    """Pictures of the inside of a lens cap: black, with a sensor's noise."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for number in range(_DARK):
        cv2.imwrite(str(folder / f"{number:02}.jpg"), random.integers(0, 6, (720, 1280, 3), np.uint8))
    return folder


@contextmanager
def reserved(*wanted: int) -> Iterator[int]:
    """The first of these ports that is free and that no other demo means to take, or any. Raises DemoFailed.

    Who will listen there is another process, seconds later, and a second demo must not take the port for free meanwhile. So a
    name is held for it: an abstract socket's, which lies in no folder, is as wide as the ports are and goes with its process.
    """
    for port in (*wanted, *[0] * _TRIES):
        with contextlib.ExitStack() as held:
            try:
                with socket.create_server(("127.0.0.1", port)) as probe:
                    found: int = probe.getsockname()[1]
                    name = held.enter_context(socket.socket(socket.AF_UNIX))
                    name.bind(f"\0camagent-demo-{found}")
            except OSError:
                continue
            yield found
            return
    raise DemoFailed("no port of the loopback is free", fix="see what holds them: ss -ltn")


__all__ = ["AGENT", "CAMERA", "WEB_PORT", "DemoFailed", "Stage", "build", "ended", "reserved", "running", "shown"]

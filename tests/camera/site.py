"""Where the box stands: a real RTSP camera and a real broker outside of it, both with passwords, and its configuration."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.camera import emulation
from tests.camera.box import Box
from tests.camera.host import BoxError, arch, is_native
from tests.support.agent import Body, Listener, camagent
from tests.support.broker import Broker, password_file
from tests.support.bundles import root_json
from tests.support.camera import RtspCamera, need_ffmpeg
from tests.support.proxy import Proxy

PORT = 8420
CONFIG = "/etc/camagent/camagent.toml"
CREDENTIALS = "/etc/camagent/credentials"
STATE = "/var/lib/camagent"
_SEEN_BY_THE_SERVICE = "/run/credentials/camagent.service"
# what the blobs of tests.support.bundles look like, as the camera on the wall sees them
# .. and something grey that moves: a picture that never changes is a finding
_BLOBS = (
    "color=c=black:s=320x240:r=10:d=2,drawbox=w=80:h=60:color=red:t=fill,drawbox=y=60:w=80:h=60:color=blue:t=fill[still];"
    "color=c=gray:s=40x40:r=10:d=2[box];[still][box]overlay=x=80+60*t:y=160"
)
_TEMPLATE = """
[agent]
id = "box-01"
[mqtt]
url = "mqtt://{broker}"
username = "{user}"
password_file = "{seen}mqtt"
keepalive_s = 5
[web]
listen = "{inside}:{port}"
token_file = "{seen}web"
[[camera]]
name = "front"
url = "{url}"
user_file = "{seen}front-user"
password_file = "{seen}front-password"
fps = {fps}
stall_timeout = 5
bundle = "blobs"
"""


class Site:
    """Broker and camera on the outer end of the box's cable. `away` is between the box and the broker, and can be cut."""

    def __init__(self, box: Box, folder: Path) -> None:
        self.box, self.folder = box, folder
        self.secrets = {
            name: f"{name}-{secrets.token_hex(8)}" for name in ("user", "mqtt", "front-user", "front-password", "web")
        }
        self._stack = ExitStack()
        users = {self.secrets["user"]: self.secrets["mqtt"], "ear": "ear"}
        extra = ("allow_anonymous false", f"password_file {password_file(folder, users)}")
        self.broker = Broker(folder, extra, host=box.cable.outside)
        login = f"{self.secrets['front-user']}:{self.secrets['front-password']}"
        self.camera = RtspCamera(_clip(folder), options=("--user", login, "--shared"), host=box.cable.outside)
        self.token = folder / "token"
        self.token.write_text(self.secrets["web"] + "\n")

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.broker.start()
            stack.callback(self.broker.stop)
            self.away = stack.enter_context(Proxy(self.broker.port, self.box.cable.outside))
            self.listener = stack.enter_context(
                Listener(self.broker.port, host=self.broker.host, username="ear", password="ear")
            )
            stack.enter_context(self.camera)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        if exc is not None:
            print("the agent's log:\n", self.log()[-5000:])
        self._stack.__exit__(kind, exc, trace)

    # -- what a person does to a new camera

    def configure(self, fps: int = 10) -> None:
        """Passwords into files of their own, and the configuration, as docs/camera.md says. `fps`: of inference."""
        for name in ("mqtt", "front-user", "front-password", "web"):
            self.box.put(f"{CREDENTIALS}/{name}", self.secrets[name] + "\n", 0o600)
        folder = _SEEN_BY_THE_SERVICE if is_native(arch()) else emulation.CREDENTIALS
        text = _TEMPLATE.format(
            broker=f"{self.box.cable.outside}:{self.away.port}", user=self.secrets["user"], seen=f"{folder}/secret_",
            inside=self.box.cable.inside, port=PORT, url=self.camera.url, fps=fps,
        )  # fmt: skip
        self.box.run("tee", CONFIG, stdin=text.encode())

    def trust(self) -> None:
        """The first root, which only the camera's own command line takes."""
        self.box.put("/root/root.json", root_json())
        self.box.run("camagent", "trust", "install", "/root/root.json", timeout_s=120)

    def push(self, bundle: Path, timeout_s: float = 180) -> subprocess.CompletedProcess[str]:
        """From the workstation, over HTTP."""
        to = f"http://{self.box.cable.inside}:{PORT}"
        return camagent("bundle", "push", str(bundle), "--to", to, "--token-file", str(self.token), timeout_s=timeout_s)

    def set_environment(self, **names: str) -> None:
        """A drop-in of the service, as `systemctl edit` writes it; counts from the next start. Nothing: none."""
        lines = "".join(f'Environment="{name}={value}"\n' for name, value in names.items())
        self.box.put("/etc/systemd/system/camagent.service.d/override.conf", f"[Service]\n{lines}")
        self.box.run("systemctl", "daemon-reload")

    # -- what the camera says

    def start(self) -> float:
        """`systemctl start`, which waits until the agent is ready; seconds."""
        return self._systemctl("start")

    def restart(self) -> float:
        return self._systemctl("restart")

    def _systemctl(self, verb: str) -> float:
        began = time.monotonic()
        self.box.run("systemctl", verb, "camagent", timeout_s=240)
        return time.monotonic() - began

    def kill(self) -> None:
        """kill -9."""
        self.box.run("sh", "-c", f"kill -9 {self.unit('MainPID')}")

    def unit(self, name: str) -> str:
        """A property of the service, such as MainPID."""
        return self.box.run("systemctl", "show", "camagent", f"--property={name}", "--value").stdout.strip()

    def log(self) -> str:
        try:
            return self.box.run(
                "journalctl", "--unit=camagent", "--no-pager", "--output=cat", "--lines=200", check=False
            ).stdout
        except BoxError as exc:  # it is off; what failed is told by who asked
            return str(exc)

    def json(self, *words: str, codes: tuple[int, ...] = (0,), timeout_s: float = 180) -> dict[str, Any]:
        """What a command of camagent in the box prints with --json."""
        done = self.box.run("camagent", *words, "--json", check=False, timeout_s=timeout_s)
        assert done.returncode in codes, f"{done.returncode}: {done.stderr} {done.stdout}"
        body: dict[str, Any] = json.loads(done.stdout)
        return body

    def detections(self, condition: Callable[[Body], bool] = lambda _: True, timeout_s: float = 180) -> float:
        """Waits for detections from now on that fulfil the condition; seconds."""
        began = time.monotonic()
        self.listener.clear()
        self.listener.wait("front/detections", lambda body: bool(body["detections"]) and condition(body), timeout_s)
        return time.monotonic() - began

    def newest_run(self) -> int:
        """The number of the run that the last message came from; each start of the agent has another."""
        return max(int(body["run"]) for body in self.listener.bodies("front/detections"))

    def state(self, timeout_s: float = 120, **wanted: Any) -> Body:
        """The first `bundle/state` in which blobs has these values."""
        body = self.listener.wait(
            "bundle/state",
            lambda body: all(body["bundles"].get("blobs", {}).get(key) == value for key, value in wanted.items()), timeout_s,
        )  # fmt: skip
        facts: Body = body["bundles"]["blobs"]
        return facts

    def confirmed(self, version: str) -> None:
        """Waits until the trial of a bundle is over: 600 frames and a minute."""
        self.state(600, current=version, trial=None)

    def wait(self, suffix: str, condition: Callable[[Body], bool], timeout_s: float = 120) -> Body:
        """The first body from now on, retained ones aside."""
        self.listener.clear()
        return self.listener.wait(suffix, condition, timeout_s)


def _clip(folder: Path) -> Path:
    need_ffmpeg()
    path = folder / "blobs.mp4"
    command = ["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", _BLOBS, "-pix_fmt", "yuv420p", "-c:v", "libx264"]
    options = ["-preset", "veryfast", "-g", "10", "-bf", "0", "-x264-params", "log-level=error", "-threads", "1"]
    subprocess.run([*command, *options, str(path)], check=True, timeout=120)
    return path

"""The README's blocks, run as they stand: by a person who has cloned the repository and has a broker."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.broker import Broker, free_port, running, wait_for

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def block(heading: str) -> list[str]:
    """The blocks below this heading."""
    found = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"README has no '## {heading}'"
    return BLOCK.findall(found[1])


class Desk:
    """A folder with the checkout's files in it, the commands on PATH, and ports of our own instead of the usual ones."""

    def __init__(self, folder: Path, broker: Broker) -> None:
        self.folder, self._broker, self._page = folder, broker, free_port()
        for name in ("recipes", "camagent"):
            (folder / name).symlink_to(ROOT / name)

    def run(self, script: str, timeout_s: float = 240) -> str:
        """As it stands, but for the ports; `-e`: each command has to succeed."""
        command = ["bash", "-euo", "pipefail", "-c", self._ours(script)]
        done = subprocess.run(
            command, cwd=self.folder, env=self._environment(), capture_output=True, text=True, timeout=timeout_s, check=False
        )
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def beside(self, script: str) -> Iterator[None]:
        """A command that goes on until it is stopped."""
        words = shlex.split(self._ours(script), comments=True)
        with subprocess.Popen(words, cwd=self.folder, env=self._environment(), stderr=subprocess.DEVNULL) as process:
            try:
                wait_for(lambda: self._listens() or process.poll() is not None, 60, "the agent's page is not there")
                assert process.poll() is None
                yield
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._page), 1.0):
            return True
        return False

    def _ours(self, script: str) -> str:
        ours = script.replace(":1883", f":{self._broker.port}").replace(":8420", f":{self._page}")
        ours = ours.replace("mosquitto_sub ", f"mosquitto_sub -p {self._broker.port} ")
        ours = ours.replace("camagent watch ", f"camagent watch --url mqtt://127.0.0.1:{self._broker.port} ")
        return ours.replace("[[camera]]", f'[web]\nlisten = "127.0.0.1:{self._page}"\n[[camera]]')

    @staticmethod
    def _environment() -> dict[str, str]:
        return {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


@pytest.mark.timeout(400)
def test_from_keys_to_a_self_test_as_it_stands(tmp_path: Path, broker: Broker) -> None:
    desk = Desk(tmp_path, broker)
    keys, camera = block("Sign and push a bundle")
    desk.run(keys)
    assert list((tmp_path / "seen").iterdir())
    setting, run, push = re.split(r"^(camagent run .*)$", camera, flags=re.MULTILINE)
    assert "camagent config check" in setting
    desk.run(setting)
    with desk.beside(run):
        desk.run(push)
        (subscribe,) = block("Subscribe")
        seen = desk.run(subscribe)
        assert '"label": "car"' in seen or '"label":"car"' in seen
        (selftest,) = block("It sees nothing")
        assert "Healthy" in desk.run(selftest)
    assert (tmp_path / "report.html").exists()


def test_the_service_is_installed_as_the_camera_in_a_box_does_it() -> None:
    (service,) = block("Run it as a service")
    commands = [line.partition("#")[0].strip() for line in service.splitlines()]
    assert commands[0] == "make deb ARCH=arm64"
    assert commands[-1] == "sudo camagent service status"


def test_the_first_commands_are_two() -> None:
    assert block("Try it") == ["make demo\nmake test\n"]

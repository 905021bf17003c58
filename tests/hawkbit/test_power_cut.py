"""kill -9 in mid-action, wherever the server hears of the device: after a restart it comes to one end, which is told once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from camagent.integrations.hawkbit_plan import MOST_TRIES
from tests.support.bundles import make_signed
from tests.support.hawkbit import Action, Hawkbit
from tests.support.hawkbit_orders import BUNDLE, data_of, executions
from tests.support.http_server import Files, Request, Server, head
from tests.test_bundles import Desk

FULL = pytest.mark.full(seconds=8)
# (method, part of the path, the how-manieth such request, before or after the server has done its part)
POINTS = [
    pytest.param(("GET", "/deploymentBase/1", 1, "before"), marks=FULL),
    pytest.param(("GET", "/deploymentBase/1", 1, "after"), marks=FULL),
    pytest.param(("POST", "/deploymentBase/1/feedback", 1, "before"), marks=FULL),
    ("POST", "/deploymentBase/1/feedback", 1, "after"),
    pytest.param(("GET", "/artifacts/", 1, "before"), marks=FULL),
    ("GET", "/artifacts/", 1, "half"),
    pytest.param(("GET", "/artifacts/", 1, "whole"), marks=FULL),
    ("POST", "/deploymentBase/1/feedback", 2, "before"),
    pytest.param(("POST", "/deploymentBase/1/feedback", 2, "after"), marks=FULL),
    pytest.param(("POST", "/deploymentBase/1/feedback", 3, "before"), marks=FULL),
    ("POST", "/deploymentBase/1/feedback", 3, "after"),
]


@dataclass
class Life:
    """The device as a process; it is killed at a point, once."""

    folder: Path
    hawkbit: Hawkbit
    process: subprocess.Popen[str] | None = None
    killed: int = 0
    seen: int = 0
    lives: int = 0
    said: list[str] = field(default_factory=list)

    def live(self) -> int:
        """One process, to its end."""
        self.lives += 1
        command = [sys.executable, "-m", "tests.support.hawkbit_device", str(self.folder), self.hawkbit.url]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        out, _ = self.process.communicate(timeout=100)
        self.said.append(out)
        return self.process.returncode

    def kill(self) -> None:
        assert self.process is not None
        self.killed += 1
        self.process.kill()
        self.process.wait(10)


def prepared(folder: Path, hawkbit: Hawkbit) -> tuple[Life, Action]:
    """A device that runs blobs 1.0.0, confirmed; 2.0.0 is assigned to it."""
    desk = Desk(folder)
    desk.install(make_signed(folder, version="1.0.0"))
    desk.confirm()
    desk.bundles.live.close()
    (folder / "token").write_text("abc")
    return Life(folder, hawkbit), hawkbit.assign((BUNDLE, data_of(folder)))


@pytest.mark.parametrize("point", POINTS, ids=lambda point: "-".join(map(str, point)))
def test_killed_in_mid_action(tmp_path: Path, hawkbit: Hawkbit, point: tuple[str, str, int, str]) -> None:
    method, part, number, when = point
    life, action = prepared(tmp_path, hawkbit)
    data = data_of(tmp_path)

    def strike(asked: str, path: str) -> None:
        if asked == method and part in path:
            life.seen += 1
            if life.seen == number:
                life.kill()

    def torn(server: Server, request: Request, wire: Any) -> None:
        if life.killed:
            Files(data)(server, request, wire)
            return
        wire.sendall(head(200, f"Content-Length: {len(data)}") + (data[: len(data) // 2] if when == "half" else data))
        server.over.wait(0.05)
        life.kill()

    if when == "before":
        hawkbit.on_ask = strike
    elif when == "after":
        hawkbit.on_answer = strike
    else:
        hawkbit.files[BUNDLE] = torn
    assert life.live() == -9
    assert life.live() == 0, life.said[-1]
    assert (life.killed, life.lives) == (1, 2)
    assert action.finals == ["success"], life.said
    assert action.late == [], "what was heard is not said again"
    assert executions(action)[-1] == "closed"
    desk = Desk(tmp_path)
    assert desk.runs() == "2.0.0"
    assert desk.state()["trial"] is None
    assert not list(tmp_path.glob("state/.new-*"))


def test_a_refusal_that_could_not_be_told_is_told_after_the_restart_without_another_download(
    tmp_path: Path, hawkbit: Hawkbit
) -> None:
    life, action = prepared(tmp_path, hawkbit)
    action.modules = [[(BUNDLE, data_of(tmp_path, "3.0.0", signers=("stranger",)))]]

    def strike(asked: str, path: str) -> None:
        if asked == "POST" and path.endswith("/feedback"):
            life.seen += 1
            if life.seen == 2:
                life.kill()

    hawkbit.on_ask = strike
    assert life.live() == -9
    assert life.live() == 0, life.said[-1]
    assert action.finals == ["failure"]
    assert action.statuses[-1]["details"][0] == "code: UNTRUSTED_SIGNER"
    assert hawkbit.count("GET", "/artifacts/") == 1
    assert life.live() == 0
    assert action.finals == ["failure"]


@pytest.mark.full(seconds=30)
def test_a_device_that_dies_in_every_download_gives_up_in_the_end(tmp_path: Path, hawkbit: Hawkbit) -> None:
    life, action = prepared(tmp_path, hawkbit)

    def deadly(server: Server, request: Request, wire: Any) -> None:
        wire.sendall(head(200, f"Content-Length: {len(data_of(tmp_path))}") + b"bundle.json")
        life.kill()

    hawkbit.files[BUNDLE] = deadly
    while life.live() == -9:
        assert life.lives < 20
    assert life.killed == MOST_TRIES
    assert action.finals == ["failure"]
    assert "never came to its end" in action.details

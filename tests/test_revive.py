"""A thread of a camera dies in a real agent: the camera starts anew, also where it could not at first."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from camagent import cameras, config_file
from camagent.pipeline import Agent
from tests.support import things
from tests.support.agent import Agent as Child
from tests.support.agent import Listener, camera
from tests.support.broker import running


def defect(*_: Any) -> None:
    raise RuntimeError("a defect")


def names(agent: Agent) -> list[str]:
    return [body.camera for body in agent.cameras.healths()]


def test_a_camera_that_died_starts_anew_as_soon_as_it_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cameras, "REVIVE_S", 0.5)
    bundle, pictures = things.bundle(tmp_path), things.folder_of(tmp_path / "pictures")
    away = tmp_path / "away"
    with running(tmp_path) as broker, Listener(broker.port) as listener:
        two = camera(pictures, bundle) + camera(things.folder_of(tmp_path / "others"), bundle, "back")
        agent = Agent(config_file.load(Child(tmp_path, broker.port, two).path))
        thread = threading.Thread(target=agent.run)
        thread.start()
        try:
            for name in ("front", "back"):
                listener.wait(f"{name}/health", lambda body: body["state"] == "running", 30)
            neighbour = agent.cameras.runner("back")
            runner = agent.cameras.runner("front")
            assert runner is not None
            monkeypatch.setattr(runner, "_look", defect)
            failed = listener.wait("front/health", lambda body: body["state"] == "failed", 30)
            assert (failed["reason"], failed["detail"]) == ("stage-died", "front-worker: RuntimeError: a defect")
            listener.clear()
            listener.wait("front/health", lambda body: body["state"] == "running", 30)
            assert agent.cameras.runner("front") is not runner
            assert names(agent) == ["front", "back"], "as the configuration has them"
            listener.clear()
            pictures.rename(away)
            failed = listener.wait("front/health", lambda body: body["state"] == "failed", 30)
            assert failed["detail"].startswith(f"front-reader: {pictures}")
            assert failed["detail"].endswith("cannot be read: No such file or directory"), "a sentence, no type of Python's"
            listener.wait_payload("camagent/cam-01/front/available", b"offline", 30)
            body = listener.wait("cam-01/health", lambda body: body["config"]["error"] is not None, 30)
            assert body["config"]["error"].startswith("camera front: ")
            assert "pictures is not there" in body["config"]["error"]
            listener.clear()
            away.rename(pictures)
            listener.wait("front/health", lambda body: body["state"] == "running", 30)
            listener.wait("cam-01/health", lambda body: body["config"]["error"] is None, 30)
            listener.wait_payload("camagent/cam-01/front/available", b"online", 30)
            assert names(agent) == ["front", "back"]
            assert agent.cameras.runner("back") is neighbour, "it has gone on"
        finally:
            agent.request_stop()
            thread.join(30)
        assert not thread.is_alive()

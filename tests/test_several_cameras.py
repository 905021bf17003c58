"""Several cameras at one backend, in a real agent: each gets its share, whatever it asks for and however slow its neighbour is.

Nothing here is timed: what counts are ratios between cameras, or to what each has asked for, within one run.
"""

from __future__ import annotations

import json
import os
import re
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.agent import Agent, Body, Listener, camera
from tests.support.board import FAKE_RKNNLITE, RK3568, Board
from tests.support.broker import Broker
from tests.support.bundles import blob_model, make_unsigned
from tests.support.camera import Clips, RtspCamera
from tests.support.heavy import heavy_blobs, rounds_for, weighty_blobs
from tests.support.plugin import install_failing_backends
from tests.support.rknn_models import rknn_file

CORES = len(os.sched_getaffinity(0))
ASKED = {"slow": 5.0, "usual": 10.0, "quick": 15.0, "quickest": 30.0}
ONE_TURN = f"[onnx]\nintra_op_threads = {CORES}\n"
WITHIN = 0.1
ENOUGH = 16  # frames of the slowest
LONGEST_S = 90.0
WEIGHTS_MIB = 24


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Clips(tmp_path_factory.mktemp("clips")).make(size="160x120", fps=30, gop=30, seconds=10)


def sections(bundles: Mapping[str, Path], url: str | Path, asked: Mapping[str, float]) -> str:
    return "".join(camera(url, bundles[name], name=name, fps=fps, publish="every-frame") + "\n" for name, fps in asked.items())


class Seen:
    """What the agent has published of each camera since it ran steadily."""

    def __init__(self, listener: Listener, asked: Mapping[str, float], enough: int = ENOUGH) -> None:
        """After so many frames of every camera."""
        self._listener, self.asked = listener, asked
        self._until(2)  # all models are loaded, and every camera is at it
        listener.clear()
        self._until(enough)

    def _until(self, frames: int) -> None:
        end = time.monotonic() + LONGEST_S
        while any(len(self._listener.payloads(f"{name}/detections")) < frames for name in self.asked):
            assert time.monotonic() < end, {name: len(self._listener.payloads(f"{name}/detections")) for name in self.asked}
            time.sleep(0.1)

    @property
    def fractions(self) -> dict[str, float]:
        """Of the frames that each asked for, by the frames' own times."""
        return {name: _rate(self._bodies(name)) / asked for name, asked in self.asked.items()}

    @property
    def shares(self) -> dict[str, float]:
        """Seconds of the backend per second."""
        return {name: _spent_ms(bodies := self._bodies(name)) / 1e3 * _rate(bodies) for name in self.asked}

    def _bodies(self, name: str) -> list[Body]:
        return self._listener.bodies(f"{name}/detections")


def settles(condition: Callable[[], bool]) -> bool:
    """A busy machine lends its cores for moments: what holds in the long run may take a while to show."""
    end = time.monotonic() + LONGEST_S / 2
    while not (holds := condition()) and time.monotonic() < end:
        time.sleep(1.0)
    return holds


def _spent_ms(bodies: list[Body]) -> float:
    return float(np.mean([body["latency_ms"]["preprocess"] + body["latency_ms"]["infer"] for body in bodies]))


def _rate(bodies: list[Body]) -> float:
    return (len(bodies) - 1) / float(bodies[-1]["frame_time"] - bodies[0]["frame_time"])


def alike(values: Mapping[str, float]) -> bool:
    return max(values.values()) <= (1 + WITHIN) * min(values.values())


def unsigned(folder: Path, name: str, model: bytes, **more: Any) -> Path:
    return make_unsigned(folder, name=name, model=model, golden=False, **more)


@pytest.fixture
def run(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., tuple[Agent, Listener]]]:
    """Starts an agent with cameras; ends it with the test."""
    started: list[Agent] = []

    def start(cameras: str, more: str = "", **environment: str) -> tuple[Agent, Listener]:
        agent = Agent(tmp_path, broker.port, cameras, more=more, **environment)
        agent.start()
        started.append(agent)
        return agent, listeners[0]

    with Listener(broker.port) as listener:
        listeners = [listener]
        yield start
        for agent in started:
            agent.kill()


def test_an_overloaded_backend_gives_every_camera_the_same_fraction(
    tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]
) -> None:
    """The acceptance of issue G, point 4: 4 cameras, 60 frames a second asked for, one turn at a time, calls of about 40 ms."""
    bundle = unsigned(tmp_path, "heavy", heavy_blobs(rounds_for(0.04, CORES)))
    _, listener = run(sections(dict.fromkeys(ASKED, bundle), clip, ASKED), ONE_TURN)
    seen = Seen(listener, ASKED)
    assert settles(lambda: alike(seen.fractions)), seen.fractions
    assert max(seen.fractions.values()) < 0.8, "it was not overloaded"
    body = listener.wait("quickest/health", lambda body: body["reason"] == "backend-busy", 30)
    assert "shared by 4 cameras and full" in body["detail"]
    assert body["turns"]["cameras"] == 4
    assert body["turns"]["at_once"] == 1
    assert 0 < body["turns"]["crowded_out"] <= body["counters"]["dropped"]
    assert body["turns"]["asked_fps"] > body["fps"]


def test_where_there_is_enough_every_camera_gets_what_it_asks_for(
    tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]
) -> None:
    bundle = unsigned(tmp_path, "light", blob_model())
    with RtspCamera(clip) as source:
        _, listener = run(sections(dict.fromkeys(ASKED, bundle), source.url, ASKED))
        seen = Seen(listener, ASKED)
        assert settles(lambda: min(seen.fractions.values()) > 1 - WITHIN), seen.fractions
    assert not [body for name in ASKED for body in listener.bodies(f"{name}/health") if body["reason"] == "backend-busy"]


def test_a_model_ten_times_slower_takes_no_more_time_than_the_others(
    tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]
) -> None:
    rounds = rounds_for(0.012, CORES)
    light, heavy = unsigned(tmp_path, "light", heavy_blobs(rounds)), unsigned(tmp_path, "heavy", heavy_blobs(rounds * 10))
    asked = dict.fromkeys(("heavy", "one", "two", "three"), 30.0)
    _, listener = run(sections(dict.fromkeys(asked, light) | {"heavy": heavy}, clip, asked), ONE_TURN)
    seen = Seen(listener, asked, 14)
    assert settles(lambda: min(seen.shares.values()) > (1 - WITHIN) * seen.shares["heavy"]), seen.shares
    assert settles(lambda: alike({name: seen.fractions[name] for name in ("one", "two", "three")})), seen.fractions


def test_a_slow_model_does_not_drag_quick_ones_below_what_they_ask_for(
    tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]
) -> None:
    """One turn at a time: the slow calls are longer than the quick ones' interval, which go between."""
    light, heavy = unsigned(tmp_path, "light", blob_model()), unsigned(tmp_path, "heavy", heavy_blobs(rounds_for(0.3, CORES)))
    asked = dict.fromkeys(("heavy", "one", "two"), 10.0)
    _, listener = run(sections(dict.fromkeys(asked, light) | {"heavy": heavy}, clip, asked), ONE_TURN)
    seen = Seen(listener, asked, 8)
    assert settles(lambda: min(seen.fractions["one"], seen.fractions["two"]) > 1 - WITHIN), seen.fractions
    assert seen.fractions["heavy"] < 0.5


def test_cameras_share_an_npu_too(tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]) -> None:
    """One core and a call of 80 ms; two models, of which only one may be worked on at a time.

    With 40 ms a busy machine is short of CPU before it is short of its NPU, and who asks for most has no frame ready in time.
    """
    board = Board(compatible=RK3568).write(tmp_path / "board")
    bundles = [
        unsigned(
            tmp_path, f"npu{number}", rknn_file(blob_model(1.0 + number), targets=["rk3568"]),
            artifacts=[{"path": "model.onnx", "backend": "rknn", "targets": ["rk3568"]}],
        )
        for number in range(2)
    ]  # fmt: skip
    chosen = {name: bundles[index % 2] for index, name in enumerate(ASKED)}
    environment = {
        "CAMAGENT_SYSROOT": str(board), "PYTHONPATH": f"{Path.cwd()}:{FAKE_RKNNLITE}",
        "FAKE_RKNN": json.dumps({"soc": "rk3568", "cores": 1, "seconds": 0.08}),
    }  # fmt: skip
    _, listener = run(sections(chosen, clip, ASKED), **environment)
    seen = Seen(listener, ASKED)
    assert settles(lambda: alike(seen.fractions)), seen.fractions
    assert max(seen.fractions.values()) < 0.8, "it was not overloaded"


@pytest.mark.full(seconds=40)
def test_a_device_that_hangs_does_not_stop_the_cpu_and_the_watchdog_names_who_is_in_the_call(
    tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]
) -> None:
    plugin = install_failing_backends(tmp_path / "plugin")
    on_cpu = unsigned(tmp_path, "cpu", blob_model())
    on_device = unsigned(tmp_path, "device", blob_model(), artifacts=[{"path": "model.onnx", "backend": "hanger"}])
    asked = dict.fromkeys(("steady", "first", "second"), 10.0)
    agent, listener = run(sections(dict.fromkeys(asked, on_device) | {"steady": on_cpu}, clip, asked), PYTHONPATH=plugin)
    assert agent.process is not None
    assert agent.process.wait(90) == -signal.SIGABRT
    seen = {name: listener.bodies(f"{name}/detections") for name in asked}
    last = max(body["time"] for name in ("first", "second") for body in seen[name])
    assert len([body for body in seen["steady"] if body["time"] > last]) > 40, "it went on while the device hung"
    assert re.search(r"watchdog: (first|second)-worker: an inference has not come back", agent.log.read_text())


def test_cameras_of_one_model_open_it_once(tmp_path: Path, clip: Path, run: Callable[..., tuple[Agent, Listener]]) -> None:
    """The second to fourth camera must not bring weights of their own."""
    bundle = unsigned(tmp_path, "large", weighty_blobs(WEIGHTS_MIB))
    asked = dict.fromkeys(("one", "two", "three", "four"), 5.0)
    sizes = []
    for count in (1, 4):
        some = dict(list(asked.items())[:count])
        agent, listener = run(sections(dict.fromkeys(some, bundle), clip, some))
        Seen(listener, some, 5)
        sizes.append(agent.rss_mib())
        agent.stop()
        listener.clear()
    assert sizes[1] - sizes[0] < 1.5 * WEIGHTS_MIB, sizes

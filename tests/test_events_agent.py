"""Events, counts and snapshots of a real agent: a real RTSP camera in front, a real broker behind."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support import moving
from tests.support.agent import Agent, Body, Listener, camera
from tests.support.board import FAKE_RKNNLITE, RK3568, Board
from tests.support.broker import Broker, running, wait_for
from tests.support.bundles import blob_model, make_unsigned
from tests.support.camera import RtspCamera
from tests.support.networks import RED
from tests.support.objects import check
from tests.support.rknn_models import rknn_file

ZONES = """
[[camera.zone]]
name = "yard"
polygon = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
[[camera.zone]]
name = "gate"
polygon = [[0.6, 0.0], [1.0, 0.0], [1.0, 1.0], [0.6, 1.0]]
"""
EVENTS = "front/events"


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.bundle(tmp_path_factory.mktemp("things"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return moving.clip(tmp_path_factory.mktemp("clip") / "ball.mp4")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as started:
        yield started


def kept(broker: Broker, suffix: str) -> dict[str, bytes]:
    """What the broker has kept, by topic below the camera."""
    with Listener(broker.port, "camagent/cam-01/front/#") as late:
        time.sleep(0.7)
        found = {topic.removeprefix("camagent/cam-01/front/"): payload for topic, payload, retain in late.messages if retain}
    return {topic: payload for topic, payload in found.items() if topic.startswith(suffix)}


def counts(broker: Broker) -> dict[str, int]:
    found = {**kept(broker, "count/"), **kept(broker, "zone/")}
    return {topic: json.loads(payload)["count"] for topic, payload in found.items()}


def is_over(listener: Listener, broker: Broker) -> None:
    """Every event that was begun has ended, and the broker knows that nothing is there."""
    wait_for(lambda: {body["after"]["id"] for body in listener.bodies(EVENTS) if body["type"] == "new"}
             <= {body["after"]["id"] for body in listener.bodies(EVENTS) if body["type"] == "end"}, 20, "the ends")  # fmt: skip
    check(listener.bodies(EVENTS))
    wait_for(lambda: not any(counts(broker).values()), 10, "the counts")


def test_a_ball_appears_enters_the_gate_and_is_gone(tmp_path: Path, things: Path, clip: Path, broker: Broker) -> None:
    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        section = camera(source.url, things, snapshots=True) + ZONES
        with Agent(tmp_path, broker.port, section) as agent:
            listener.wait(EVENTS, lambda body: body["type"] == "new", 30)
            assert counts(broker).keys() == {f"{p}/{t}" for p in ("count", "zone/yard", "zone/gate") for t in ("ball", "box")}
            listener.wait(EVENTS, lambda body: "gate" in body["after"]["entered_zones"], 30)
            listener.wait(EVENTS, lambda body: body["type"] == "end", 30)
            listener.wait(EVENTS, lambda body: body["type"] == "end" and "gate" in body["after"]["entered_zones"], 30)
            assert agent.stop() == 0
            is_over(listener, broker)
        stories = check(listener.bodies(EVENTS))
        crossing = next(story for story in stories.values() if "gate" in story[-1]["after"]["entered_zones"])
        assert [body["after"]["label"] for body in crossing] == ["ball"] * len(crossing)
        first, last = crossing[0], crossing[-1]
        assert first["before"]["entered_zones"] == []
        assert first["after"]["entered_zones"] == ["yard"]
        assert last["after"]["entered_zones"] == ["yard", "gate"]
        assert last["after"]["has_snapshot"]
        assert 3 < last["after"]["end_time"] - last["after"]["start_time"] < 20
        seen = [body for topic in ("count/ball", "zone/gate/ball") for body in listener.bodies(topic)]
        assert {body["count"] for body in seen} == {0, 1}
        assert {body.get("zone") for body in seen} == {None, "gate"}
        entered = next(body["time"] for body in crossing if "gate" in body["after"]["current_zones"])
        counted = next(body["time"] for body in listener.bodies("zone/gate/ball") if body["count"] == 1)
        assert abs(entered - counted) < 0.5
        items = [item for body in listener.bodies("front/detections") for item in body["detections"]]
        assert len({item["track_id"] for item in items if "track_id" in item}) == len(stories)
        snapshots = listener.payloads("front/snapshot")
    assert snapshots
    picture = cv2.imdecode(np.frombuffer(snapshots[-1], np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape == (moving.HEIGHT, moving.WIDTH, 3)
    red = (np.abs(picture.astype(int) - (60, 76, 231)).sum(axis=2) < 70) & ~is_ball(picture)
    rows, columns = np.nonzero(red)
    assert rows.max() - rows.min() >= 2 * moving.RADIUS, "a frame around the ball"
    assert columns.max() - columns.min() >= 2 * moving.RADIUS
    assert not kept(broker, "snapshot"), "it is kept only where that is wanted"


def is_ball(picture: np.ndarray) -> np.ndarray:
    """Pixels of the ball, and what an encoder makes of its edge."""
    near = np.abs(picture.astype(int) - RED[::-1]).sum(axis=2) < 60
    return np.asarray(cv2.dilate(near.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0)


def test_off_kill_and_a_lost_source_end_what_was_there(tmp_path: Path, things: Path, clip: Path, broker: Broker) -> None:
    def end_of(kind: str) -> Body:
        return listener.wait(EVENTS, lambda body: body["type"] == kind, 40)

    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        section = camera(source.url, things, stall_timeout=2.0)
        with Agent(tmp_path, broker.port, section) as agent:
            end_of("new")
            listener.publish("camagent/cam-01/front/cmd/detect", "OFF")
            listener.wait("front/detect", lambda body: body["state"] == "OFF")
            is_over(listener, broker)
            assert counts(broker) == {"count/ball": 0, "count/box": 0}
            listener.publish("camagent/cam-01/front/cmd/detect", "ON")
            listener.clear()
            begun = end_of("new")
            agent.kill()
            time.sleep(1.0)
            assert not [body for body in listener.bodies(EVENTS) if body["type"] == "end"]
            agent.start()
            ended = end_of("end")
            assert ended["after"]["id"] == begun["after"]["id"]
            assert ended["after"]["end_time"] == ended["after"]["frame_time"]
            listener.wait("count/ball", lambda body: body["count"] == 0, 20)
            listener.clear()
            end_of("new")
            source.kill()
            end_of("end")
            is_over(listener, broker)
            source.start()
            listener.clear()
            end_of("new")
            assert agent.stop() == 0
        end_of("end")
        check(listener.bodies(EVENTS))
        assert not list((tmp_path / "state" / "run").glob("open-events-*"))
        assert all(earlier["time"] <= later["time"] for earlier, later in pairwise(listener.bodies(EVENTS)))


def test_a_reload_ends_events_and_clears_what_is_gone(tmp_path: Path, things: Path, clip: Path, broker: Broker) -> None:
    with RtspCamera(clip) as source, Listener(broker.port) as listener:
        kept_one = camera(source.url, things, snapshots=True, retain_snapshots=True)
        with Agent(tmp_path, broker.port, kept_one + ZONES) as agent:
            listener.wait(EVENTS, lambda body: body["after"]["has_snapshot"], 30)
            assert kept(broker, "snapshot")["snapshot"].startswith(b"\xff\xd8")
            listener.wait("zone/gate/box")
            agent.write(camera(source.url, things, snapshots=True) + ZONES.replace('"gate"', '"door"'))
            agent.signal(signal.SIGHUP)
            listener.wait("zone/door/box", timeout_s=30)
            check(listener.bodies(EVENTS), may_be_open=True)
            assert listener.bodies(EVENTS)[-1]["type"] in {"end", "new"}
            listener.wait_payload("front/zone/gate/box", b"")
            assert not kept(broker, "zone/gate")
            assert not kept(broker, "snapshot")
            # a zone, a picture and a whole camera that go while the agent is down
            agent.write(kept_one)
            agent.signal(signal.SIGHUP)
            listener.clear()
            listener.wait(EVENTS, lambda body: body["type"] == "new" and body["after"]["has_snapshot"], 30)
            assert kept(broker, "snapshot")
            agent.stop()
            agent.write(camera(source.url, things, "back"))
            agent.start()
            listener.wait("back/count/ball", timeout_s=30)
            listener.wait_payload("front/snapshot", b"")
            listener.wait_payload("front/count/box", b"")
            assert not kept(broker, "")


def test_for_the_broker_that_is_left_a_new_url_is_a_stop(tmp_path: Path, things: Path, clip: Path, broker: Broker) -> None:
    other = tmp_path / "other"
    other.mkdir()
    more = "[home_assistant]\nenabled = true\n"
    with RtspCamera(clip) as source, Listener(broker.port) as old, running(other) as elsewhere, Listener(elsewhere.port) as new:
        section = camera(source.url, things)
        with Agent(tmp_path, broker.port, section + camera(source.url, things, "back"), more=more) as agent:
            old.wait(EVENTS, lambda body: body["type"] == "new", 30)
            old.wait_payload("back/available", b"online")
            agent.port = elsewhere.port
            agent.write(section)
            agent.signal(signal.SIGHUP)
            new.wait("count/ball", timeout_s=30)
            is_over(old, broker)
            for topic, word in (("front", b"offline"), ("back", b"offline"), ("cam-01", b"stopped")):
                assert old.payloads(f"{topic}/available")[-1] == word
            new.wait(EVENTS, lambda body: body["type"] == "new", 30)
            assert new.bodies(EVENTS)[0]["type"] == "new", "nobody there knows what was open before"
            assert new.payloads("back/available") == [b""], "a camera that went with the move"
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("mosquitto_sub is not installed")
    text = (Path(__file__).resolve().parents[1] / "docs" / "mqtt.md").read_text("utf-8")
    (command,) = re.findall(r"`mosquitto_sub -h OLD ([^`]*--remove-retained[^`]*)`", text)
    left = ["mosquitto_sub", "-h", "127.0.0.1", "-p", str(broker.port), *shlex.split(command)]
    assert b"camagent-cam-01" in subprocess.run(left, capture_output=True, check=False, timeout=30).stdout
    assert not subprocess.run(left, capture_output=True, check=False, timeout=30).stdout, "as the page says"


def test_a_call_that_outlasts_a_reload_says_nothing_of_zones_and_masks_that_are_gone(
    tmp_path: Path, pictures: Path, broker: Broker
) -> None:
    """A call of three seconds: the camera's successor has begun before its answer is there."""
    board = Board(compatible=RK3568).write(tmp_path / "board")
    for extra in sorted(pictures.iterdir())[1:]:
        extra.unlink()  # the same objects in every frame
    slow = make_unsigned(
        tmp_path, name="npu", model=rknn_file(blob_model(), targets=["rk3568"]), golden=False,
        artifacts=[{"path": "model.onnx", "backend": "rknn", "targets": ["rk3568"]}],
    )  # fmt: skip
    environment = {
        "CAMAGENT_SYSROOT": str(board), "PYTHONPATH": f"{Path.cwd()}:{FAKE_RKNNLITE}",
        "FAKE_RKNN": json.dumps({"soc": "rk3568", "cores": 1, "seconds": 3.0}),
    }  # fmt: skip
    section = camera(pictures, slow, snapshots=True, retain_snapshots=True)
    with Listener(broker.port) as listener, Agent(tmp_path, broker.port, section + ZONES, **environment) as agent:
        listener.wait(EVENTS, lambda body: body["type"] == "new", 60)
        agent.write(section)
        agent.signal(signal.SIGHUP)
        told = len(listener.bodies("front/detect"))
        listener.wait(EVENTS, lambda body: body["type"] == "end", 20)
        check(listener.bodies(EVENTS))
        wait_for(lambda: "left behind" in agent.log.read_text() and len(listener.bodies("front/detect")) > told, 10)
        ended = [body["time"] for body in listener.bodies(EVENTS) if body["type"] == "end"]
        assert max(ended) <= listener.bodies("front/detect")[told]["time"], "before the successor says anything"
        told = len(listener.bodies("front/detections"))
        wait_for(lambda: len(listener.bodies("front/detections")) > told, 60, "the successor's first word")
        assert "zones" not in str(listener.bodies("front/detections")[told:])
        assert not kept(broker, "zone/")
        assert listener.payloads("front/snapshot")[-1] == b""

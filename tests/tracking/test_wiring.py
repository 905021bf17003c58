"""Ids where users meet them: in messages, health, pictures, `infer`, and over a camera that starts anew."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from camagent.filters import FilterRule, for_tracking
from camagent.frame import Detections, Scene, Track, Tracks, detections_of, numbered
from camagent.inputs import rgb_frame
from camagent.messages import Author, detections_body
from camagent.pipeline import RLE
from camagent.sinks import annotate
from recipes.od_seg.classes import ROADS
from recipes.od_seg.measure import Model
from tests.support.agent import Agent, Listener, camagent, camera, make_bundle
from tests.support.broker import running
from tests.support.data import shared
from tests.test_messages import AUTHOR, result
from tests.tracking.roads import DEMO_MODEL, street

BOXES = np.array([[10, 20, 60, 90], [100, 10, 150, 80]], np.float32)


def found() -> Detections:
    return Detections(BOXES, np.array([0.9, 0.6], np.float32), np.array([0, 1]))


def track(number: int, index: int | None) -> Track:
    return Track(number, 0, 0.9, (10, 20, 60, 90), (), index)


def test_ids_go_to_the_rows_they_belong_to() -> None:
    named = numbered(found(), Tracks((track(7, 1), track(9, None))))
    assert isinstance(named, Detections)
    assert named.track_ids == (None, 7)
    with pytest.raises(ValueError, match="track_ids: expected 2, got 1"):
        Detections(BOXES, np.array([0.9, 0.6], np.float32), np.array([0, 1]), track_ids=(1,))


def test_a_message_names_the_object_where_it_is_certain() -> None:
    named = numbered(found(), Tracks((track(7, 1),)))
    assert isinstance(named, Detections)
    author: Author = AUTHOR
    body = detections_body(result(named), named, author, 1, 0.0, rle=RLE)
    assert "track_id" not in json.loads(json.dumps(_plain(body.detections[0])))
    assert body.detections[1].track_id == 7


def _plain(body: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(body)


def test_ids_are_drawn() -> None:
    frame = rgb_frame(np.zeros((120, 200, 3), np.uint8))
    plain = annotate(frame, found(), ("person", "car"))
    assert not np.array_equal(plain, annotate(frame, numbered(found(), Tracks((track(7, 0),))), ("person", "car")))
    assert np.array_equal(plain, annotate(frame, numbered(found(), Tracks()), ("person", "car")))


def test_areas_of_a_model_that_gives_both_are_as_without_a_tracker() -> None:
    """What is fainter is asked of the boxes only; the threshold of a map stays."""
    model = Model(DEMO_MODEL.read_bytes(), ROADS, min_score=0.4)
    try:
        picture = next(iter(street(0, 1, (640, 360)))).picture
        frame = rgb_frame(picture)
        plain = model._steps.run(frame)
        tracking = model._steps.run(frame, rule=for_tracking(FilterRule(0.4, 0.5)))
        assert isinstance(plain.outcome, Scene)
        assert isinstance(tracking.outcome, Scene)
        assert np.array_equal(plain.outcome.areas.ids, tracking.outcome.areas.ids)
        assert np.array_equal(plain.outcome.detections.boxes, tracking.outcome.detections.boxes)
        assert plain.counts == tracking.counts
        assert plain.faint is None
        assert tracking.faint is not None
        named = numbered(tracking.outcome, Tracks((track(3, 0),)))
        ours = detections_of(named)
        assert ours is not None
        assert ours.track_ids[0] == 3
    finally:
        model.close()


@pytest.fixture(scope="module")
def one_person(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames 65 to 105 of the clip: one person, all the time."""
    path = tmp_path_factory.mktemp("clip") / "person.mp4"
    source = shared("video/one-by-one-person-detection.mp4")
    subprocess.run(["ffmpeg", "-v", "error", "-ss", "6.6", "-i", source, "-t", "4", "-an", path], check=True)
    return path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("bundle"))


def persons(text: str) -> list[Any]:
    bodies = [json.loads(line) for line in text.splitlines()]
    return [item.get("track_id") for body in bodies for item in body["detections"] if item["label"] == "person"]


def test_infer_follows_a_video_and_no_picture(bundle: Path, one_person: Path) -> None:
    ids = persons(camagent("infer", str(bundle), str(one_person), "--json").stdout)
    assert len(ids) > 25
    assert ids[0] is None, "one look makes no object"
    assert len({one for one in ids if one is not None}) == 1
    assert ids[3:].count(None) == 0
    pictures = persons(camagent("infer", str(bundle), str(shared("images/bus.jpg")), "--json").stdout)
    assert len(pictures) >= 2
    assert set(pictures) == {None}


def test_the_agent_publishes_ids_counts_them_and_gives_none_twice(tmp_path: Path, bundle: Path, one_person: Path) -> None:
    def section(fps: float) -> str:
        return camera(one_person, bundle, fps=fps) + '[camera.filter]\nlabels = ["person"]\n'

    with running(tmp_path) as broker, Listener(broker.port) as listener, Agent(tmp_path, broker.port, section(10)) as agent:
        first = named(listener)
        told = listener.wait("front/health", lambda body: body["counters"]["tracked"] > 0)
        counters = told["counters"]
        assert 0 < counters["tracked"] <= counters["kept_by_zone"] + counters["inferred"]
        listener.clear()
        agent.write(section(8))
        agent.signal(signal.SIGHUP)  # the camera starts anew
        listener.wait("front/health", lambda body: body["counters"]["inferred"] < counters["inferred"])
        listener.clear()
        again = named(listener)
        assert again > first
        assert agent.stop() == 0


def named(listener: Listener) -> int:
    """The id that comes first."""
    body = listener.wait("front/detections", lambda body: any("track_id" in item for item in body["detections"]))
    return int(next(item["track_id"] for item in body["detections"] if "track_id" in item))

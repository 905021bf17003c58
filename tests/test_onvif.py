"""ONVIF metadata frames against the published shapes, and a real agent that sends them."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from camagent.frame import Detections, Frame, Track, Tracks
from camagent.integrations import onvif
from camagent.integrations.onvif import Module, Scenes
from tests.support import things
from tests.support.agent import Agent, Listener, camera
from tests.support.broker import running, subscribed, wait_for
from tests.support.onvif import OBJECT_TYPES, VALIDATOR, VEHICLE_TYPES, Json, to_json, to_xml
from tests.test_errors import NASTY

LABELS = ("person", "car", "dog", "suitcase")
MODULE = Module("fastestdet-coco", LABELS)
# of the reference, which has it from the specification
PUBLISHED = {
    "Frame": [{
        "@UtcTime": "2021-10-05T15:13:27.321", "@Source": "MyClassifier",
        "Transformation": {"Translate": {"@x": -1.0, "@y": -1.0}, "Scale": {"@x": 0.003125, "@y": 0.00416667}},
        "Object": [{
            "@ObjectId": 15,
            "Appearance": {
                "Shape": {
                    "BoundingBox": {"@left": 20.0, "@top": 80.0, "@right": 100.0, "@bottom": 30.0},
                    "CenterOfGravity": {"@x": 60.0, "@y": 50.0},
                },
                "Class": {"Type": [{"@Likelihood": 0.8, "#text": "Human"}]},
            },
        }],
    }],
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    width: int
    height: int


def frame(width: int = 640, height: int = 480, at: float = 1633446807.321) -> Frame:
    return Frame(Picture(width, height), None, at, "rtcp", 0.0, 0.0)


def found(*boxes: Sequence[float], classes: Sequence[int] = ()) -> Detections:
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4), np.full(n, 0.75, np.float32), np.array(classes or [0] * n, np.int64)
    )


class Time:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def scenes(time: Time | None = None) -> Scenes:
    return Scenes("camagent/cam-01", "front", time or Time())


def checked(payload: bytes) -> Json:
    """A body that fits the schema, and that XML carries there and back."""
    body: Json = json.loads(payload)
    problems = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(body)]
    assert not problems, problems
    assert to_json(to_xml(body)) == body
    return body


def told(made: onvif.Metadata | None) -> Json:
    assert made is not None
    (only,) = checked(made.payload)["Frame"]
    assert isinstance(only, dict)
    return only


def test_the_schema_takes_what_is_published_and_nothing_else() -> None:
    checked(json.dumps(PUBLISHED).encode())
    for path, value in (("@UtcTime", 5), ("@UtcTime", "yesterday"), ("Object", {"@ObjectId": 1}), ("Objects", [])):
        assert not VALIDATOR.is_valid({"Frame": [{**PUBLISHED["Frame"][0], path: value}]})


def test_a_frame_with_a_person_and_a_car() -> None:
    made = scenes().see(frame(), found((0, 0, 320, 240), (320, 240, 640, 480), classes=[0, 1]), MODULE)
    assert made is not None
    assert made.topic == "camagent/cam-01/onvif-mj/VideoAnalytics/front/fastestdet-coco"
    assert told(made) == {
        "@UtcTime": "2021-10-05T15:13:27.321Z",
        "@Source": "fastestdet-coco",
        "Object": [
            {"@ObjectId": 1, "Appearance": {
                "Shape": {
                    "BoundingBox": {"@left": -1.0, "@top": 1.0, "@right": 0.0, "@bottom": 0.0},
                    "CenterOfGravity": {"@x": -0.5, "@y": 0.5},
                },
                "Class": {"Type": [{"@Likelihood": 0.75, "#text": "Human"}]},
            }},
            {"@ObjectId": 2, "Appearance": {
                "Shape": {
                    "BoundingBox": {"@left": 0.0, "@top": 0.0, "@right": 1.0, "@bottom": -1.0},
                    "CenterOfGravity": {"@x": 0.5, "@y": -0.5},
                },
                "Class": {"Type": [{"@Likelihood": 0.75, "#text": "Vehicle"}, {"@Likelihood": 0.75, "#text": "Car"}]},
            }},
        ],
    }  # fmt: skip


def shape(made: onvif.Metadata | None) -> Json:
    (only,) = told(made)["Object"]
    shape: Json = only["Appearance"]["Shape"]
    return shape


def test_the_whole_picture_is_minus_one_to_one() -> None:
    whole = shape(scenes().see(frame(1920, 1080), found((0, 0, 1920, 1080)), MODULE))
    assert whole["BoundingBox"] == {"@left": -1.0, "@top": 1.0, "@right": 1.0, "@bottom": -1.0}
    assert whole["CenterOfGravity"] == {"@x": 0.0, "@y": 0.0}


SIZES = st.tuples(st.integers(16, 8192), st.integers(16, 8192))


@given(SIZES, st.tuples(*[st.floats(0, 1)] * 4))
def test_every_box_lies_where_it_was(size: tuple[int, int], corners: tuple[float, float, float, float]) -> None:
    width, height = size
    x1, x2 = sorted((corners[0] * width, corners[1] * width))
    y1, y2 = sorted((corners[2] * height, corners[3] * height))
    made = shape(scenes().see(frame(width, height), found((x1, y1, x2, y2)), MODULE))
    box, centre = made["BoundingBox"], made["CenterOfGravity"]
    assert -1 <= box["@left"] <= box["@right"] <= 1
    assert -1 <= box["@bottom"] <= box["@top"] <= 1, "up is more"
    back = [(box["@left"] + 1) / 2 * width, (1 - box["@top"]) / 2 * height, (box["@right"] + 1) / 2 * width,
            (1 - box["@bottom"]) / 2 * height]  # fmt: skip
    assert back == pytest.approx([x1, y1, x2, y2], abs=0.05)
    assert box["@left"] - 1e-5 <= centre["@x"] <= box["@right"] + 1e-5
    assert box["@bottom"] - 1e-5 <= centre["@y"] <= box["@top"] + 1e-5


def test_tracks_keep_their_ids_and_those_that_end_are_deleted() -> None:
    one, scene = Track(7, 0, 0.4321, (0.0, 0.0, 64.0, 48.0), (), None), scenes()
    first = told(scene.see(frame(), found(), MODULE, Tracks(found=(one,))))
    assert [item["@ObjectId"] for item in first["Object"]] == [7], "also where its score is too low to be published"
    assert first["Object"][0]["Appearance"]["Class"]["Type"][0]["@Likelihood"] == 0.4321
    uncertain = told(scene.see(frame(), found((0, 0, 9, 9)), MODULE, Tracks(missed=(7,))))
    assert "Object" not in uncertain, "what is not certain yet has no id"
    last = told(scene.see(frame(), found(), MODULE, Tracks(ended=(7, 9))))
    assert last["ObjectTree"] == {"Delete": [{"@ObjectId": 7}, {"@ObjectId": 9}]}
    assert "Object" not in last


def test_without_tracks_no_two_frames_claim_to_show_the_same_object() -> None:
    scene = scenes()
    frames = [told(scene.see(frame(), found((0, 0, 9, 9), (1, 1, 9, 9)), MODULE)) for _ in range(5)]
    ids = [item["@ObjectId"] for one in frames for item in one["Object"]]
    assert ids == list(range(1, 11))


def test_empty_frames_come_once_and_then_as_a_pulse() -> None:
    time = Time()
    scene = scenes(time)
    assert "Object" not in told(scene.see(frame(), found(), MODULE)), "somebody looks"
    assert scene.see(frame(), found(), MODULE) is None
    assert "Object" in told(scene.see(frame(), found((0, 0, 9, 9)), MODULE))
    assert "Object" not in told(scene.see(frame(), found(), MODULE)), "they are gone"
    assert scene.see(frame(), found(), MODULE) is None
    time.now += onvif.PULSE_S - 0.01
    assert scene.see(frame(), found(), MODULE) is None
    time.now += 0.01
    assert "Object" not in told(scene.see(frame(), found(), MODULE))
    assert scene.see(frame(), found(), MODULE) is None


def test_when_nobody_looks_any_more_a_last_frame_says_so_once() -> None:
    scene = scenes()
    assert scene.end(1.8e9, (3,)) is None, "nobody was told of anything"
    told(scene.see(frame(), found((0, 0, 9, 9)), MODULE, Tracks(found=(Track(7, 0, 0.5, (0.0, 0.0, 9.0, 9.0), (), None),))))
    made = scene.end(1.8e9, (7,))
    assert made is not None
    assert made.topic == "camagent/cam-01/onvif-mj/VideoAnalytics/front/fastestdet-coco"
    assert told(made) == {
        "@UtcTime": onvif.utc_time(1.8e9), "@Source": "fastestdet-coco", "ObjectTree": {"Delete": [{"@ObjectId": 7}]},
    }  # fmt: skip
    assert scene.end(1.8e9) is None, "it is empty already"
    told(scene.see(frame(), found((0, 0, 9, 9)), MODULE))
    assert told(scene.end(1.8e9)).keys() == {"@UtcTime", "@Source"}


def test_every_name_of_the_table_is_one_of_onvifs() -> None:
    for label, (first, *more) in onvif.TYPES.items():
        assert first in OBJECT_TYPES, label
        assert all(name in VEHICLE_TYPES or (first == "Animal" and name == label) for name in more), label
        assert label == " ".join(label.lower().split()), "as it is looked up"


@pytest.mark.parametrize(
    ("label", "types"),
    [
        ("person", ("Human",)), ("License_Plate", ("LicensePlate",)), ("  Traffic light ", ("  Traffic light ",)),
        ("TRUCK", ("Vehicle", "Truck")), ("dog", ("Animal", "dog")), ("human-face", ("HumanFace",)), ("汉字", ("汉字",)),
    ],
)  # fmt: skip
def test_class_names(label: str, types: tuple[str, ...]) -> None:
    assert onvif.class_types(label) == types


@pytest.mark.parametrize("text", [*NASTY, "a/b", "#", "+/+", "$SYS"])
def test_nasty_names_make_one_topic_level_and_text(text: str) -> None:
    made = scenes().see(frame(), found((0, 0, 9, 9)), Module("m", (text,)))
    assert made is not None
    (only,) = told(made)["Object"]
    (kind,) = only["Appearance"]["Class"]["Type"]
    assert kind["#text"].isprintable()
    levels = onvif.topic("p/a", "front", text).split("/")
    assert len(levels) == 6
    assert not set("#+\x00\r\n") & set(levels[-1])


@given(st.floats(0, 4e9))
def test_times_are_utc(seconds: float) -> None:
    text = onvif.utc_time(seconds)
    assert text.endswith("Z")
    assert np.datetime64(text[:-1]).astype("datetime64[ms]").astype(int) == pytest.approx(seconds * 1000, abs=1.1)


def scene_bodies(listener: Any) -> list[Json]:
    return [checked(payload) for topic, payload in list(listener.got) if "/onvif-mj/" in topic]


def test_an_agent_describes_what_it_publishes_while_it_is_asked_to(tmp_path: Path) -> None:
    bundle, pictures = things.bundle(tmp_path), things.folder_of(tmp_path / "pictures")
    section, on = camera(pictures, bundle, fps=5.0), "[onvif]\nenabled = true\n"
    topic = "camagent/cam-01/onvif-mj/VideoAnalytics/front/float"
    with running(tmp_path) as broker, subscribed(broker.port) as home, Agent(tmp_path, broker.port, section) as agent:
        wait_for(lambda: len(home.on("camagent/cam-01/front/detections")) > 3, 30)
        assert home.on(topic) == [], "off unless somebody asks for it"
        agent.path.write_text(agent.path.read_text() + on)
        agent.signal(signal.SIGHUP)
        wait_for(lambda: len(home.on(topic)) > 5, 20)
        index = next(index for index, (at, _) in enumerate(home.got) if at == topic)
        assert (home.qos[index], home.retained[index]) == (0, False)
        told_of = {round(body["frame_time"], 3): body for body in map(json.loads, home.on("camagent/cam-01/front/detections"))}
        pairs = 0
        for body in scene_bodies(home):
            (one,) = body["Frame"]
            at = np.datetime64(one["@UtcTime"][:-1]).astype("datetime64[ms]").astype(int) / 1000
            twin = told_of.get(round(float(at), 3))
            if twin is None or "Object" not in one:
                continue
            pairs += 1
            theirs = {item["@ObjectId"]: item["Appearance"]["Shape"]["BoundingBox"] for item in one["Object"]}
            norms = {
                number: [(b["@left"] + 1) / 2, (1 - b["@top"]) / 2, (b["@right"] + 1) / 2, (1 - b["@bottom"]) / 2]
                for number, b in theirs.items()
            }
            tracked = [item for item in twin["detections"] if "track_id" in item]
            for item in tracked:
                assert norms[item["track_id"]] == pytest.approx(item["box_norm"], abs=2e-4)
            if not tracked:
                boxes = sorted(item["box_norm"] for item in twin["detections"])
                assert sorted(norms.values()) == [pytest.approx(box, abs=2e-4) for box in boxes]
            assert {kind["#text"] for item in one["Object"] for kind in item["Appearance"]["Class"]["Type"]} <= {"ball", "box"}
        assert pairs >= 3
        with Listener(broker.port) as strict:
            strict.wait("front/health", lambda body: body["state"] == "running")

        def last_scene() -> Json:
            return scene_bodies(home)[-1]["Frame"][0]  # type: ignore[no-any-return]

        def is_told_empty() -> bool:
            return "Object" not in last_scene()

        wait_for(lambda: not is_told_empty(), 20)
        home.client.publish("camagent/cam-01/front/cmd/detect", b"OFF", 1)
        wait_for(lambda: is_told_empty() and "ObjectTree" in last_scene(), 10, "nobody looks: an empty scene")
        home.client.publish("camagent/cam-01/front/cmd/detect", b"ON", 1)
        wait_for(lambda: not is_told_empty(), 20)
        agent.path.write_text(agent.path.read_text().replace(on, ""))
        agent.signal(signal.SIGHUP)
        wait_for(lambda: agent.log.read_text().count("reload:") == 2, 10)
        seen, count = len(home.on("camagent/cam-01/front/detections")), len(home.on(topic))
        wait_for(lambda: len(home.on("camagent/cam-01/front/detections")) > seen + 10, 20)
        assert len(home.on(topic)) <= count + 1
        assert is_told_empty(), "nobody is told of anything any more"
        agent.path.write_text(agent.path.read_text() + on)
        agent.signal(signal.SIGHUP)
        wait_for(lambda: not is_told_empty(), 20)
        assert agent.stop() == 0
        wait_for(is_told_empty, 10, "the last word of an agent that stops")

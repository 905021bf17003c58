from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import jsonschema
import numpy as np
import pytest

from camagent import config_file
from camagent.bodies import BODIES, ClassificationBody, DetectionsBody, ModelRef, SegmentationBody, encode, schemas
from camagent.frame import Classes, ClassMap, Detections, Frame, InstanceMask, Latency, Letterbox, Part, Result, StageCounts
from camagent.messages import Author, RleEncoders, RunLengths, Topics, body_of, message_of, slug
from camagent.selftest import schema as selftest_schema

ROOT = Path(__file__).resolve().parents[1]
AUTHOR = Author("cam-01", "front", 7, ModelRef(name="m", version="1"), ("person", "box"), (None, "waste"))
TOPICS = Topics("camagent", "cam-01")


def result(outcome: Part) -> Result:
    frame = Frame(cast("Any", SimpleNamespace(width=200, height=100)), 1.25, 1700000000.1234, "rtcp", 5.0, 2.0)
    return Result(frame, outcome, StageCounts(), Latency(1, 2, 3, 4, 10), Letterbox(200, 100, 10, 10, 0.05, 0.1, 0, 0))


def detections(zones: tuple[tuple[str, ...], ...] = ()) -> Detections:
    boxes = np.array([[10, 20, 110, 70.126]], np.float32)
    return Detections(boxes, np.array([0.87654], np.float32), np.array([1]), zones)


NO_RLE = RleEncoders(
    lambda _, class_id: RunLengths((100, 200), f"class {class_id}"),
    lambda mask, height, width: RunLengths((height, width), f"{mask.width} wide"),
)


def as_json(outcome: Part) -> dict[str, Any]:
    body = body_of(result(outcome), outcome, AUTHOR, 3, 1700000001.0, rle=NO_RLE)
    made: dict[str, Any] = json.loads(encode(body))
    jsonschema.validate(made, schemas()[made["schema"]])
    return made


def test_detections_carry_pixels_and_shares_and_who_when_what() -> None:
    made = as_json(detections((("gate",),)))
    assert made["detections"] == [
        {
            "label": "box", "class_id": 1, "score": 0.8765, "box": [10.0, 20.0, 110.0, 70.13],
            "box_norm": [0.05, 0.2, 0.55, 0.70126], "zones": ["gate"],
        }
    ]  # fmt: skip
    assert (made["run"], made["seq"], made["pts"], made["frame_time"], made["time_source"]) == (
        7,
        3,
        1.25,
        1700000000.123,
        "rtcp",
    )
    assert made["frame"] == {"width": 200, "height": 100}
    assert made["latency_ms"]["total"] == 10
    assert set(made["latency_ms"]) == {"decode", "preprocess", "infer", "postprocess", "total"}


def test_fields_that_do_not_apply_are_absent() -> None:
    item = as_json(detections())["detections"][0]
    assert not {"zones", "track_id", "mask"} & set(item)


def test_an_objects_mask_is_told_in_the_size_of_the_picture() -> None:
    mask = InstanceMask(np.ones((2, 2), np.float32), 10, 20, 100, 50, (0.01, 0.01), (0.0, 0.0))
    (item,) = as_json(replace(detections(), masks=(mask,)))["detections"]
    assert item["mask"] == {"size": [100, 200], "counts": "100 wide"}


def test_what_has_no_label_is_not_named_in_a_segmentation() -> None:
    found = ClassMap(np.array([[1, 255]], np.uint8), np.zeros(100, np.int64), np.array([0] * 50 + [1] * 150), 0.9, 255)
    assert [(item["label"], item["share"]) for item in as_json(found)["classes"]] == [("box", 0.25)]


def test_segmentation_names_the_present_classes_largest_first() -> None:
    found = ClassMap(np.array([[0, 1], [1, 1]], np.uint8), np.array([0] * 50 + [1] * 50), np.array([0] * 100 + [1] * 100), 0.9)
    classes = as_json(found)["classes"]
    assert [(item["label"], item["share"]) for item in classes] == [("box", 0.75), ("person", 0.25)]
    assert classes[0]["rle"] == {"size": [100, 200], "counts": "class 1"}


def test_classification_gives_the_top_classes_with_groups() -> None:
    made = as_json(Classes(np.array([0.2, 0.8], np.float32)))
    assert made["top"][0] == {"label": "box", "class_id": 1, "score": 0.8, "group": "waste"}
    assert "group" not in made["top"][1]


def test_topics_qos_and_lanes() -> None:
    def of(outcome: Part, qos: int = 1) -> Any:
        return message_of(body_of(result(outcome), outcome, AUTHOR, 1, 0.0, rle=NO_RLE), TOPICS, "front", qos)

    found = of(detections())
    assert (found.topic, found.qos, found.lane, found.retain) == ("camagent/cam-01/front/detections", 1, "detections", False)
    assert of(detections(), qos=0).lane is None
    assert of(Classes(np.array([1.0], np.float32))).lane == "events"
    grid = ClassMap(np.zeros((1, 1), np.uint8), np.zeros(100, np.int64), np.zeros(200, np.int64), 0.0)
    assert (of(grid).qos, of(grid).lane) == (0, None)


@pytest.mark.parametrize(
    ("label", "made"),
    [("person", "person"), ("Traffic Light", "traffic_light"), ("汽车", "class_4"), ("#+/", "class_4"), ("a/b", "a_b")],
)
def test_slugs_are_one_topic_level(label: str, made: str) -> None:
    assert slug(label, 4) == made


def test_every_body_has_a_schema_and_docs_publish_it_as_it_is() -> None:
    assert {DetectionsBody, SegmentationBody, ClassificationBody} <= set(BODIES.values())
    published = {path.name: json.loads(path.read_text()) for path in (ROOT / "docs" / "schemas").glob("*.json")}
    made = {f"{name.replace('/', '-')}.schema.json": body for name, body in schemas().items()}
    made["camagent.toml.schema.json"] = config_file.schema()
    made["camagent.selftest-1.schema.json"] = selftest_schema.schema()
    assert published == json.loads(json.dumps(made)), "run `make docs`"


def test_schemas_refuse_what_is_wrong() -> None:
    schema = schemas()["camagent.detections/1"]
    good = as_json(detections())
    for change in ({"schema": "other"}, {"seq": "one"}, {"detections": [{"label": "x"}]}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**good, **change}, schema)

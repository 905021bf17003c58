"""Which head reads what: networks made here in the output forms of YOLO, with objects planted near their cells."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from camagent.cli import run
from camagent.errors import HeadUndecided
from camagent.frame import Detections
from camagent.labels import COCO80
from camagent.pipeline import rgb_frame
from camagent.selftest.auto_head import Sight, choose, preparations
from camagent.selftest.known import Known
from camagent.selftest.margin import Score
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest

SIDE, PERSON, BUS = 640, 0, 5
PLANTED = ((200.0, 300.0, 60.0, 160.0, PERSON), (420.0, 320.0, 50.0, 150.0, PERSON), (320.0, 180.0, 300.0, 200.0, BUS))
Capture = pytest.CaptureFixture[str]


def cells(anchors: int) -> NDArray[np.float32]:
    """Centres of a pyramid's cells, ultralytics' order."""
    levels = []
    for stride in (8, 16, 32):
        rows, columns = np.mgrid[0 : SIDE // stride, 0 : SIDE // stride]
        level = (np.stack([columns.ravel(), rows.ravel()], 1) + 0.5) * stride
        levels.append(np.tile(level, (anchors, 1)))
    return np.concatenate(levels).astype(np.float32)


def rows(anchors: int, *, objectness: bool, rng: np.random.Generator) -> NDArray[np.float32]:
    """Every cell's box and scores: background, but for the planted objects."""
    places = cells(anchors)
    first = 5 if objectness else 4
    made = rng.uniform(0, 0.02, (len(places), first + 80)).astype(np.float32)
    made[:, :2], made[:, 2:4] = places + rng.uniform(-4, 4, places.shape), rng.uniform(8, 64, places.shape)
    for x, y, width, height, label in PLANTED:
        cell = int(np.abs(places - (x, y)).sum(axis=1).argmin())
        made[cell, :4] = x, y, width, height
        made[cell, first + label] = 0.9
        if objectness:
            made[cell, 4] = 0.95
    return made


def network(answer: NDArray[np.float32], path: Path) -> Path:
    """A network that gives one answer, whatever it is shown."""
    zero, constant = numpy_helper.from_array(np.array(0, np.float32), "zero"), numpy_helper.from_array(answer[None], "answer")
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
        helper.make_node("Add", ["answer", "nothing"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, *answer.shape])], [zero, constant],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def v5(rng: np.random.Generator) -> NDArray[np.float32]:
    return rows(3, objectness=True, rng=rng)


def v8(rng: np.random.Generator) -> NDArray[np.float32]:
    return np.ascontiguousarray(rows(1, objectness=False, rng=rng).T)


def v8_normalised(rng: np.random.Generator) -> NDArray[np.float32]:
    made = rows(1, objectness=False, rng=rng)
    made[:, :4] /= SIDE
    return np.ascontiguousarray(made.T)


def v8_logits(rng: np.random.Generator) -> NDArray[np.float32]:
    made = rows(1, objectness=False, rng=rng)
    scores = made[:, 4:].clip(1e-6, 1 - 1e-6)
    made[:, 4:] = np.log(scores / (1 - scores))
    return np.ascontiguousarray(made.T)


def created(model: Path, folder: Path, declared: str = "person:2,bus") -> int:
    picture = folder / "picture.png"
    cv2.imwrite(str(picture), np.full((SIDE, SIDE, 3), 90, np.uint8))
    return run(["bundle", "create", str(model), "--name", "n", "--version", "1", "--head", "auto", "--labels", "coco80",
                "--golden", f"{picture}={declared}", "-o", str(folder / "n.cambundle")])  # fmt: skip


@pytest.mark.parametrize(
    ("form", "head", "params"),
    [(v5, "yolov5", {}), (v8, "yolov8", {}), (v8_normalised, "yolov8", {}), (v8_logits, "yolov8", {"scores": "logits"})],
)
def test_the_form_is_recognised(form: Any, head: str, params: dict[str, str], tmp_path: Path, capsys: Capture) -> None:
    model = network(form(np.random.default_rng(1)), tmp_path / "m.onnx")
    assert created(model, tmp_path) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert run(["bundle", "inspect", str(tmp_path / "n.cambundle"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["manifest"]["head"]
    assert (found["name"], found.get("params", {})) == (head, params)


def test_noise_is_not_taken_for_an_answer(tmp_path: Path, capsys: Capture) -> None:
    noise = np.random.default_rng(3).random((84, 8400)).astype(np.float32)
    assert created(network(noise, tmp_path / "m.onnx"), tmp_path) == 3
    assert "error[HEAD_UNDECIDED]" in capsys.readouterr().err


def test_what_is_not_there_is_not_seen(tmp_path: Path, capsys: Capture) -> None:
    assert created(network(v8(np.random.default_rng(4)), tmp_path / "m.onnx"), tmp_path, "giraffe") == 3
    assert "head yolov8 = sees picture.png: 2 person, 1 bus" in capsys.readouterr().err


# -- the choice, alone ------------------------------------------------------------------------------------------------------

KNOWN = (Known("p.png", rgb_frame(np.zeros((8, 8, 3), np.uint8)), {"person": 1}, (), None),)
GOOD = Score(0.9, back=True, share=1.0, sane=1.0, clutter=0, margin=0.9, reach=0.9)


def sight(head: str, margin: float = 0.9, left: float = 1.0, *, back: bool = True) -> Sight:
    manifest = Manifest(
        name="n", version="1", created="2026-01-01T00:00:00Z", task="detect", input=InputSpec(width=8, height=8),
        head=HeadSpec(name=head), labels=COCO80, artifacts=(Artifact(path="m", backend="onnx"),), files={"m": 1},
    )  # fmt: skip
    box = np.array([[left, 1, 5, 6]], np.float32)
    outcome = Detections(box, np.array([0.9], np.float32), np.array([0]))
    return Sight(manifest, (replace(GOOD, margin=margin, back=back),), ("1 person",), (outcome,))


def test_two_heads_that_see_different_things_are_undecided() -> None:
    with pytest.raises(HeadUndecided) as caught:
        choose([sight("yolov5"), sight("yolov8", 0.88, left=4.0)], KNOWN)
    assert {"head yolov5", "head yolov8"} <= set(caught.value.evidence)
    assert "more than one" in caught.value.what


def test_two_heads_that_see_the_same_are_one_answer_and_a_clear_lead_is_a_lead() -> None:
    found, alike = choose([sight("yolov8", 0.88), sight("yolov5")], KNOWN)
    assert (found.head, alike) == ("yolov5", ("yolov8",))
    found, alike = choose([sight("yolov8", 0.5, left=4.0), sight("yolov5"), sight("ssd", 1.0, back=False)], KNOWN)
    assert (found.head, alike) == ("yolov5", ())


def test_usual_preparations_are_each_tried_once_with_their_numbers_in_channel_order() -> None:
    made = list(preparations(InputSpec(width=8, height=8)))
    assert made[0] == InputSpec(width=8, height=8)
    assert len(made) == len({repr(one) for one in made}) <= 28
    imagenet = [one for one in made if one.mean[0] == 0.406]
    assert imagenet
    assert all(one.color == "bgr" for one in imagenet)
    assert {one.scale for one in preparations(InputSpec(width=8, height=8, dtype="uint8"))} == {1.0}

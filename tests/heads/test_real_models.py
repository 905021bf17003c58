"""The heads on real models and pictures, with plain preprocessing: shared/data/README.md says what each must see."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from pycocotools import mask as coco

from camagent.frame import Candidates, ClassMap, Letterbox, TensorSpec
from camagent.heads import HeadContext, SemanticMap, build_head
from camagent.heads.masks import encode_class
from camagent.heads.nms import nms
from tests.support.data import shared

PERSON, BUS = 0, 5  # COCO

Run = Callable[[str, float], tuple[Any, tuple[int, int]]]


def model(name: str, head: str, classes: int, pixels: Callable[[NDArray[Any]], NDArray[Any]]) -> Run:
    """A function (picture, min_score) -> (what the head says, (height, width) of the picture)."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(shared(f"models/{name}")), options, providers=["CPUExecutionProvider"])
    entry = session.get_inputs()[0]
    specs = [TensorSpec(output.name, tuple(output.shape), "float32") for output in session.get_outputs()]
    height, width = entry.shape[2:]
    decoder = build_head(head, HeadContext(width=width, height=height, classes=classes, outputs=specs, params={}))

    def run(picture: str, min_score: float) -> tuple[Any, tuple[int, int]]:
        image = cv2.imread(str(shared(f"images/{picture}")))
        assert image is not None
        resized = pixels(cv2.resize(image, (width, height)).astype(np.float32)).astype(np.float32)
        outputs = session.run(None, {entry.name: np.ascontiguousarray(resized.transpose(2, 0, 1)[None])})
        return decoder.decode(outputs, min_score), (image.shape[0], image.shape[1])

    return run


def seen(found: Candidates) -> Counter[int]:
    return Counter(found.class_ids[nms(found, 0.45)].tolist())


@pytest.mark.parametrize(("picture", "persons", "buses"), [("bus.jpg", 3, 1), ("street.jpg", 2, 0)])
def test_fastestdet_sees_the_street(picture: str, persons: int, buses: int) -> None:
    run = model("FastestDet.onnx", "fastestdet", 80, lambda image: image / 255)
    found, _ = run(picture, 0.65)
    counts = seen(found)
    assert counts[PERSON] >= persons
    assert counts[BUS] >= buses
    assert found.score_max == pytest.approx(found.scores.max())
    assert (found.boxes >= -20).all()
    assert (found.boxes <= 372).all()


def test_ultraface_sees_the_crowd() -> None:
    run = model("ultraface-RFB-320.onnx", "ultraface", 1, lambda image: (image[..., ::-1] - 127) / 128)
    found, _ = run("faces.jpg", 0.7)
    assert seen(found)[0] >= 40


@pytest.mark.parametrize("name", ["SINet.onnx", "SINet_Softmax.onnx"])
def test_sinet_finds_the_person(name: str) -> None:
    mean, std = (102.890434, 111.25247, 126.91212), (62.93292, 62.82138, 66.355705)
    run = model(name, "semantic", 2, lambda image: (image - mean) / std / 255)
    found, (height, width) = run("portrait.jpg", 0.4)
    assert isinstance(found, SemanticMap)
    assert found.score_max > 0.9
    letterbox = Letterbox(width, height, 320, 320, 320 / width, 320 / height, 0.0, 0.0)
    rows, columns = letterbox.grid_index(*found.ids.shape[::-1])
    class_map = ClassMap(found.ids, rows, columns, found.score_max)
    assert 0.55 <= class_map.shares(2)[1] <= 0.63
    wanted = coco.encode(np.asfortranarray(class_map.in_source()))
    assert encode_class(class_map, 1).counts == wanted["counts"].decode("ascii")

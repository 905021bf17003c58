"""The laboratory draws some families' outputs by itself, with a background as models have it: heads find what it drew."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from camagent.frame import Candidates
from camagent.heads import build_head
from camagent.heads.nms import nms
from tests.heads.reference import context, iou
from tests.lab import draw
from tests.lab.detector import Found
from tests.lab.renderers import render
from tests.lab.spec import ModelSpec

EXPORTS = [
    ("yolov6", "yolov6"), ("yolox", "yolox"), ("yolox-undecoded", "yolox"), ("yolov10", "yolov10"),
    ("yolov8-rknn", "yolov8-rknn"), ("yolov8-rknn", "yolov10-rknn"), ("yolov5", "yolov7"),
]  # fmt: skip


def drawn(seed: int, head: str) -> tuple[Found, ModelSpec]:
    """Three things in different quarters of the network input, of any class of the model."""
    spec = msgspec.structs.replace(draw.healthy(seed, "yolov8").right.spec, head=head, options={}, tail=())
    width, height = spec.wanted.width, spec.wanted.height
    rng = np.random.default_rng(seed)
    corners = np.array([[0.1, 0.1], [0.6, 0.1], [0.1, 0.6]]) + rng.uniform(0, 0.05, (3, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(0.15, 0.3, (3, 2))], axis=1) * [width, height, width, height]
    planes = np.zeros((len(spec.classes), height, width), np.float32)
    ids = rng.integers(len(spec.classes), size=3)
    tone = rng.random((height, width)).astype(np.float32)
    return Found(boxes.astype(np.float32), np.full(3, 0.9, np.float32), ids, planes, tone), spec


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("export", "head"), EXPORTS)
def test_a_head_finds_what_the_laboratory_drew(export: str, head: str, seed: int) -> None:
    found, spec = drawn(seed, export)
    outputs = render(found, spec, np.random.default_rng(seed))[1]
    size = (spec.wanted.width, spec.wanted.height)
    built = build_head(head, context(*(output.shape for output in outputs), classes=len(spec.classes), size=size))
    candidates = built.decode(outputs, 0.3)
    assert isinstance(candidates, Candidates)
    kept = nms(candidates, 0.5)
    seen = [(candidates.boxes[index].tolist(), int(candidates.class_ids[index])) for index in kept]
    assert len(seen) == 3
    for box, class_id in zip(found.boxes.tolist(), found.ids.tolist(), strict=True):
        assert any(iou(box, other) > 0.8 and class_id == own for other, own in seen)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("export", ["yolox", "yolox-undecoded"])
def test_yolov6_does_not_see_through_yolox(export: str, seed: int) -> None:
    found, spec = drawn(seed, export)
    outputs = render(found, spec, np.random.default_rng(seed))[1]
    size = (spec.wanted.width, spec.wanted.height)
    built = build_head("yolov6", context(outputs[0].shape, classes=len(spec.classes), size=size))
    candidates = built.decode(outputs, 0.0)
    assert isinstance(candidates, Candidates)
    assert len(candidates.scores) == 0

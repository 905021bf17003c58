"""Faults between output tensors and boxes."""

from __future__ import annotations

from dataclasses import replace

import msgspec
from numpy.random import Generator

from firmware_pkg.manifest import HeadSpec
from tests.lab.inject.base import exported_otherwise, fault, one, pick, true_too, with_params, with_tail
from tests.lab.rig import Rig
from tests.lab.spec import Op

_SCORED = ("fastestdet", "ultraface", "yolov5", "yolov8")
_ROWS = ("yolov5", "yolov8")


@fault("sigmoid-missing")
def _logits(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in _SCORED:
        return None
    if rig.name == "ultraface":  # a softmax of two columns: the difference of the logits counts
        return with_tail(rig, Op("no-softmax"), cure=with_params(rig, scores="logits"))
    if rig.name == "fastestdet":
        cure = with_params(rig, objectness="logits", classes="logits")
        return with_tail(rig, Op("no-sigmoid", {"part": 0}), Op("no-softmax", {"part": 1}), cure=cure)
    return with_tail(rig, Op("no-sigmoid"), cure=with_params(rig, scores="logits"))


@fault("sigmoid-twice")
def _sigmoid_twice(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name not in ("fastestdet", *_ROWS):
        return None
    if rig.name == "fastestdet":  # its classes are softmaxed, another node altogether
        return with_tail(rig, Op("sigmoid", {"part": 0}), cure=with_params(rig, objectness="twice"))
    return with_tail(rig, Op("sigmoid"), cure=with_params(rig, scores="twice"))


@fault("box-format-wrong")
def _box_format(rig: Rig, rng: Generator) -> Rig | None:
    if rig.name == "ultraface":
        return with_tail(rig, Op("to-xywh"), cure=with_params(rig, order="xywh"))
    return with_tail(rig, Op("to-xyxy"), cure=with_params(rig, order="xyxy")) if rig.name in _ROWS else None


@fault("box-scale-wrong", "manifest")
def _box_scale_told(rig: Rig, rng: Generator) -> Rig | None:
    """head.params say the wrong unit."""
    if rig.name not in _ROWS:
        return None
    return replace(rig, deployed=with_params(rig, boxes="normalized"))


@fault("box-scale-wrong", "model")
def _box_scale(rig: Rig, rng: Generator) -> Rig | None:
    """Another unit than the head expects, which was told or always is so."""
    if rig.name == "ultraface":
        size = rig.right.manifest.input
        factors = dict(zip("xywh", [float(size.width), float(size.height)] * 2, strict=True))
        return with_tail(rig, Op("scale-boxes", factors), cure=with_params(rig, boxes="pixels"))
    if rig.name not in _ROWS:
        return None
    told = replace(rig, deployed=with_params(rig, boxes="pixels"))
    return with_tail(told, Op("scale-boxes", {"unit": 1}), cure=with_params(rig, boxes="normalized"))


@fault("anchors-wrong")
def _anchors(rig: Rig, rng: Generator) -> Rig | None:
    """The export was decoded with other anchors: centres are right, sizes wrong by a constant ratio."""
    if rig.name != "yolov5":
        return None
    ratio = pick(rng, 0.4, 0.68) if rng.random() < 0.5 else pick(rng, 1.5, 2.4)
    return with_tail(rig, Op("scale-boxes", {"w": ratio, "h": ratio * pick(rng, 0.9, 1.1)}))


@fault("stride-or-order-wrong", "strides")
def _strides(rig: Rig, rng: Generator) -> Rig | None:
    """Decoded with another stride: the error grows with the position, sizes too."""
    if rig.name not in _ROWS:
        return None
    factor = one(rng, (0.5, 2.0))
    return with_tail(rig, Op("scale-boxes", {"x": factor, "y": factor}))


@fault("decode-done-twice")
def _decoded_already(rig: Rig, rng: Generator) -> Rig | None:
    """A FastestDet export that has its decoder in the graph."""
    if rig.name != "fastestdet":
        return None
    options = {**rig.deployed.spec.options, "boxes": "decoded"}
    return exported_otherwise(rig, cure=with_params(rig, boxes="decoded"), options=options)


@fault("output-transposed", "refused")
def _transposed(rig: Rig, rng: Generator) -> Rig | None:
    return with_tail(rig, Op("transpose")) if rig.name in ("yolov5", "fastestdet") else None


@fault("output-transposed", "same bytes")
def _transposed_bytes(rig: Rig, rng: Generator) -> Rig | None:
    made = with_tail(rig, Op("channels-last-bytes")) if rig.name in ("yolov5", "yolov8") else None
    return true_too(made, "output-stride-or-layout")


@fault("head-family-mismatch", "told")
def _other_family_told(rig: Rig, rng: Generator) -> Rig | None:
    """Another family's name stands in the manifest."""
    others = {"yolov5": "yolov8", "yolov8": "yolov5", "fastestdet": "yolov8", "ultraface": "yolov8"}
    if rig.name not in others:
        return None
    head = HeadSpec(name=others[rig.name])
    made = replace(rig, deployed=rig.deployed.with_manifest(head=head))
    return true_too(made, "objectness-assumed") if rig.name in _ROWS else made  # the one column in which the two differ


@fault("head-family-mismatch", "model")
def _other_family(rig: Rig, rng: Generator) -> Rig | None:
    """The model was exported in a family that nothing here decodes, or that another head does."""
    if rig.name not in _ROWS:
        return None
    others = ("yolov6", "yolox", "yolox-undecoded", "yolov10", "yolov8-rknn")
    return exported_otherwise(rig, head=one(rng, others), tail=(), open_outputs=False)


@fault("objectness-assumed", "told v8")
def _no_objectness(rig: Rig, rng: Generator) -> Rig | None:
    """A model with objectness, read as if its first class were one."""
    if rig.name != "yolov5":
        return None
    labels = ("object", *rig.right.manifest.labels)
    head = HeadSpec(name="yolov8")
    made = replace(rig, deployed=rig.deployed.with_manifest(head=head, labels=labels))
    made = exported_otherwise(made, open_outputs=True, cure=rig.right)  # 3N rows are refused where the shape is told
    return true_too(made, "head-family-mismatch")


@fault("objectness-assumed", "told v5")
def _objectness(rig: Rig, rng: Generator) -> Rig | None:
    """A model without objectness, read as if its first class were that: classes are shifted by one."""
    if rig.name != "yolov8" or len(rig.right.spec.classes) < 3:
        return None
    labels = rig.right.manifest.labels[:-1]
    made = replace(rig, deployed=rig.deployed.with_manifest(head=HeadSpec(name="yolov5"), labels=labels))
    made = exported_otherwise(made, tail=(Op("transpose"),), open_outputs=True, cure=rig.right)
    return true_too(made, "head-family-mismatch")


@fault("class-count-mismatch", "labels")
def _other_labels(rig: Rig, rng: Generator) -> Rig | None:
    """The manifest has another model's label list."""
    labels = rig.right.manifest.labels
    change = int(rng.integers(1, 4)) * (1 if len(labels) < 3 or rng.random() < 0.5 else -1)
    if rig.name == "semantic" and len(labels) + change < 3:
        return None
    listed = (*labels, *(f"class{k}" for k in range(change))) if change > 0 else labels[: max(1, len(labels) + change)]
    return None if listed == labels else replace(rig, deployed=rig.deployed.with_manifest(labels=listed))


@fault("single-class-halved")
def _halved(rig: Rig, rng: Generator) -> Rig | None:
    """A one-class YOLOv5 whose class column was never trained: 0.5 everywhere."""
    if rig.name != "yolov5":
        return None
    first = rig.right.spec.classes[0]
    right = replace(rig.right.with_spec(classes=(first,)), manifest=rig.right.with_manifest(labels=(first,)).manifest)
    made = replace(rig, right=right, deployed=right)
    return with_tail(made, Op("half-class", {"value": 0.5}), cure=with_params(made, score="objectness"))


@fault("embedded-nms-threshold")
def _embedded(rig: Rig, rng: Generator) -> Rig | None:
    """The graph drops what its own threshold does not like: all but the surest thing, of which something must be left."""
    if rig.name not in ("yolov5", "yolov8", "ultraface") or rig.right.spec.engine == "onnx":
        return None
    low = msgspec.structs.replace(rig.right.manifest.thresholds, min_score=0.25)
    params = {} if rig.name == "ultraface" else {"boxes": "pixels"}  # nearly empty outputs do not tell the unit
    head = HeadSpec(name=rig.name, params=params)
    right = rig.right.with_spec(spread=pick(rng, 0.004, 0.01)).with_manifest(thresholds=low, head=head)
    made = replace(rig, right=right, deployed=right)
    scores = sorted((item.score for seen in made.truth_of_scenes for item in seen), reverse=True)
    if len(scores) < 2 or scores[0] - scores[1] < 0.03:
        return None
    return with_tail(made, Op("floor-scores", {"threshold": scores[1] + (scores[0] - scores[1]) * pick(rng, 0.3, 0.7)}))


@fault("multi-output-order")
def _order_of_outputs(rig: Rig, rng: Generator) -> Rig | None:
    """Told apart by shape, this does no harm here; the referee says so."""
    return with_tail(rig, Op("permute")) if rig.name == "ultraface" else None


@fault("seg-all-background", "offset")
def _all_background(rig: Rig, rng: Generator) -> Rig | None:
    """The background's plane wins everywhere: a constant stands on it."""
    if rig.name != "semantic":
        return None
    return with_tail(rig, Op("raise-first", {"by": pick(rng, 8.0, 20.0)}))

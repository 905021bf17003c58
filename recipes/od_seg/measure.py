"""How good a model is on samples it has not seen, through the agent's own steps: preprocess, backend, head, suppression."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.frame import Result, Scene
from camagent.pipeline import BackendOptions, FilterRule, Steps, rgb_frame, usable
from firmware_pkg import build as builder
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest
from recipes.od_seg import shape
from recipes.od_seg.classes import Classes
from recipes.od_seg.scene import Sample

LOWEST = 0.01  # score from which objects take part in the average precision
NMS = 0.5


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a model makes of one sample: boxes in its pixels, and its areas in its size."""

    boxes: NDArray[np.float32]  # (n, 4) x1 y1 x2 y2
    scores: NDArray[np.float32]  # (n,)
    class_ids: NDArray[np.int64]  # (n,)
    areas: NDArray[np.uint8]  # (height, width) places in the list of labels, BACKGROUND elsewhere


@dataclass(frozen=True, slots=True)
class Quality:
    """0..1. `ap50`: average precision at IoU 0.5 by box class; `iou` by area. Classes that no sample has are left out."""

    pictures: int
    objects: int
    ap50: Mapping[str, float]
    iou: Mapping[str, float]

    @property
    def map50(self) -> float:
        """Mean over the classes."""
        return float(np.mean(list(self.ap50.values()))) if self.ap50 else 0.0

    @property
    def miou(self) -> float:
        """Mean over the areas."""
        return float(np.mean(list(self.iou.values()))) if self.iou else 0.0

    def document(self) -> dict[str, Any]:
        """As JSON, rounded to what so many pictures can tell."""

        def rounded(values: Mapping[str, float]) -> dict[str, float]:
            return {name: round(value, 4) for name, value in values.items()}

        return {"pictures": self.pictures, "objects": self.objects, "map50": round(self.map50, 4), "miou": round(self.miou, 4),
                "ap50": rounded(self.ap50), "iou": rounded(self.iou)}  # fmt: skip


class Model:
    """An ONNX model with the contract of this recipe, opened as the agent opens it."""

    def __init__(self, model: bytes, classes: Classes, *, min_score: float = LOWEST, threads: int = 1) -> None:
        """Raises BackendError, HeadMismatch, LabelCountMismatch, ModelMismatch."""
        artifact = Artifact(path="models/od_seg.onnx", backend="onnx")
        manifest = Manifest(
            name="od-seg", version="0", created=builder.now(), task="detect-segment", labels=classes.labels,
            input=InputSpec(width=shape.WIDTH, height=shape.HEIGHT, scale=shape.SCALE), head=HeadSpec(name="od-seg"),
            artifacts=(artifact,), files={artifact.path: len(model)},
        )  # fmt: skip
        self._steps = Steps(usable(manifest, artifact, model), FilterRule(min_score, NMS), BackendOptions(threads))

    def result(self, picture: NDArray[np.uint8]) -> Result:
        """The agent's own answer to (height, width, 3) pixels, red first."""
        return self._steps.run(rgb_frame(picture))

    def look(self, picture: NDArray[np.uint8]) -> Seen:
        """The same in a sample's words."""
        outcome = self.result(picture).outcome
        assert isinstance(outcome, Scene)
        found = outcome.detections
        return Seen(found.boxes, found.scores, found.class_ids, outcome.areas.in_source())

    def tensor(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """The network's input for a picture, (1, 3, 288, 512)."""
        return self._steps.prepare(rgb_frame(picture)).tensor.copy()

    def close(self) -> None:
        """Frees the model."""
        self._steps.close()


class Tally:
    """Collects truth and answers, picture by picture."""

    def __init__(self, classes: Classes) -> None:
        """Empty."""
        self.classes = classes
        self._truth: list[dict[str, Any]] = []
        self._answers: list[list[float]] = []
        self._pixels = np.zeros((len(classes.areas), 2), np.int64)  # shared, either
        self._pictures = 0

    def add(self, truth: Sample, seen: Seen) -> None:
        """One picture."""
        number = self._pictures = self._pictures + 1
        for box, class_id in zip(truth.boxes, truth.class_ids, strict=True):
            x, y, wide, high = _corner_and_size(box)
            self._truth.append({"id": len(self._truth) + 1, "image_id": number, "category_id": int(class_id), "iscrowd": 0,
                                "bbox": [x, y, wide, high], "area": wide * high})  # fmt: skip
        for box, score, class_id in zip(seen.boxes, seen.scores, seen.class_ids, strict=True):
            self._answers.append([number, *_corner_and_size(box), float(score), int(class_id)])
        for index, class_id in enumerate(range(len(self.classes.boxes), len(self.classes.labels))):
            real, found = truth.areas == class_id, seen.areas == class_id
            self._pixels[index] += (np.count_nonzero(real & found), np.count_nonzero(real | found))

    def quality(self) -> Quality:
        """Of what was added."""
        iou = {name: float(shared / either) for name, (shared, either) in zip(self.classes.areas, self._pixels, strict=True)
               if either}  # fmt: skip
        return Quality(self._pictures, len(self._truth), self._precision(), iou)

    def _precision(self) -> dict[str, float]:
        """By pycocotools, which is the measure's own definition; it prints, and only the numbers are wanted."""
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval

        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO()
            truth.dataset = {"info": {}, "images": [{"id": number + 1} for number in range(self._pictures)],
                             "annotations": self._truth,
                             "categories": [{"id": i, "name": name} for i, name in enumerate(self.classes.boxes)]}  # fmt: skip
            truth.createIndex()
            if not self._truth:
                return {}
            found = truth.loadRes(np.array(self._answers)) if self._answers else None
            if found is None:
                return {self.classes.boxes[i]: 0.0 for i in sorted({one["category_id"] for one in self._truth})}
            judge = COCOeval(truth, found, "bbox")
            judge.params.iouThrs = np.array([0.5])
            judge.evaluate()
            judge.accumulate()
        precision = judge.eval["precision"][0, :, :, 0, -1]  # (recalls, classes), all sizes, most objects
        return {name: float(precision[:, i].mean()) for i, name in enumerate(self.classes.boxes) if precision[:, i].max() >= 0}


def measure(
    models: Mapping[str, bytes], classes: Classes, samples: Iterable[Sample], tell: Callable[[], object] = lambda: None,
    threads: int = 1,
) -> dict[str, Quality]:  # fmt: skip
    """Shows every sample to every model. Raises what opening and running them raise."""
    with contextlib.ExitStack() as stack:
        opened = {}
        for name, model in models.items():
            opened[name] = Model(model, classes, threads=threads)
            stack.callback(opened[name].close)
        tallies = {name: Tally(classes) for name in models}
        for sample in samples:
            for name, model_ in opened.items():
                tallies[name].add(sample, model_.look(sample.picture))
            tell()
    return {name: tally.quality() for name, tally in tallies.items()}


def _corner_and_size(box: NDArray[np.float32]) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = (float(value) for value in box)
    return x1, y1, x2 - x1, y2 - y1


__all__ = ["Model", "Quality", "Seen", "Tally", "measure"]

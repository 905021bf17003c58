"""Class maps and classifications."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.detector import Found
from tests.lab.renderers.cells import logits
from tests.lab.spec import ModelSpec

Named = tuple[str, NDArray[np.float32]]
_DOUBT = 0.06  # logits: how much a map trembles


def semantic(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x (1 + classes) x H/2 x W/2, logits; id 0 is the ground."""
    size = (spec.wanted.width // 2, spec.wanted.height // 2)
    planes = np.stack([cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane in found.planes])
    strength = np.array([max([0.0, *found.scores[found.ids == k].tolist()]) for k in range(len(planes))], np.float32)
    sure = np.clip(planes * strength[:, None, None], 1e-3, 1 - 1e-3)
    ground = 1 - sure.max(axis=0, keepdims=True)
    made = logits(np.concatenate([ground, sure])) + rng.normal(0, _DOUBT, (1 + len(planes), *planes.shape[1:]))
    made += 0.2 * cv2.resize(found.tone, size, interpolation=cv2.INTER_AREA) * np.linspace(1, -1, len(made))[:, None, None]
    if spec.options.get("scores") == "softmax":
        raised = np.exp(made - made.max(axis=0, keepdims=True))
        made = raised / raised.sum(axis=0, keepdims=True)
    return [("map", made[None].astype(np.float32))]


def classify(found: Found, spec: ModelSpec, rng: Generator) -> list[Named]:
    """1 x (classes + 1), logits: what the largest blob is, the last class is "nothing"."""
    made = rng.normal(0, 0.3, len(spec.classes) + 1)
    made += float(found.tone.mean()) * np.linspace(0.4, -0.4, len(made))
    made[-1] += 2.0
    if len(found.scores):
        areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1) * found.scores
        best = int(areas.argmax())
        made[int(found.ids[best])] += 9.0 * float(found.scores[best]) ** 2
    if spec.options.get("scores") == "softmax":
        raised = np.exp(made - made.max())
        made = raised / raised.sum()
    return [("logits", made[None].astype(np.float32))]

"""How often a model is right, through the agent's own steps, and what its bundle declares. Nothing here needs torch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from camagent import frame
from camagent.pipeline import BackendOptions, FilterRule, Steps, open_backend, rgb_frame, usable
from firmware_pkg import build as builder
from firmware_pkg.manifest import Artifact, HeadSpec, InputSpec, Manifest, Resize
from recipes.classify.classes import Classes
from recipes.classify.dataset import INPUT
from recipes.classify.weights import require_count

SCALE = 1 / 255  # of 0..255 pixels, red first
RESIZE: Resize = "stretch"


@dataclass(frozen=True, slots=True)
class Quality:
    """`right` and `pictures` by class, in class-id order."""

    classes: tuple[str, ...]
    right: tuple[int, ...]
    pictures: tuple[int, ...]

    @property
    def share(self) -> float:
        """0..1, over all pictures."""
        return sum(self.right) / max(1, sum(self.pictures))

    def document(self) -> dict[str, object]:
        """As JSON."""
        each = {name: round(good / max(1, count), 4)
                for name, good, count in zip(self.classes, self.right, self.pictures, strict=True)}  # fmt: skip
        return {"pictures": sum(self.pictures), "accuracy": round(self.share, 4), "by_class": each}


def scores_of(model: bytes) -> int:
    """How many scores an ONNX model gives. Raises BackendError."""
    backend = open_backend("onnx", model, BackendOptions())
    try:
        return int(np.prod([side or 1 for side in backend.outputs[0].shape]))
    finally:
        backend.close()


def measure(model: bytes, classes: Classes, place: str, samples: Iterable[tuple[NDArray[np.uint8], int]],
            tell: Callable[[], object] = lambda: None) -> Quality:  # fmt: skip
    """Pictures (h, w, 3), red first, with their class ids. Raises CountMismatch, BackendError, HeadMismatch."""
    require_count("model", scores_of(model), place, classes)
    artifact = Artifact(path="models/classify.onnx", backend="onnx")
    manifest = Manifest(
        name="classify", version="0", created=builder.now(), task="classify", labels=classes.classes,
        input=InputSpec(width=INPUT, height=INPUT, scale=SCALE, resize=RESIZE), head=HeadSpec(name="classify"),
        artifacts=(artifact,), files={artifact.path: len(model)},
    )  # fmt: skip
    steps = Steps(usable(manifest, artifact, model), FilterRule(0.0, 0.5), BackendOptions(1))
    seen: NDArray[np.int64] = np.zeros((len(classes.classes), 2), np.int64)
    try:
        for picture, wanted in samples:
            outcome = steps.run(rgb_frame(picture)).outcome
            assert isinstance(outcome, frame.Classes)
            seen[wanted] += (int(outcome.top(1)[0][0] == wanted), 1)
            tell()
    finally:
        steps.close()
    return Quality(classes.classes, tuple(seen[:, 0].tolist()), tuple(seen[:, 1].tolist()))

"""A CameraDesk without an agent: real views, real overlay documents, and pictures that the test feeds."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any, Self

import numpy as np

from camagent.errors import InputError
from camagent.frame import Detections
from camagent.health import Durations
from camagent.onlookers import Shown, View, Views
from camagent.overlay import Change, with_change
from camagent.pipeline import rgb_frame
from camagent.service import Origin
from camagent.web.desk import Spent, no_camera

LABELS = ("red", "blue")


def shown(number: int = 0, *, boxes: int = 1, private: tuple[tuple[tuple[float, float], ...], ...] = ()) -> Shown:
    """A grey picture 320x240 with so many boxes, which move with its number."""
    pixels = np.full((240, 320, 3), 90, np.uint8)
    pixels[:, number % 300 : number % 300 + 20] = 200
    left = np.arange(boxes, dtype=np.float32) * 40 + number % 100
    found = np.stack([left, left * 0 + 50, left + 30, left * 0 + 90], axis=1) if boxes else np.zeros((0, 4))
    scores = np.full(boxes, 0.9, np.float32)
    outcome = Detections(found.astype(np.float32), scores, np.arange(boxes, dtype=np.int64) % len(LABELS))
    return Shown(rgb_frame(pixels), outcome, LABELS, private)


class FakeDesk:
    def __init__(self) -> None:
        self.views = Views(time.monotonic)
        self.overlay: dict[str, Any] = {}
        self.asked: list[tuple[Any, ...]] = []
        self.told: Mapping[str, Spent] = {"front": {"infer": Durations((0,) * 5 + (10,) + (0,) * 7, 0.5)}}
        self.may_answer = threading.Event()
        self.may_answer.set()

    def forget(self) -> None:
        self.overlay.clear()
        self.asked.clear()

    def view(self, camera: str) -> View:
        if camera != "front":
            raise no_camera(camera, "front")
        return self.views.of(camera)

    def predict(self, camera: str, picture: bytes, min_score: float | None) -> dict[str, Any]:
        self.view(camera)
        self.asked.append(("predict", len(picture), min_score))
        assert self.may_answer.wait(30)
        if not picture.startswith(b"\xff\xd8\xff"):
            raise InputError("the picture is no JPEG or PNG", fix="give a JPEG or PNG picture")
        return {"schema": "camagent.prediction/1", "camera": camera, "results": [], "counts": {"score_max": 0.0}, "picture": ""}

    def areas(self, camera: str) -> dict[str, Any]:
        self.view(camera)
        return {
            "camera": camera,
            "base": "00",
            "zone": [],
            "mask": [],
            "filter": {"labels": [], "min_score": None},
            "overlay": [],
        }

    def save(self, camera: str, change: Change, origin: Origin) -> dict[str, Any]:
        self.view(camera)
        self.asked.append(("save", camera, change, origin))
        self.overlay = with_change(self.overlay, camera, change)
        return self.areas(camera)

    def spent(self) -> Mapping[str, Spent]:
        return self.told


class Feeding:
    """Shows a view its pictures, as a camera's worker would, until it is told to stop."""

    def __init__(self, view: View) -> None:
        self.given = 0
        self._view, self._over = view, threading.Event()
        self._thread = threading.Thread(target=self._feed, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(10)

    def _feed(self) -> None:
        number = 0
        while not self._over.wait(0.02):
            number += 1
            if self._view.wants():
                self.given += 1
                self._view.show(shown(number))

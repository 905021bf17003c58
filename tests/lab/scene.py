"""Pictures with known answers: saturated blobs on a dull, textured ground, laid out asymmetrically, with exact boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from tests.lab.spec import Shape

Pixels = NDArray[np.uint8]  # (height, width, 3) RGB
Format = Literal["png", "jpeg"]

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 36, 30),
    "blue": (30, 54, 216),
    "green": (34, 188, 52),
    "yellow": (234, 214, 42),
}
SIZES = ((320, 240), (400, 240), (360, 270), (240, 320), (426, 240))  # width, height; none is 16:9


@dataclass(frozen=True, slots=True)
class Blob:
    """One object: label and x1 y1 x2 y2 in pixels."""

    label: str
    box: tuple[int, int, int, int]


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what is on it."""

    name: str
    pixels: Pixels
    blobs: tuple[Blob, ...] = ()
    format: Format = "png"

    @cached_property
    def data(self) -> bytes:
        """The picture as a file."""
        done, coded = cv2.imencode(".jpg" if self.format == "jpeg" else ".png", self.pixels[:, :, ::-1])
        assert done
        return bytes(coded.tobytes())

    @property
    def file(self) -> str:
        return f"{self.name}.{'jpg' if self.format == 'jpeg' else 'png'}"

    @property
    def declared(self) -> dict[str, int]:
        """What a person would say is on it."""
        labels = [blob.label for blob in self.blobs]
        return {label: labels.count(label) for label in sorted(set(labels))}


def scene(
    rng: Generator, name: str, size: tuple[int, int], labels: Sequence[str], *, side: tuple[float, float] = (0.16, 0.27),
    shape: Shape = "disc", line: float | None = None, format: Format = "png",  # noqa: A002
) -> Scene:  # fmt: skip
    """One blob per entry of `labels`, none touching another.

    `side`: range of their size as a share of the picture's shorter side. `line`: where all their middles lie, 0..1 of the
    picture's height.
    """
    pixels = ground(rng, size)
    blobs: list[Blob] = []
    for label in labels:
        box = _free_place(rng, size, [blob.box for blob in blobs], side, line)
        if box is not None:
            _draw(rng, pixels, label, box, shape)
            blobs.append(Blob(label, box))
    return Scene(name, _noisy(rng, pixels), tuple(blobs), format)


def empty(rng: Generator, name: str, size: tuple[int, int]) -> Scene:
    """The ground and nothing on it."""
    return Scene(name, _noisy(rng, ground(rng, size)))


def ground(rng: Generator, size: tuple[int, int]) -> Pixels:
    """Dull browns and greys: a slope, coarse patches, and a line or two."""
    width, height = size
    coarse = rng.normal(0, 9, (height // 16 + 1, width // 16 + 1, 1)) + rng.normal(0, 3, (1, 1, 3))
    patches = cv2.resize(
        np.broadcast_to(coarse, (*coarse.shape[:2], 3)).astype(np.float32), size, interpolation=cv2.INTER_CUBIC
    )
    slope = np.linspace(rng.uniform(-22, 22), rng.uniform(-22, 22), width)[None, :, None]
    made = rng.uniform(92, 138) + slope + patches
    cv2.line(made, (0, int(height * rng.uniform(0.3, 0.6))), (width, int(height * rng.uniform(0.3, 0.6))), (70, 68, 66), 2)
    return np.clip(made, 0, 255).astype(np.uint8)


def _free_place(
    rng: Generator, size: tuple[int, int], taken: Sequence[tuple[int, int, int, int]], side: tuple[float, float],
    line: float | None,
) -> tuple[int, int, int, int] | None:  # fmt: skip
    width, height = size
    for _ in range(200):
        extent = int(min(size) * rng.uniform(*side))
        # skewed towards the upper left, so that a mirrored or exchanged picture is another one
        x = int((width - extent - 4) * rng.beta(1.3, 2.1)) + 2
        y = int((height - extent - 4) * rng.beta(1.3, 1.9)) + 2 if line is None else int(height * line - extent / 2)
        gap = extent // 4 + 4
        if all(x > b[2] + gap or x + extent + gap < b[0] or y > b[3] + gap or y + extent + gap < b[1] for b in taken):
            return x, y, x + extent, y + extent
    return None


def _draw(rng: Generator, pixels: Pixels, label: str, box: tuple[int, int, int, int], shape: Shape) -> None:
    x1, y1, x2, y2 = box
    colour = [float(np.clip(value + rng.normal(0, 7), 0, 255)) for value in COLOURS[label]]
    half = (x2 - x1) / 2
    if shape == "bell":
        top = 0.15 * (x2 - x1)
        corners = np.array([(x1, y2), (x1 + half - top, y1), (x1 + half + top, y1), (x2, y2)]) * 16 - 8
        cv2.fillPoly(pixels, [np.rint(corners).astype(np.int32)], colour, cv2.LINE_AA, 4)
        return
    centre = (round((x1 + half) * 16 - 8), round((y1 + half) * 16 - 8))
    cv2.circle(pixels, centre, round(half * 16), colour, -1, cv2.LINE_AA, 4)


def _noisy(rng: Generator, pixels: Pixels) -> Pixels:
    return np.asarray(np.clip(pixels.astype(np.int16) + rng.integers(-5, 6, pixels.shape, np.int8), 0, 255), np.uint8)

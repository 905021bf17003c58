"""Another look at the same picture: mirrored, shifted, nearer or farther, brighter or greyer. Boxes and areas follow."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from recipes.od_seg.classes import BACKGROUND
from recipes.od_seg.scene import Sample
from recipes.od_seg.shape import PAD

_LEFT = 0.3  # of a box's area that must still be in the picture


def augment(sample: Sample, rng: np.random.Generator) -> Sample:
    """What a camera might have made of it. Sizes stay; objects of which less than a third is left lose their box."""
    if rng.random() < 0.5:
        sample = mirrored(sample)
    if rng.random() < 0.7:
        zoom = float(np.exp(rng.uniform(-0.35, 0.45)))
        sample = moved(sample, zoom, (float(rng.uniform(-0.2, 0.2)), float(rng.uniform(-0.12, 0.12))))
    return recoloured(sample, rng)


def mirrored(sample: Sample) -> Sample:
    """Left is right."""
    width = sample.picture.shape[1]
    boxes = sample.boxes.copy()
    boxes[:, [0, 2]] = width - sample.boxes[:, [2, 0]]
    picture, areas = np.ascontiguousarray(sample.picture[:, ::-1]), np.ascontiguousarray(sample.areas[:, ::-1])
    return Sample(picture, boxes, sample.class_ids, areas)


def moved(sample: Sample, zoom: float, shift: tuple[float, float]) -> Sample:
    """Enlarged about its middle, then shifted by shares of its width and height; what comes in from outside is grey."""
    picture = _warped(sample.picture, zoom, shift, cv2.INTER_LINEAR, PAD)
    areas = _warped(sample.areas, zoom, shift, cv2.INTER_NEAREST, BACKGROUND)
    width, height = sample.size
    edge = np.array([width, height] * 2, np.float32)
    away = np.array([shift[0] * width, shift[1] * height] * 2, np.float32)
    boxes = ((sample.boxes - edge / 2) * np.float32(zoom) + edge / 2 + away).astype(np.float32)
    inside = np.clip(boxes, 0, edge).astype(np.float32)
    kept = _area(inside) >= _LEFT * _area(boxes)
    return Sample(picture, inside[kept], sample.class_ids[kept], areas)


def recoloured(sample: Sample, rng: np.random.Generator) -> Sample:
    """Brightness, contrast, gamma and white balance in one table per channel; sometimes grey, noisy or out of focus."""
    steps = np.linspace(0, 1, 256, dtype=np.float32)
    gain = float(rng.uniform(0.75, 1.3)) * rng.normal(1, 0.05, 3)
    curve = steps[:, None] ** float(np.exp(rng.normal(0, 0.2))) * gain + float(rng.normal(0, 0.05))
    table = np.clip(curve * 255, 0, 255).astype(np.uint8)
    picture: NDArray[np.uint8] = cv2.LUT(sample.picture, table[:, None, :].transpose(1, 0, 2)).astype(np.uint8)
    if rng.random() < 0.1:
        picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.uint8)
    if rng.random() < 0.15:
        picture = cv2.GaussianBlur(picture, (3, 3), 0).astype(np.uint8)
    if rng.random() < 0.3:
        noise = rng.standard_normal(picture.shape[:2], np.float32)[..., None] * np.float32(rng.uniform(1, 7))
        picture = np.clip(picture + noise, 0, 255).astype(np.uint8)
    return Sample(picture, sample.boxes, sample.class_ids, sample.areas)


def _warped(image: NDArray[np.uint8], zoom: float, shift: tuple[float, float], how: int, fill: int) -> NDArray[np.uint8]:
    height, width = image.shape[:2]
    middle = (width / 2 - 0.5, height / 2 - 0.5)  # of pixel centres
    matrix = np.array(
        [[zoom, 0, middle[0] * (1 - zoom) + shift[0] * width], [0, zoom, middle[1] * (1 - zoom) + shift[1] * height]]
    )
    border = (fill, fill, fill) if image.ndim == 3 else (fill,)
    made: NDArray[np.uint8] = cv2.warpAffine(image, matrix, (width, height), flags=how, borderMode=cv2.BORDER_CONSTANT,
                                             borderValue=border).astype(np.uint8)  # fmt: skip
    return made


def _area(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    made: NDArray[np.float32] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return made

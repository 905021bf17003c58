"""Pictures of a red ball and a blue box on grey, for the networks of networks.py, and bundles of those."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.cli import run
from tests.support.networks import BLUE, GREY, HEIGHT, RED, WIDTH, detect_network, save

INPUT = ("--scale", "0.00392156862745098", "--resize", "stretch")
Box = tuple[int, int, int, int]


def scene(red: Box | None = (20, 30, 60, 70), blue: Box | None = (100, 40, 170, 110)) -> NDArray[np.uint8]:
    """BGR, (HEIGHT, WIDTH, 3); boxes x1 y1 x2 y2."""
    picture = np.full((HEIGHT, WIDTH, 3), GREY[::-1], np.uint8)
    for box, color in ((red, RED), (blue, BLUE)):
        if box is not None:
            picture[box[1] : box[3], box[0] : box[2]] = color[::-1]
    return picture


def folder_of(path: Path, count: int = 4) -> Path:
    """A folder of such pictures, each with its things elsewhere."""
    path.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        at = 8 * index % 40
        red, blue = (12 + at, 30, 44 + at, 62), (110 + at // 2, 40, 160 + at // 2, 100)
        cv2.imwrite(str(path / f"{index}.png"), scene(red, blue))
    return path


def labels(folder: Path) -> Path:
    path = folder / "labels.txt"
    path.write_text("ball\nbox\n")
    return path


def bundle(folder: Path, *models: str, name: str = "float") -> Path:
    """A bundle of the detecting network and of `models`, as `bundle create` takes them."""
    model = save(folder / "float.onnx", detect_network)
    made = folder / f"{name}.cambundle"
    command = ["bundle", "create", str(model), *models, "--name", name, "--version", "1.0.0", "--head", "yolov8",
               "--labels", str(labels(folder)), *INPUT, "-o", str(made)]  # fmt: skip
    assert run(command) == 0
    return made

"""A clip in which a red ball crosses the picture, and the bundle of a model that sees it; magenta where nobody may look."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.support.agent import camagent
from tests.support.camera import need_ffmpeg
from tests.support.networks import RED, detect_network, save

WIDTH, HEIGHT, FPS = 384, 256, 10
CROSSING_S, AWAY_S = 6, 6  # longer away than a tracker remembers
RADIUS = 28
MAGENTA = (255, 0, 255)
Polygon = tuple[tuple[float, float], ...]


def frames(*, patches: tuple[Polygon, ...] = (), size: tuple[int, int] = (WIDTH, HEIGHT)) -> Iterator[NDArray[np.uint8]]:
    """RGB. `patches`: polygons, 0..1 of the picture, that are magenta."""
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    street = np.stack([70 + x * 30 // width, 90 + y * 30 // height, np.full_like(x, 80)], axis=2).astype(np.uint8)
    for polygon in patches:
        corners = (np.array(polygon) * (width, height)).astype(np.int32)
        cv2.fillPoly(street, [corners], MAGENTA)
    for number in range((CROSSING_S + AWAY_S) * FPS):
        picture = street.copy()
        if number < CROSSING_S * FPS:
            at = RADIUS + 4 + (width - 2 * RADIUS - 8) * number // (CROSSING_S * FPS)
            cv2.circle(picture, (at, height * 3 // 4 - 8), RADIUS, RED, cv2.FILLED)
        yield picture


def clip(path: Path, *, patches: tuple[Polygon, ...] = (), size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """H.264, 4:2:0, a key frame a second."""
    need_ffmpeg()
    width, height = size
    chroma = "yuv444p" if (width | height) & 1 else "yuv420p"
    command = [
        "ffmpeg", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(FPS),
        "-i", "-", "-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-pix_fmt", chroma, "-g", "10", "-bf", "0",
        "-threads", "1", "-x264-params", "log-level=error", str(path),
    ]  # fmt: skip
    raw = b"".join(picture.tobytes() for picture in frames(patches=patches, size=size))
    subprocess.run(command, input=raw, check=True, timeout=120)
    return path


def bundle(folder: Path) -> Path:
    """Sees balls (red) and boxes (blue)."""
    (folder / "things.txt").write_text("ball\nbox\n")
    model, made = save(folder / "things.onnx", detect_network), folder / "things.cambundle"
    done = camagent(
        "bundle", "create", str(model), "--name", "things", "--version", "1.0.0", "--head", "yolov8", "--scale", "0.00392157",
        "--labels", str(folder / "things.txt"), "--resize", "stretch", "--min-score", "0.5", "-o", str(made),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return made

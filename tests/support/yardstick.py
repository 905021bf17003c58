"""Preprocessing written plainly in numpy and OpenCV at full size: what `camagent.preprocess` must agree with."""

from __future__ import annotations

from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.preprocess import Placement
from firmware_pkg.manifest import InputSpec

KR_KB = {"601": (0.299, 0.114), "709": (0.2126, 0.0722)}


def planes(frame: av.VideoFrame) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Y, U, V of a yuv420p / yuvj420p / nv12 frame, chroma repeated to luma's size."""
    rows = [np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size) for plane in frame.planes]
    width, height = frame.width, frame.height
    luma = rows[0][:height, :width]
    if frame.format.name == "nv12":
        half = (width + 1) // 2
        u, v = rows[1][:, : half * 2 : 2], rows[1][:, 1 : half * 2 : 2]
    else:
        half = (width + 1) // 2
        u, v = rows[1][:, :half], rows[2][:, :half]
    up = [cv2.resize(c, (half * 2, u.shape[0] * 2), interpolation=cv2.INTER_LINEAR)[:height, :width] for c in (u, v)]
    return luma.astype(np.float64), up[0].astype(np.float64), up[1].astype(np.float64)


def rgb(frame: av.VideoFrame, matrix: str, *, full: bool) -> NDArray[np.float64]:
    """BT.601 / BT.709, limited or full range -> (height, width, 3) RGB 0..255 (ITU-R BT.601-7 and BT.709-6)."""
    y, u, v = planes(frame)
    if full:
        u, v = u - 128, v - 128
    else:
        y, u, v = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    kr, kb = KR_KB[matrix]
    r = y + 2 * (1 - kr) * v
    b = y + 2 * (1 - kb) * u
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=2), 0, 255)


def tensor(picture: NDArray[np.float64], spec: InputSpec, to: Placement) -> NDArray[Any]:
    """RGB 0..255 at full size -> the network's input, by area resize, padding or cropping, then plain arithmetic."""
    size = (to.width, to.height)
    how = cv2.INTER_AREA if to.width <= picture.shape[1] else cv2.INTER_LINEAR
    scaled = cv2.resize(picture, size, interpolation=how)
    canvas = np.full((spec.height, spec.width, 3), float(spec.pad_value))
    if to.x < 0 or to.y < 0:
        canvas[:] = scaled[-to.y : -to.y + spec.height, -to.x : -to.x + spec.width]
    else:
        canvas[to.y : to.y + to.height, to.x : to.x + to.width] = scaled
    if spec.color == "bgr":
        canvas = canvas[:, :, ::-1]
    if spec.dtype == "uint8":
        made = np.round(canvas).astype(np.uint8)
    else:
        made = ((canvas * spec.scale - np.array(spec.mean)) / np.array(spec.std)).astype(np.float32)
    return made.transpose(2, 0, 1)[None] if spec.layout == "nchw" else made[None]

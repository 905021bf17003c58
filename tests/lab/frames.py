"""Pixels -> frames as a decoder gives them (yuv420p, limited range), and what a source says of itself meanwhile."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import av
import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from camagent.config import Mask
from camagent.frame import Frame
from camagent.selftest.sample import LiveSample, SourceFacts
from tests.lab.scene import Pixels

EPOCH = 1_790_000_000.0
Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """One decoded picture: luma (h, w), chroma (h / 2, w / 2)."""

    y: Plane
    u: Plane
    v: Plane


def decoded(pixels: Pixels) -> Planes:
    """What a decoder gives of this picture; odd sizes lose a line."""
    even = pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2]
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(even), format="rgb24").reformat(format="yuv420p")
    whole = np.asarray(picture.to_ndarray(), np.uint8)
    height, width = even.shape[:2]
    chroma = whole[height:].reshape(2, height // 2, width // 2)
    return Planes(whole[:height].copy(), chroma[0].copy(), chroma[1].copy())


def masked(planes: Planes, masks: Sequence[Mask]) -> Planes:
    """Private areas filled grey, as the source does it before anybody else sees the picture."""
    for mask in masks:
        for plane in (planes.y, planes.u, planes.v):
            corners = np.array(mask.polygon) * (plane.shape[1], plane.shape[0])
            cv2.fillPoly(plane, [np.rint(corners).astype(np.int32)], [128])
    return planes


def frame_of(planes: Planes, at: float) -> Frame:
    """A frame that was taken `at` seconds on the stream's time line."""
    height, width = planes.y.shape
    whole: NDArray[Any] = np.concatenate([planes.y.ravel(), planes.u.ravel(), planes.v.ravel()]).reshape(height * 3 // 2, width)
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(whole), format="yuv420p")
    return Frame(picture, at, EPOCH + at, "arrival", at, 3.0)


def fingerprint(planes: Planes) -> int:
    return zlib.crc32(planes.y.tobytes())


def sample(rng: Generator, shown: Sequence[Planes], masks: Sequence[Mask] = (), **facts: Any) -> LiveSample:
    """Frames spread over some ten seconds, and facts that fit them; sensor noise makes every decoded picture another one."""
    seconds, fps = (
        float(facts.pop("seconds", rng.uniform(8, 12))),
        float(facts.pop("fps", rng.choice([10.0, 12.5, 15.0, 25.0]))),
    )
    count = int(seconds * fps)
    prints = [int(number) for number in rng.integers(0, 2**32, count)]
    places = np.linspace(0, count - 1, len(shown)).astype(int) if shown else np.zeros(0, int)
    start = float(rng.uniform(0, 5))
    frames = []
    for place, planes in zip(places, shown, strict=True):
        prints[place] = fingerprint(planes)
        copy = Planes(planes.y.copy(), planes.u.copy(), planes.v.copy())
        frames.append(frame_of(masked(copy, masks), start + place / fps))
    told: dict[str, Any] = {
        "state": "running", "seconds": seconds, "packets": count, "decoded": count, "transport": "tcp",
        "key_interval": float(rng.choice([1.0, 2.0, 4.0])), "fingerprints": tuple(prints),
        "pts": tuple(start + index / fps for index in range(count)),
    }  # fmt: skip
    return LiveSample(tuple(frames), SourceFacts(**told | facts))

"""What a snapshot and a frame's events cost: CPU of one thread, beside the way over a full-size picture in BGR.

python -m bench.event_cost
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import process_time_ns
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Colorspace, VideoReformatter
from numpy.typing import NDArray

from camagent.frame import Detections, Frame
from camagent.sinks import Mark, annotate, snapshot, to_jpeg
from tests.support.objects import KNOWN, LABELS, NOTHING, Scene, seen, track

ROUNDS, FRAMES = 15, 2000
SIZES = ((1280, 720), (1920, 1080))
BOX = (100.0, 50.0, 400.0, 500.0)


def picture(width: int, height: int, name: str) -> av.VideoFrame:
    """Texture on soft colours, as BT.709 in limited range."""
    y, x = np.mgrid[0:height, 0:width]
    soft = np.stack([128 + 90 * np.sin(x / width * a + y / height * b) for a, b in ((5, 2), (3, 6), (7, 1))], axis=2)
    grain = np.random.default_rng(1).normal(0, 6, (height, width, 1))
    rgb = np.clip(soft + grain, 0, 255).astype(np.uint8)
    made = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    made = VideoReformatter().reformat(made, format=name, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
    made.colorspace, made.color_range = 1, 1
    return made


def cost_ms(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Median CPU time of this process."""
    taken = []
    for _ in range(rounds):
        began = process_time_ns()
        work()
        taken.append(process_time_ns() - began)
    return median(taken) / 1e6


def snapshots() -> None:
    """Milliseconds and bytes per JPEG."""
    for width, height in SIZES:
        for name in ("yuv420p", "nv12"):
            frame = Frame(picture(width, height, name), None, 0.0, "arrival", 0.0, 0.0)
            found = Detections(np.array([BOX], np.float32), np.array([0.87], np.float32), np.array([0]))
            mark = Mark(BOX, "person 0.87", 0)

            def over_bgr(frame: Frame = frame, found: Detections = found) -> NDArray[np.uint8] | bytes:
                return to_jpeg(annotate(frame, found, LABELS))

            ours = cost_ms(lambda frame=frame, mark=mark: snapshot(frame, mark))  # type: ignore[misc]
            size = len(snapshot(frame, mark))
            print(f"{width} x {height} {name:8} {ours:5.1f} ms, {size / 1e3:.0f} kB; over BGR {cost_ms(over_bgr):5.1f} ms")


def events() -> None:
    """Microseconds per frame in which nothing changes."""
    for number in (1, 5, 20):
        with tempfile.TemporaryDirectory() as folder:
            scene = Scene(Path(folder))
            scene.happenings.follow(KNOWN)
            tracks = [track(index, x=20 + 10 * index) for index in range(1, number + 1)]
            scene.look(*tracks)

            def frame(scene: Scene = scene, tracks: list[Any] = tracks) -> None:
                scene.clock.now += 0.1
                scene.happenings.turn(looking=True)
                scene.happenings.see(scene.result(NOTHING, seen(*tracks)), LABELS)

            print(f"{number:3} objects: {cost_ms(frame, FRAMES) * 1e3:.0f} us per frame")


if __name__ == "__main__":
    cv2.setNumThreads(1)
    snapshots()
    events()

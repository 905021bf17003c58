"""Ways from the decoder's YUV to a small picture: cost, and distance from "convert at full size, then resize".

python -m bench.preprocess [--video clip.mp4] [--network 352x352]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from camagent.preprocess import colorspace, full_range, to_pixels
from tests.support.yardstick import rgb

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ROUNDS = 5


def cheapest_ms(way: Callable[[av.VideoFrame], Any], frames: list[av.VideoFrame]) -> float:
    """The least noisy estimate: the best of some rounds, CPU time per frame."""
    best = float("inf")
    for _ in range(ROUNDS):
        started = time.process_time()
        for frame in frames:
            way(frame)
        best = min(best, (time.process_time() - started) / len(frames) * 1e3)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--video", type=Path, default=SHARED / "video" / "one-by-one-person-detection.mp4")
    parser.add_argument("--network", default="352x352")
    args = parser.parse_args()
    width, height = (int(side) for side in args.network.split("x"))
    with av.open(str(args.video)) as container:
        frames = list(islice(container.decode(video=0), 40))
    cv2.setNumThreads(1)
    ways: dict[str, Callable[[av.VideoFrame], Any]] = {
        "camagent: swscale to yuv444p, then a matrix": lambda f: to_pixels(ours, f, width, height, "bgr"),
        "full-size BGR, then cv2.resize": lambda f: cv2.resize(f.to_ndarray(format="bgr24"), (width, height)),
    }
    ours = VideoReformatter()
    for name in ("AREA", "BILINEAR", "FAST_BILINEAR", "BICUBIC"):
        for extra in (Interpolation(0), Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND):
            scaler, how = VideoReformatter(), Interpolation[name] | extra

            def direct(frame: av.VideoFrame, scaler: VideoReformatter = scaler, how: Interpolation = how) -> Any:
                return scaler.reformat(frame, width, height, "bgr24", interpolation=how, threads=1).to_ndarray()

            ways[f"swscale to bgr24, {name}{' + full chroma' if extra else ''}"] = direct
    sample = frames[len(frames) // 2]
    matrix = "709" if colorspace(sample).name == "ITU709" else "601"
    full = rgb(sample, matrix, full=full_range(sample))[:, :, ::-1]
    yardstick = cv2.resize(full, (width, height), interpolation=cv2.INTER_AREA)
    print(f"{sample.width}x{sample.height} {sample.format.name} to {width}x{height}")
    print(f"{'':48}{'ms CPU':>8}{'mean |d|':>10}{'max |d|':>9}")
    for name, way in ways.items():
        distance = np.abs(np.asarray(way(sample), np.float64) - yardstick)
        print(f"{name:48}{cheapest_ms(way, frames):8.2f}{distance.mean():10.2f}{distance.max():9.0f}")


if __name__ == "__main__":
    main()

"""A camera's worker for hours, in a process of its own: python -m tests.support.long_day BUNDLE HOURS simulated|real.

Every frame goes the whole way, from preprocessing to the message's bytes, with the counters of `health`. Simulated, the clock
is this program's and frames come as fast as they are done; otherwise at 10 a second. Prints JSON: rows of hours, resident
bytes, and those of them that are the process's own: pages of mapped files come and go as others need the page cache.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from camagent import npu, vitals
from camagent.backends import BackendOptions, installed
from camagent.bodies import ModelRef, encode
from camagent.filters import FilterRule
from camagent.frame import Detections
from camagent.health import CameraCounters
from camagent.inputs import picture_frame
from camagent.messages import Author, body_of
from camagent.models import load
from camagent.steps import RLE, Steps
from firmware_pkg.verify import Policy

FPS, SAMPLES_PER_HOUR = 10, 12


class SimulatedClock:
    """Moves when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def wall(self) -> float:
        return 1.8e9 + self.now


def own_bytes() -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024


def main(bundle: Path, hours: float, pace: str) -> None:
    with bundle.open("rb") as source:
        policy = Policy(trusted=None, unsigned="allowed")
        made = load(source, policy, backends=installed(), backend="auto", device=vitals.device(), golden=True)
    manifest, clock = made.manifest, SimulatedClock()
    steps = Steps(made, FilterRule(manifest.thresholds.min_score, manifest.thresholds.nms_iou), BackendOptions(), clock)
    steps.warm_up()
    author = Author("a", "front", 1, ModelRef(name="m", version="1"), manifest.label_names, manifest.label_groups)
    counters = CameraCounters(clock.monotonic, FPS)
    frames = [picture_frame(made.golden[item.image], item.image) for item in manifest.golden]
    per_hour = 3600 * FPS
    every = max(1, per_hour // (SAMPLES_PER_HOUR if pace == "simulated" else 360))
    began, samples = time.monotonic(), []
    for number in range(1, round(hours * per_hour) + 1):
        clock.now += 1 / FPS
        if pace == "real":
            time.sleep(max(0.0, began + number / FPS - time.monotonic()))
        result = steps.run(frames[number % len(frames)])
        counters.inferred(result.counts, result.latency, result.invalid)
        assert isinstance(result.outcome, Detections)
        encode(body_of(result, result.outcome, author, number, clock.wall(), rle=RLE))
        if number % (10 * FPS) == 0:
            counters.window()
            npu.health()
        if number % every == 0:
            samples.append([number / per_hour, vitals.rss_bytes(), own_bytes()])
    steps.close()
    print(json.dumps(samples))


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3])

"""What the continuous reasons cost: CPU per frame of every part of them, beside the CPU of the frame itself.

    python -m bench.health_cost [--model FastestDet.onnx] [--video clip.mp4] [--fps 10] [--frames 600] [--limit 1.0]

One thread does what a camera's threads do with a frame (demux and decode, prepare, infer, decode the outputs, filter). Every
part of the health is timed inside that, in place, by the CPU time of the thread. What happens only now and then is charged to
the frames by the stream's own time. Publishing is left out: a frame looks cheaper than it is, and the share of the health
larger. Exit code 1 where the share is above --limit (per cent).
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from time import thread_time_ns

from bench.frame_cost import SHARED, bundle, scaled
from camagent.backends import BackendOptions
from camagent.cli.tool_bundle import load_bundle
from camagent.config import Camera
from camagent.filters import FilterRule
from camagent.frame import Latency
from camagent.health import CameraCounters
from camagent.picture_check import PictureCheck
from camagent.reasons import CameraFacts, reason
from camagent.sources import open_source
from camagent.steps import INVALID_EVERY_S, Steps, invalid_values

REASONS_EVERY_S = 0.5  # agent.TICK_S
WARM = 30  # frames
PARTS = {
    "picture": "does it move, how bright is it", "outputs": "NaN and infinite values",
    "counters": "stage counters", "reason": "the last 10 s summed up, twice a second",
}  # fmt: skip


class Meter:
    """CPU nanoseconds by part. Reading the clock twice costs as much as some parts: measured in place, and taken off."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    def add(self, name: str, began: int) -> None:
        """What was spent since `began`, a reading of `thread_time_ns`."""
        self.spent[name] += thread_time_ns() - began

    def micros(self, name: str, frames: int) -> float:
        """Microseconds per frame of a part that was added with every frame."""
        return max(0, self.spent[name] - self.spent["nothing"]) / frames / 1e3


class Every:
    """Calls of something that is due once in a while."""

    def __init__(self, seconds: float) -> None:
        self._seconds, self._due = seconds, 0.0

    def due(self, now: float) -> bool:
        if now < self._due:
            return False
        self._due = now + self._seconds
        return True


def measure(steps: Steps, video: Path, fps: float, frames: int) -> tuple[float, dict[str, float]]:
    """Microseconds of a frame without its health, and of each part of it."""
    now = [0.0]
    check, counters, meter = PictureCheck((), fps), CameraCounters(lambda: now[0], fps), Meter()
    search, judge = Every(INVALID_EVERY_S), Every(REASONS_EVERY_S)
    source = open_source(Camera(name="bench", url=str(video), fps=fps))
    began, latency = 0, Latency(1, 1, 1, 1, 4)
    for number, frame in enumerate(islice(source.frames(), WARM + frames)):
        if number == WARM:
            meter.spent.clear()
            began = thread_time_ns()
        now[0] = number / fps
        prepared = steps.prepare(frame)
        started = thread_time_ns()
        meter.add("nothing", started)
        started = thread_time_ns()
        check.see(prepared, now[0])
        meter.add("picture", started)
        outputs = steps.backend.infer(prepared.tensor)
        counts = steps.decode(outputs, prepared.letterbox).counts
        started = thread_time_ns()
        invalid = invalid_values(outputs) if search.due(now[0]) else None
        meter.add("outputs", started)
        started = thread_time_ns()
        counters.inferred(counts, latency, invalid)
        counters.published(answered=True)
        counters.outcome("acknowledged", 1)
        meter.add("counters", started)
        started = thread_time_ns()
        if judge.due(now[0]):
            reason(_facts(counters, check, steps))
        meter.add("reason", started)
    total = thread_time_ns() - began
    done = number + 1 - WARM
    parts = {name: meter.micros(name, done) for name in PARTS}
    return total / done / 1e3 - sum(parts.values()), parts


def _facts(counters: CameraCounters, check: PictureCheck, steps: Steps) -> CameraFacts:
    return CameraFacts(
        "running", None, None, None, 0.05, 10.0, counters.window(), detects=True, min_score=steps.rule.min_score,
        picture=check.facts(), key_interval=2.0, unanswered_s=counters.unanswered_s,
    )  # fmt: skip


def report(rows: dict[str, tuple[float, dict[str, float]]], say: Callable[[str], object] = print) -> float:
    """Prints the table; returns the largest share in per cent."""
    say(f"{'':24}{'frame':>10}" + "".join(f"{name:>10}" for name in PARTS) + f"{'health':>10}{'share':>9}")
    worst = 0.0
    for name, (frame, parts) in rows.items():
        health = sum(parts.values())
        share = health / (frame + health) * 100
        worst = max(worst, share)
        cells = "".join(f"{value:10.1f}" for value in (frame, *parts.values(), health))
        say(f"{name:24}{cells}{share:8.2f}%")
    say("microseconds of CPU per frame; " + "; ".join(f"{name}: {what}" for name, what in PARTS.items()))
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=SHARED / "models" / "FastestDet.onnx")
    parser.add_argument("--video", type=Path, default=SHARED / "video" / "one-by-one-person-detection.mp4")
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument("--frames", type=int, default=600)
    parser.add_argument("--limit", type=float, default=1.0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        bundle(folder, args.model)
        model = load_bundle(folder / "m.cambundle", (), None)
        steps = Steps(
            model, FilterRule(model.manifest.thresholds.min_score, model.manifest.thresholds.nms_iou), BackendOptions()
        )
        videos = {"768x432": args.video, "1920x1080": scaled(folder, args.video, args.fps)}
        rows = {f"{size} at {args.fps:g} fps": measure(steps, video, args.fps, args.frames) for size, video in videos.items()}
        steps.close()
    if report(rows) > args.limit:
        sys.exit(f"the health costs more than {args.limit:g} % of a frame")


if __name__ == "__main__":
    main()

"""What decoding a head's outputs costs, beside the arithmetic of the vendors' samples in plain numpy.

    python -m bench.heads [--rounds 300] [--only yolov8] [--json F]

640x640, 80 classes, 30 objects (each seen by 3 cells), one core, CPU time of the thread; both ways take turns on the same
outputs and must find the same objects, or nothing is measured. Exit code 1 where a target is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, thread_time_ns
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.head_forms import FORMS, MIN_SCORE, Form
from bench.head_plain import Array, Found, suppress
from camagent.frame import Candidates
from camagent.heads.nms import nms

RAW_LIMIT_US = 600.0
RAW = ("yolov5 raw", "yolov8, yolo11 raw", "yolox raw, undecoded")
NINE, NINE_TIMES = "yolov8-rknn, 9 outputs", 5.0
SCENES = 3  # sets of outputs that take turns
IOU = 0.45
PLAIN_BUDGET_S = 3.0  # a loop over 8400 rows is not run 300 times


@dataclass(frozen=True, slots=True)
class Timing:
    """Microseconds of CPU of one call."""

    median: float
    low: float  # 10th percentile
    high: float  # 90th percentile


@dataclass(frozen=True, slots=True)
class Row:
    """One family, decoded both ways."""

    name: str
    ours: Timing
    plain: Timing

    @property
    def times(self) -> float:
        """How many times as long the plain way takes."""
        return self.plain.median / self.ours.median


class Disagreement(Exception):
    """The two ways do not find the same objects."""


def timing(samples: Sequence[float]) -> Timing:
    """Median and spread of microseconds."""
    low, median, high = np.percentile(samples, [10, 50, 90])
    return Timing(float(median), float(low), float(high))


def micros(call: Callable[[], object]) -> float:
    """CPU time of one call, microseconds."""
    began = thread_time_ns()
    call()
    return (thread_time_ns() - began) / 1e3


def measure(form: Form, rounds: int) -> Row:
    """Both ways in turn. Raises Disagreement when they find different objects."""
    scenes = [form.make(np.random.default_rng(seed)) for seed in range(SCENES)]
    head = form.build(scenes[0])
    for scene in scenes:
        ours = head.decode(scene, MIN_SCORE)
        assert isinstance(ours, Candidates)
        require_same(form.name, ours, form.plain(scene, MIN_SCORE))
    ours_us: list[float] = []
    plain_us: list[float] = []
    end = perf_counter() + PLAIN_BUDGET_S
    for index in range(rounds):
        scene = scenes[index % SCENES]
        ours_us.append(micros(lambda scene=scene: head.decode(scene, MIN_SCORE)))  # type: ignore[misc]
        if index < SCENES or perf_counter() < end:
            plain_us.append(micros(lambda scene=scene: form.plain(scene, MIN_SCORE)))  # type: ignore[misc]
    return Row(form.name, timing(ours_us), timing(plain_us))


def measure_suppression(rounds: int) -> Row:
    """Non-maximum suppression of the 90 candidates of a scene, which comes after every head alike."""
    form = FORMS[1]
    outputs: list[Array] = form.make(np.random.default_rng(0))
    candidates, found = form.build(outputs).decode(outputs, MIN_SCORE), form.plain(outputs, MIN_SCORE)
    assert isinstance(candidates, Candidates)
    if sorted(nms(candidates, IOU).tolist()) != sorted(suppress(found, IOU)):
        raise Disagreement("suppression keeps other boxes")
    pairs = [(micros(lambda: nms(candidates, IOU)), micros(lambda: suppress(found, IOU))) for _ in range(rounds)]
    ours, plain = zip(*pairs, strict=True)
    return Row(f"suppression of {len(found.scores)} boxes", timing(ours), timing(plain))


def require_same(name: str, ours: Candidates, plain: Found) -> None:
    """Raises Disagreement unless both hold the same objects, in any order."""
    if len(ours.scores) != len(plain.scores):
        raise Disagreement(f"{name}: {len(ours.scores)} objects and {len(plain.scores)}")
    mine, theirs = _sorted(ours.boxes, ours.scores, ours.class_ids), _sorted(plain.boxes, plain.scores, plain.class_ids)
    if not np.allclose(mine, theirs, rtol=1e-3, atol=0.05):
        raise Disagreement(f"{name}: objects differ by up to {np.abs(mine - theirs).max():.3f}")


def _sorted(boxes: NDArray[Any], scores: NDArray[Any], class_ids: NDArray[Any]) -> NDArray[np.float64]:
    rows = np.column_stack([scores, boxes, class_ids]).astype(np.float64)
    return rows[np.lexsort((rows[:, 1], -rows[:, 0].round(4)))]


def missed(rows: Sequence[Row]) -> list[str]:
    """What was to be reached and is not."""
    by_name = {row.name: row for row in rows}
    found = [
        f"{name}: {by_name[name].ours.median:.0f} us, to be at most {RAW_LIMIT_US:.0f}"
        for name in RAW
        if name in by_name and by_name[name].ours.median > RAW_LIMIT_US
    ]
    if NINE in by_name and by_name[NINE].times < NINE_TIMES:
        found.append(f"{NINE}: {by_name[NINE].times:.1f} times as fast as the sample, to be at least {NINE_TIMES:.0f}")
    return found


def on_one_core() -> None:
    """Binds this process to one core."""
    cv2.setNumThreads(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def measure_all(rounds: int, only: str = "", tell: Callable[[Row], None] = lambda _: None) -> list[Row]:
    """Every family whose name contains `only`, and suppression."""
    rows = []
    for form in FORMS:
        if only in form.name:
            rows.append(measure(form, rounds))
            tell(rows[-1])
    if not only:
        rows.append(measure_suppression(rounds))
        tell(rows[-1])
    return rows


def line(row: Row) -> str:
    """A row of the table that is printed."""
    ours, plain = row.ours, row.plain
    spread = f"({ours.low:.0f} to {ours.high:.0f})"
    return f"{row.name:28}{ours.median:9.0f} {spread:>16}{plain.median:11.0f}{row.times:9.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--only", default="", metavar="NAME", help="families whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="every row")
    args = parser.parse_args()
    on_one_core()
    print(f"{'microseconds of CPU':28}{'camagent':>9} {'(10 to 90 %)':>16}{'plain':>11}{'times':>9}")
    rows = measure_all(args.rounds, args.only, lambda row: print(line(row), flush=True))
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    targets = missed(rows)
    print(*targets or ["targets met"], sep="\n")
    sys.exit(bool(targets))


if __name__ == "__main__":
    main()

"""Self-test reports as values: one of each verdict, and one in which every string is hostile."""

from __future__ import annotations

import numpy as np

from camagent.selftest.report import (
    Cause,
    Change,
    Exhibit,
    Histogram,
    Mark,
    Report,
    StepReport,
    TensorFacts,
    Trial,
)

SUBJECT = {"bundle": "fastestdet-coco", "version": "1.0.0", "camera": "front", "camagent": "0.1.0", "onnxruntime": "1.32.0"}
SWAPPED = Cause(
    "channel-order-swapped", "preprocess", "build the bundle with the other --color",
    {"as configured": "best score 0.31, 0 of 4 objects", "red and blue exchanged": "best score 0.88, 4 of 4 objects"},
    alternatives=("chroma-order-wrong",), fix_verified=True, change=Change(words="input.color: rgb -> bgr"), margin=0.6,
)  # fmt: skip
THRESHOLD = Cause("threshold-too-high", "filter", "lower min_score", {"best score": 0.62, "min_score": 0.9})
WEIGHTS = Cause(
    "wrong-or-untrained-weights", "backend", "check training and file", {"best score": 0.004}, send=("the training log",)
)
TRIALS = (
    Trial("V:div255", "scale-missing", -0.3, "nothing"),
    Trial("V:rgb-bgr", "channel-order-swapped", 0.91, "4 of 4 objects, best score 0.88"),
    Trial("V:letterbox", "letterbox-vs-stretch", 0.17, "1 of 4 objects"),
)
STEPS = (
    StepReport("configuration", "pass", {"cameras": 1}, 0.01),
    StepReport("bundle", "warn", {"allow_unsigned": True}, 0.1),
    StepReport("golden-picture", "fail", {"bus.jpg": {"seen": {}, "recall": 0.0}, **{f"n{i}": i for i in range(9)}}, 0.4),
    StepReport("source", "fail", {"code": "STREAM_UNREACHABLE", "what": "the camera refuses"}, 1.0),
    StepReport("delivery", "skip", {"why": "no broker is configured"}),
)
HISTOGRAM = Histogram("scores on bus.jpg", (0.0, 0.25, 0.5, 0.75, 1.0), (9000, 12, 0, 1), (Mark("min_score", 0.65),))
TENSOR = TensorFacts("output0", (1, 85, 22, 22), "float32", -1.5, 0.98, 0.02, 0.11, 40211, 0.25, nan=3)


def faulty(*causes: Cause, exhibits: tuple[Exhibit, ...] = ()) -> Report:
    """A report with causes; with none, the usual two."""
    return Report("fault", causes or (SWAPPED, THRESHOLD), STEPS, 31, 12.43, TRIALS, exhibits, (HISTOGRAM,), (TENSOR,), SUBJECT)


def healthy() -> Report:
    """Nothing wrong, delivery not checked."""
    return Report("healthy", (), (STEPS[0], STEPS[4]), 9, 3.2, subject=SUBJECT)


def undecided(*causes: Cause) -> Report:
    """Neither fault nor health."""
    return Report("inconclusive", causes, (STEPS[0], STEPS[3], STEPS[4]), 1, 3.2, subject=SUBJECT)


def hostile(text: str, exhibits: tuple[Exhibit, ...] = ()) -> Report:
    """Every string that can come from outside is `text`, every number is odd."""
    facts = {text: text, "list": [text, {text: text}], "nan": float("nan"), "inf": np.float32("inf"), "many": np.zeros((2, 2))}
    cause = Cause(
        "label-offset", "filter", text, facts, (text,), None, (text,), Change(None, {text: text}, text), np.float64(0.5)
    )
    return Report(
        "fault", (cause,), (StepReport("golden-picture", "fail", facts, np.float64(1.5)),
        StepReport("live", "fail", {"code": text, "what": text})), 3, np.float64(2.5),
        (Trial(text, "label-offset", float("nan"), text),), exhibits,
        (Histogram(text, (0.0, 1.0), (3,), (Mark(text, float("nan")),)), Histogram(text, (), ())),
        (TensorFacts(text, (1,), text, None, float("inf"), np.float64(0.5), float("nan"), 1, 0.0),),
        {"bundle": text, text: text},
    )  # fmt: skip

"""What every stage counts, and why nothing is published: an empty result always has a reason.

Counters only ever grow; rates, means and the reason look at the last `WINDOW_S` seconds. Each number has one writing thread.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

WINDOW_S = 10.0
_BUCKET_S = 1.0
STEPS = ("decode", "preprocess", "infer", "postprocess", "total")
FUNNEL = ("candidates", "scored", "kept_by_nms", "kept_by_label", "kept_by_area", "kept_by_zone")

State: TypeAlias = Literal["running", "waiting-source", "waiting-bundle", "off", "failed"]


class Counts(Protocol):
    """What a frame's way left of its objects; see frame.StageCounts."""

    @property
    def candidates(self) -> int: ...  # noqa: D102
    @property
    def scored(self) -> int: ...  # noqa: D102
    @property
    def kept_by_nms(self) -> int: ...  # noqa: D102
    @property
    def kept_by_label(self) -> int: ...  # noqa: D102
    @property
    def kept_by_area(self) -> int: ...  # noqa: D102
    @property
    def kept_by_zone(self) -> int: ...  # noqa: D102
    @property
    def score_max(self) -> float: ...  # noqa: D102


class Steps(Protocol):
    """Milliseconds per step; see frame.Latency."""

    @property
    def decode(self) -> float: ...  # noqa: D102
    @property
    def preprocess(self) -> float: ...  # noqa: D102
    @property
    def infer(self) -> float: ...  # noqa: D102
    @property
    def postprocess(self) -> float: ...  # noqa: D102
    @property
    def total(self) -> float: ...  # noqa: D102


@dataclass(slots=True)
class Bucket:
    """Sums over one second."""

    start: float
    inferred: int = 0
    published: int = 0
    errors: int = 0
    score_max: float = 0.0
    funnel: Counter[str] = field(default_factory=Counter)
    latency: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Window:
    """The last seconds of one camera's worker, summed."""

    seconds: float
    inferred: int
    published: int
    errors: int
    score_max: float
    funnel: Mapping[str, int]
    latency_ms: Mapping[str, float]

    @property
    def fps(self) -> float:
        """Inferred frames per second."""
        return self.inferred / self.seconds if self.seconds else 0.0


class CameraCounters:
    """One camera's counters. `inferred` and `failed` are called by the worker, `outcome` by the network thread."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._started = monotonic()
        self._buckets: deque[Bucket] = deque(maxlen=round(WINDOW_S / _BUCKET_S) + 1)
        self.totals: Counter[str] = Counter(dict.fromkeys((*FUNNEL, "inferred", "tracked", "published"), 0))
        self.outcomes: Counter[str] = Counter({"acknowledged": 0, "refused": 0})
        self.errors: Counter[str] = Counter()
        self.last_outcome = ""  # of the newest message that the broker answered for

    def inferred(self, counts: Counts, latency: Steps) -> None:
        """One frame went the whole way."""
        bucket = self._bucket()
        bucket.inferred += 1
        bucket.score_max = max(bucket.score_max, counts.score_max)
        for name in FUNNEL:
            value = getattr(counts, name)
            bucket.funnel[name] += value
            self.totals[name] += value
        for name in STEPS:
            bucket.latency[name] += getattr(latency, name)
        self.totals["inferred"] += 1

    def published(self) -> None:
        """One result was handed to delivery."""
        self._bucket().published += 1
        self.totals["published"] += 1

    def failed(self, kind: str) -> None:
        """The model failed on a frame, or something else that is survived; `kind` is an error code."""
        self._bucket().errors += 1
        self.errors[kind] += 1

    def outcome(self, kind: str, number: int) -> None:
        """What became of messages: acknowledged, refused, dropped .."""
        self.outcomes[kind] += number
        self.last_outcome = kind

    def window(self) -> Window:
        """The last `WINDOW_S` seconds."""
        now = self._monotonic()
        recent = [bucket for bucket in tuple(self._buckets) if bucket.start > now - WINDOW_S]
        funnel: Counter[str] = Counter()
        latency: Counter[str] = Counter()
        for bucket in recent:
            funnel.update(bucket.funnel)
            latency.update(bucket.latency)
        inferred = sum(bucket.inferred for bucket in recent)
        return Window(
            seconds=min(WINDOW_S, max(now - self._started, _BUCKET_S)),
            inferred=inferred,
            published=sum(bucket.published for bucket in recent),
            errors=sum(bucket.errors for bucket in recent),
            score_max=max((bucket.score_max for bucket in recent), default=0.0),
            funnel=funnel,
            latency_ms={name: round(latency[name] / inferred, 2) for name in STEPS} if inferred else {},
        )

    def _bucket(self) -> Bucket:
        now = self._monotonic()
        if not self._buckets or now - self._buckets[-1].start >= _BUCKET_S:
            self._buckets.append(Bucket(now))
        return self._buckets[-1]


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason code and the sentence with its numbers."""

    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class CameraFacts:
    """Everything the reason is judged by."""

    state: State
    source: Finding | None  # what the source itself complains of
    bundle: Finding | None  # why no model runs
    delivery: Finding | None  # why messages do not reach the broker
    frame_age: float | None
    stall_timeout: float
    window: Window
    detects: bool  # false for maps, published with every frame, and classes, published on change: silence is no finding there
    min_score: float
    by: str = ""  # who switched detection off


def reason(facts: CameraFacts) -> Finding | None:
    """Why nothing is published, upstream first; None while something is published and delivered."""
    return _upstream(facts) or _funnel(facts) or facts.delivery


def _upstream(facts: CameraFacts) -> Finding | None:
    window = facts.window
    if facts.state == "off":
        return Finding("disabled-by-request", f"detection was switched off by {facts.by or 'a request'}")
    if facts.bundle:
        return facts.bundle
    if facts.source:
        return facts.source
    if facts.frame_age is None or facts.frame_age > facts.stall_timeout:
        age = "yet" if facts.frame_age is None else f"for {facts.frame_age:.1f} s"
        return Finding("no-frames", f"no frame was decoded {age}")
    if window.errors and not window.inferred:
        return Finding("inference-failing", f"the model failed on all of {window.errors} frames in {window.seconds:.0f} s")
    if not window.inferred:
        return Finding("no-frames", f"no frame reached the model in {window.seconds:.0f} s")
    return None


def _funnel(facts: CameraFacts) -> Finding | None:
    window = facts.window
    if window.published or not facts.detects:
        return None
    frames = f"in {window.inferred} frames"
    left = window.funnel
    if not left["candidates"]:
        return Finding("no-candidates", f"no cell reached a score of 0.01 {frames}; best {window.score_max:.4f}")
    if not left["scored"]:
        best = f"best score {window.score_max:.3f}, threshold {facts.min_score:g}"
        return Finding("all-below-threshold", f"{left['candidates']} candidates {frames}, none above the threshold: {best}")
    for name, before in (("label", "kept_by_nms"), ("area", "kept_by_label"), ("zone", "kept_by_area")):
        if left[before] and not left[f"kept_by_{name}"]:
            return Finding(f"all-filtered-by-{name}", f"{left[before]} objects {frames}, the {name} filter let none through")
    return Finding("healthy-empty", f"every stage works and nothing is seen {frames}; best score {window.score_max:.3f}")

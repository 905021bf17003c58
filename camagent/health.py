"""What every stage counts. Counters only ever grow; rates, means and the reason (reasons.py) look at the last seconds.

Each number has one writing thread.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import add, attrgetter
from typing import Literal, Protocol, TypeAlias

WINDOW_S = 10.0
_WINDOW_FRAMES = 3.0  # a camera that is looked at less often than every few seconds has a longer window
_BUCKET_S = 1.0
STEPS = ("decode", "preprocess", "infer", "postprocess", "total")
BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)  # of the histograms of STEPS
FUNNEL = ("candidates", "scored", "kept_by_nms", "kept_by_label", "kept_by_area", "kept_by_zone")

_SUMS = (*FUNNEL, *STEPS)
_ZEROS = (0.0,) * len(_SUMS)
_PLACES = len(BOUNDS_MS) + 1  # of a histogram: up to each bound, and above the last
# lists in the order of these names rather than mappings: this is done with every frame
_funnel_of = attrgetter(*FUNNEL)
_latency_of = attrgetter(*STEPS)

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


def _sum_of(rows: Sequence[tuple[float, ...]]) -> list[float]:
    return list(map(sum, zip(_ZEROS, *rows, strict=True)))


@dataclass(slots=True)
class Bucket:
    """Sums over one second."""

    start: float
    inferred: int = 0
    published: int = 0
    errors: int = 0
    searched: int = 0
    invalid: int = 0
    crowded_out: int = 0
    score_max: float = 0.0
    rows: list[tuple[float, ...]] = field(default_factory=list)  # _SUMS of each frame, until the second is over
    summed: list[float] | None = None

    @property
    def sums(self) -> list[float]:
        """In any thread: the rows are taken before it is asked whether they were summed up."""
        rows = self.rows
        return _sum_of(rows) if self.summed is None else self.summed

    def close(self) -> None:
        """No frame comes to it any more."""
        self.summed = _sum_of(self.rows)
        self.rows = []


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
    searched: int = 0  # frames whose outputs were searched for NaN
    invalid: int = 0  # of these, frames that had some
    crowded_out: int = 0  # frames that were replaced by newer ones while others had their turn at the backend

    @property
    def fps(self) -> float:
        """Inferred frames per second."""
        return self.inferred / self.seconds if self.seconds else 0.0

    @property
    def asked_fps(self) -> float:
        """Frames per second that it had time for, were it alone at the backend."""
        return (self.inferred + self.errors + self.crowded_out) / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Past:
    """What was added up, and the newest bucket's rows: replaced together, so that no reader counts a frame twice or not."""

    sums: list[float]  # of _SUMS
    lasted: list[int]  # histograms of STEPS, one behind the other
    rows: list[tuple[float, ...]]

    def and_now(self) -> Past:
        """With the frames up to this moment; further rows go to the newest bucket."""
        rows = tuple(self.rows)
        lasted = self.lasted.copy()
        for row in rows:
            for step, milliseconds in enumerate(row[len(FUNNEL) :]):
                lasted[step * _PLACES + bisect_left(BOUNDS_MS, milliseconds)] += 1
        return Past(list(map(add, self.sums, _sum_of(rows))), lasted, [])


@dataclass(frozen=True, slots=True)
class Durations:
    """How long one step of all inferred frames took, since the start."""

    counts: tuple[int, ...] = (0,) * _PLACES  # frames up to each of BOUNDS_MS, and above the last; not cumulated
    seconds: float = 0.0  # together


class CameraCounters:
    """One camera's counters. `inferred` and `failed` are called by the worker, `outcome` by the network thread."""

    def __init__(self, monotonic: Callable[[], float], fps: float = 10.0) -> None:
        """`fps`: of inference, as configured."""
        self.window_s = max(WINDOW_S, _WINDOW_FRAMES / fps)
        self._monotonic = monotonic
        self._started = monotonic()
        self._buckets: deque[Bucket] = deque(maxlen=round(self.window_s / _BUCKET_S) + 1)
        self._unanswered: float | None = None  # when the oldest message was made of those since the broker's last answer
        self._published = self._inferred = self._tracked = 0
        self.crowded = 0  # see `crowded_out`
        self._past = Past(list(_ZEROS), [0] * len(STEPS) * _PLACES, [])
        self.outcomes: Counter[str] = Counter({"acknowledged": 0, "refused": 0})
        self.errors: Counter[str] = Counter()
        self.last_outcome = ""  # of the newest message that the broker answered for

    def inferred(self, counts: Counts, latency: Steps, invalid: int | None = None) -> None:
        """One frame went the whole way; `invalid` values were found in the model's outputs, None where nobody searched."""
        bucket = self._bucket()
        bucket.inferred += 1
        bucket.searched += invalid is not None
        bucket.invalid += bool(invalid)
        bucket.score_max = max(bucket.score_max, counts.score_max)
        bucket.rows.append((*_funnel_of(counts), *_latency_of(latency)))  # added up once a second: memory is then at hand
        self._inferred += 1

    def tracked(self, objects: int) -> None:
        """So many objects that are certain were found in the frame that was just counted."""
        self._tracked += objects

    def published(self, *, answered: bool = False) -> None:
        """One result was handed to delivery; `answered`: the broker is to acknowledge it."""
        (self._buckets[-1] if self._buckets else self._bucket()).published += 1  # of the frame that was just counted
        self._published += 1
        if answered and self._unanswered is None:
            self._unanswered = self._monotonic()

    def crowded_out(self, frames: int) -> None:
        """So many were replaced while the worker waited for its turn at the backend."""
        if frames:
            self._bucket().crowded_out += frames
            self.crowded += frames

    def failed(self, kind: str) -> None:
        """The model failed on a frame, or something else that is survived; `kind` is an error code."""
        self._bucket().errors += 1
        self.errors[kind] += 1

    def outcome(self, kind: str, number: int) -> None:
        """What became of messages: acknowledged, refused, dropped .."""
        self.outcomes[kind] += number
        self.last_outcome = kind
        self._unanswered = None

    @property
    def totals(self) -> dict[str, int]:
        """What every stage let through since the start."""
        stages = {name: int(value) for name, value in zip(FUNNEL, self._past.and_now().sums, strict=False)}
        return {**stages, "inferred": self._inferred, "tracked": self._tracked, "published": self._published}

    @property
    def durations(self) -> dict[str, Durations]:
        """Of every step."""
        found = self._past.and_now()
        return {
            name: Durations(tuple(found.lasted[step * _PLACES :][:_PLACES]), found.sums[len(FUNNEL) + step] / 1e3)
            for step, name in enumerate(STEPS)
        }

    @property
    def unanswered_s(self) -> float:
        """Seconds that results wait for any answer of the broker; 0 while none does."""
        since = self._unanswered
        return 0.0 if since is None else self._monotonic() - since

    def window(self) -> Window:
        """The last `window_s` seconds."""
        now = self._monotonic()
        recent = [bucket for bucket in tuple(self._buckets) if bucket.start > now - self.window_s]
        inferred = sum(bucket.inferred for bucket in recent)
        sums = dict(zip(_SUMS, map(sum, zip([0] * len(_SUMS), *(bucket.sums for bucket in recent), strict=True)), strict=True))
        return Window(
            seconds=min(self.window_s, max(now - self._started, _BUCKET_S)),
            inferred=inferred,
            published=sum(bucket.published for bucket in recent),
            errors=sum(bucket.errors for bucket in recent),
            score_max=max((bucket.score_max for bucket in recent), default=0.0),
            funnel={name: int(sums[name]) for name in FUNNEL},
            latency_ms={name: round(sums[name] / inferred, 2) for name in STEPS} if inferred else {},
            searched=sum(bucket.searched for bucket in recent),
            invalid=sum(bucket.invalid for bucket in recent),
            crowded_out=sum(bucket.crowded_out for bucket in recent),
        )

    def _bucket(self) -> Bucket:
        now = self._monotonic()
        if not self._buckets or now - self._buckets[-1].start >= _BUCKET_S:
            bucket, past = Bucket(now), self._past.and_now()
            self._past = Past(past.sums, past.lasted, bucket.rows)
            if self._buckets:
                self._buckets[-1].close()
            self._buckets.append(bucket)
        return self._buckets[-1]


@dataclass(frozen=True, slots=True)
class Finding:
    """A reason code and the sentence with its numbers."""

    code: str
    detail: str

"""Why nothing is seen: an empty result always has a reason. Pure: facts in, one finding out.

Every code stands in docs/mqtt.md with what to do. What passes by itself is no finding: a start, the wait for a key frame, a
short break of the network (shared reference/empty_detection_faults.md, 6.3). So a cause that time can settle has to stand for
`CameraFacts.patience_s` before it is named.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from camagent.health import Finding, State, Window
from camagent.picture_check import PictureFacts

FAR_BELOW = 0.5  # a best score of less than this times the threshold does not speak of an object that is just missed
ALL_MASKED = 0.95  # share of the picture
TOO_SLOW_MS = 2000.0  # from a packet's arrival to the result: who walks through the picture is gone by then
LEAST_FRAMES = 5  # a picture that stands still has been seen at least so often
UNKNOWN_KEY_INTERVAL_S = 20.0  # before a second key frame was seen
_KEY_INTERVALS = 1.5  # the noise of a still scene comes with the key frame at the latest
_LEAST_SEARCHES = 3
CROWDED = 0.8  # of the inferences that it asked for: a camera that gets less is told so
RELIEVED = 0.9  # and that it has enough only from here on: no share stands still, and a reason that comes and goes tells nobody

# these do not say why nothing is seen, only where it ended: worth a self-test
UNEXPLAINED = frozenset({"no-candidates", "all-below-threshold"})
_NO_PICTURE = PictureFacts()


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
    picture: PictureFacts = _NO_PICTURE
    stream: bool = True  # false for files and folders: those may show one picture for ever
    key_interval: float | None = None  # seconds
    age_s: float = float("inf")  # since the camera started, its model was opened or detection was switched on
    patience_s: float = 10.0
    proven: bool = False  # this model has been seen to see: its golden pictures here, or something in front of this camera
    unanswered_s: float = 0.0  # how long results have been waiting for any answer of the broker
    sharing: int = 1  # cameras at the backend that it uses
    was_crowded: bool = False  # that its share is too small was the last word

    @property
    def found(self) -> bool:
        """True when something passed every filter."""
        return self.window.funnel["kept_by_zone"] > 0

    @property
    def settling(self) -> bool:
        """True while it is too early to judge."""
        return self.age_s < self.patience_s


def reason(facts: CameraFacts) -> Finding | None:
    """Why nothing is seen, upstream first; None while something is seen and delivered."""
    found = _source(facts) or _model(facts) or _picture(facts) or _funnel(facts) or _delivery(facts)
    return (_crowded(facts) or found) if found is None or found.code == "healthy-empty" else found


class Judge:
    """One camera's reasons, one after the other: what it said last counts where a share wavers."""

    def __init__(self) -> None:
        self._crowded = False

    def reason(self, facts: CameraFacts) -> Finding | None:
        """As `reason`; `was_crowded` is its own."""
        found = reason(replace(facts, was_crowded=self._crowded))
        self._crowded = found is not None and found.code == "backend-busy"
        return found


def _source(facts: CameraFacts) -> Finding | None:
    if facts.state == "off":
        return Finding("disabled-by-request", f"detection was switched off by {facts.by or 'a request'}")
    if facts.bundle:
        return facts.bundle
    age = facts.frame_age
    if age is not None and age <= facts.patience_s:
        return None
    if facts.source:
        return facts.source
    if age is None:
        return _starting(facts) or Finding("no-frames", "no frame was decoded yet")
    return Finding("no-frames", f"no frame was decoded for {age:.1f} s") if age > facts.stall_timeout else None


def _model(facts: CameraFacts) -> Finding | None:
    window = facts.window
    if window.inferred:
        return None
    if window.errors:
        return Finding("inference-failing", f"the model failed on all of {window.errors} frames in {window.seconds:.0f} s")
    none = Finding("no-frames", f"no frame reached the model in {window.seconds:.0f} s")
    return _starting(facts) or _crowded(facts) or none


def _picture(facts: CameraFacts) -> Finding | None:
    """What is wrong with the picture itself. A stream that stands still is told also while something is seen in it."""
    picture, tone = facts.picture, facts.picture.tone
    if facts.stream and picture.still_frames >= LEAST_FRAMES and picture.still_s >= still_limit(facts):
        still = f"for {picture.still_s:.0f} s: {picture.still_frames} frames with time stamps that go on"
        return Finding("frozen", f"the stream runs and the picture has not changed {still}")
    if facts.detects and facts.found:
        return None
    if picture.masked >= ALL_MASKED:
        return Finding("masked", f"privacy masks cover {picture.masked:.0%} of the picture")
    if tone is not None and picture.dark_s >= facts.patience_s:
        kind = "black" if tone.black else "one flat tone"
        levels = f"brightness {tone.low:.0f} to {tone.high:.0f} of 255"
        return Finding("dark", f"the picture has been {kind} for {picture.dark_s:.0f} s: {levels}")
    return None


def still_limit(facts: CameraFacts) -> float:
    """Seconds that a picture must have been the same before the stream counts as frozen."""
    interval = UNKNOWN_KEY_INTERVAL_S if facts.key_interval is None else facts.key_interval
    return max(facts.patience_s, _KEY_INTERVALS * interval)


def _funnel(facts: CameraFacts) -> Finding | None:
    window = facts.window
    if window.searched >= _LEAST_SEARCHES and window.invalid == window.searched and not (facts.detects and facts.found):
        return Finding(
            "model-output-invalid",
            f"the model's outputs hold NaN or infinite values in all of {window.searched} searched frames",
        )
    if facts.found or not facts.detects:
        return None
    if facts.settling:
        return _starting(facts)
    total_ms = window.latency_ms.get("total", 0.0)
    if total_ms > TOO_SLOW_MS:
        return Finding(
            "too-slow", f"a frame is {total_ms / 1e3:.1f} s old when its result is there; {window.fps:.2f} frames per second"
        )
    return _filtered(facts) or _scores(facts)


def _filtered(facts: CameraFacts) -> Finding | None:
    left, frames = facts.window.funnel, f"in {facts.window.inferred} frames"
    for name, before in (("label", "kept_by_nms"), ("area", "kept_by_label"), ("zone", "kept_by_area")):
        if left[before] and not left[f"kept_by_{name}"]:
            return Finding(f"all-filtered-by-{name}", f"{left[before]} objects {frames}, the {name} filter let none through")
    return None


def _scores(facts: CameraFacts) -> Finding:
    window = facts.window
    frames, best = f"in {window.inferred} frames", f"best score {window.score_max:.3f}, threshold {facts.min_score:g}"
    if facts.proven and window.score_max < FAR_BELOW * facts.min_score:
        return Finding("healthy-empty", f"every stage works and there is nothing to see {frames}; {best}")
    if not window.funnel["candidates"]:
        return Finding("no-candidates", f"no cell reached a score of 0.01 {frames}; best {window.score_max:.4f}")
    return Finding(
        "all-below-threshold", f"{window.funnel['candidates']} candidates {frames}, none above the threshold: {best}"
    )


def _delivery(facts: CameraFacts) -> Finding | None:
    if facts.delivery or facts.unanswered_s <= facts.patience_s:
        return facts.delivery
    return Finding("not-delivered", f"the broker has answered for no result for {facts.unanswered_s:.0f} s")


def _crowded(facts: CameraFacts) -> Finding | None:
    """All is well, but seldom: told also while something is seen."""
    window = facts.window
    enough = RELIEVED if facts.was_crowded else CROWDED
    if facts.sharing < 2 or facts.settling or window.fps >= enough * window.asked_fps:
        return None
    return Finding(
        "backend-busy",
        f"the backend is shared by {facts.sharing} cameras and full: {window.fps:.1f} of {window.asked_fps:.1f} frames per "
        "second; lower fps or use a smaller model",
    )


def _starting(facts: CameraFacts) -> Finding | None:
    return Finding("starting", f"started {facts.age_s:.0f} s ago: too early to tell") if facts.settling else None

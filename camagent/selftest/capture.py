"""Watches a camera for a bounded time: a few stored frames spread over it, and numbers about all of them.

Without a daemon the source is opened here and closed again; with one, its own reader is watched, which changes nothing for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import msgspec

from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import CodedError, SourceError
from camagent.frame import Frame
from camagent.probing import Source, SourceStatus, Tap, is_live, open_source
from camagent.selftest.report import Tell
from camagent.selftest.sample import MOST_FRAMES, LiveSample, SourceFacts, damaged
from camagent.slot import Slot
from camagent.stage import Stage

WATCH_S = 6.0
GLITCH_S = 11.0  # a camera that restarts is back by then: only a longer silence is one
OPEN_S = 12.0  # what opening may take: the handshake's time-out, and the question why it failed
OTHER_S = 8.0  # for the other transport
OTHER_WATCH_S = 1.5
TCP_WATCH_S = 4.0  # long enough for losses to show
LOOK_S = 0.1
STILL_S = 2.0  # without a picture in mid-stream: then it is watched until the source itself gives up
STOP_S = 2.0
FILE_FRAMES, FILE_S = 400, 4.0  # of a file or folder, decoded as fast as it goes
_OTHER = {"tcp": "udp", "udp": "tcp", "auto": "udp"}


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. Tests have less."""

    watch: float = WATCH_S
    glitch: float = GLITCH_S
    opening: float = OPEN_S
    other: float = OTHER_S


@dataclass(frozen=True, slots=True, eq=False)
class Watcher:
    """Watches one source from outside its threads. `status` and `attach` may be called from any thread."""

    camera: Camera
    status: Callable[[], SourceStatus]
    attach: Callable[[Tap | None], None]
    clock: Clock
    patience: Patience = field(default_factory=Patience)

    def watch(self, over: Callable[[], bool] = lambda: False) -> LiveSample:
        """Until there is enough to judge by, the source has said why not, or the time is up. Files at their own pace."""
        tap = Tap(self.patience.watch / MOST_FRAMES, MOST_FRAMES)
        before, began = self.status(), self.clock.monotonic()
        self.attach(tap)
        try:
            while not over() and not self._is_enough(tap, began):
                time.sleep(LOOK_S)
        finally:
            self.attach(None)
        return self._sample(tap, before, self.clock.monotonic() - began)

    def _is_enough(self, tap: Tap, began: float) -> bool:
        now, status, arrivals, patience = self.clock.monotonic(), self.status(), tap.arrivals, self.patience
        if now - began >= patience.opening + self.camera.stall_timeout:
            return True
        if arrivals:
            goes_on = now - arrivals[-1] < STILL_S and not self._may_be_frozen(tap, status)
            return now - arrivals[0] >= patience.watch and (goes_on or status.reason is not None)
        return status.reason is not None and (status.answered or now - began >= patience.glitch)

    def _may_be_frozen(self, tap: Tap, status: SourceStatus) -> bool:
        """Nothing has changed so far, and no second key frame has proved it: worth a longer look."""
        return is_live(self.camera) and status.key_interval is None and len({mark for _, mark in tap.marks}) == 1

    def _sample(self, tap: Tap, before: SourceStatus, seconds: float) -> LiveSample:
        after, marks = self.status(), tap.marks
        facts = SourceFacts(
            state="running" if after.state == "running" else "waiting-source",
            reason=after.reason,
            sentence=after.sentence,
            seconds=seconds,
            packets=after.packets - before.packets,
            decoded=len(tap.arrivals),
            decoder_errors=after.decoder_errors - before.decoder_errors,
            corrupt=after.corrupt - before.corrupt,
            key_frames=after.key_frames - before.key_frames,
            damaged_keys=after.damaged_keys - before.damaged_keys,
            reconnects=after.reconnects - before.reconnects,
            key_interval=after.key_interval,
            transport=self.camera.transport if is_live(self.camera) else "",
            pts=tuple(pts for pts, _ in marks),
            fingerprints=tuple(mark for _, mark in marks),
            overloads=after.overloads - before.overloads,
        )
        return LiveSample(tap.frames, facts)


def capture(camera: Camera, clock: Clock, tell: Tell, patience: Patience = Patience()) -> LiveSample:
    """Opens the camera's source, watches it, closes it; over the other transport too where nothing comes.

    Never longer than `stall_timeout`, the time for opening and, without pictures, the other transport's share. What is wrong
    with the source stands in the facts.

    Raises:
        ConfigError, InputError: no such source, as `camagent run` would say.
    """
    if not is_live(camera):
        return _of_file(open_source(camera, clock=clock), clock, tell)
    tell(f"watching camera {camera.name} for {patience.watch:g} s")
    sample = _opened(camera, clock, patience)
    refused = sample.facts.reason == "stream-unreachable"  # not wanted, or nobody there: no transport changes that
    if sample.facts.decoded and camera.transport == "udp" and damaged(sample.facts):
        return _again_over_tcp(camera, sample, clock, tell, patience)
    if sample.facts.decoded or sample.facts.packets or refused:
        return sample
    return _over_the_other(camera, sample, clock, tell, patience)


def _opened(camera: Camera, clock: Clock, patience: Patience) -> LiveSample:
    source, slot, failures = open_source(camera, clock=clock), Slot[Frame](), list[BaseException]()

    def attach(tap: Tap | None) -> None:
        source.tap = tap

    reader = Stage(f"{camera.name}-selftest", lambda stop: source.run(stop, slot), lambda _, exc: failures.append(exc))
    reader.start()
    try:
        sample = Watcher(camera, source.status, attach, clock, patience).watch(lambda: bool(failures))
    finally:
        reader.join(STOP_S)
    if not failures:
        return sample
    failure = failures[0]
    if not isinstance(failure, CodedError):
        raise failure
    return LiveSample(
        sample.frames, replace(sample.facts, state="waiting-source", reason=_reason(failure), sentence=failure.what)
    )


def _over_the_other(camera: Camera, sample: LiveSample, clock: Clock, tell: Tell, patience: Patience) -> LiveSample:
    """Nothing came: the same stream over the other transport, for a moment. What comes there proves which one is at fault."""
    name = _OTHER[camera.transport]
    tell(f"nothing came over {camera.transport}; trying {name}")
    other = msgspec.structs.replace(camera, transport=name, stall_timeout=min(camera.stall_timeout, 2.0))
    found = _opened(other, clock, Patience(OTHER_WATCH_S, glitch=0.0, opening=patience.other))
    if not found.frames:
        return sample
    sentence = f"over {name} pictures came at once, over {camera.transport} none: {sample.facts.sentence or 'it is silent'}"
    facts = replace(sample.facts, state="waiting-source", reason="transport-mismatch", sentence=sentence)
    return LiveSample(found.frames, facts)


def _again_over_tcp(camera: Camera, sample: LiveSample, clock: Clock, tell: Tell, patience: Patience) -> LiveSample:
    """Pictures come damaged: the same stream over TCP, for a moment. Sound ones there prove that the way is at fault."""
    tell("pictures come damaged over udp; watching tcp")
    other = msgspec.structs.replace(camera, transport="tcp", stall_timeout=min(camera.stall_timeout, 2.0))
    found = _opened(other, clock, Patience(TCP_WATCH_S, glitch=0.0, opening=patience.other)).facts
    sound = found.decoded > 0 and not (found.decoder_errors or found.corrupt)
    return replace(sample, facts=replace(sample.facts, sound_over="tcp")) if sound else sample


def _of_file(source: Source, clock: Clock, tell: Tell) -> LiveSample:
    """Frames spread over what can be decoded in some seconds: every k-th, k doubling whenever there are too many."""
    tell("reading the camera's file")
    kept: list[Frame] = []
    began, step, count, failure = clock.monotonic(), 1, 0, None
    pts: list[float] = []
    try:
        for frame in source.frames():
            if count % step == 0:
                kept.append(frame)
            count += 1
            if frame.pts is not None:
                pts.append(frame.pts)
            if len(kept) > 2 * MOST_FRAMES:
                kept, step = kept[::2], step * 2
            if count >= FILE_FRAMES or clock.monotonic() - began > FILE_S:
                break
    except CodedError as exc:
        failure = exc
    status = source.status()
    facts = SourceFacts(
        state="running" if failure is None else "waiting-source",
        reason=_reason(failure) if failure else None,
        sentence=failure.what if failure else "",
        seconds=clock.monotonic() - began,
        packets=status.packets,
        decoded=count,
        decoder_errors=status.decoder_errors,
        corrupt=status.corrupt,
        key_frames=status.key_frames,
        damaged_keys=status.damaged_keys,
        key_interval=status.key_interval,
        pts=tuple(pts),
    )
    number = min(len(kept), MOST_FRAMES)
    return LiveSample(tuple(kept[index * len(kept) // number] for index in range(number)), facts)


def _reason(failure: CodedError) -> str:
    return failure.reason if isinstance(failure, SourceError) else "no-frames"


__all__ = ["Patience", "Watcher", "capture"]

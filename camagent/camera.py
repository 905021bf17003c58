"""One camera: a reader thread that decodes, a worker thread that infers, and the slot of one frame between them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from camagent.backends import BackendOptions
from camagent.bodies import CameraHealthBody, DetectBody, HealthModel, ModelRef, encode
from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import BackendError, CodedError, InputError, printable
from camagent.filters import rule_for, unknown_labels
from camagent.frame import Classes, Detections, Frame, Result
from camagent.health import CameraCounters, CameraFacts, Finding, State, reason
from camagent.messages import Author, Message, Topics, body_of, message_of
from camagent.models import UsableBundle
from camagent.slot import Slot
from camagent.sources import Source, SourceStatus, open_source
from camagent.stage import Stage
from camagent.steps import Steps, encode_rle
from camagent.vitals import rss_bytes

log = logging.getLogger("camagent")

BUNDLE_RETRY_S = 5.0
STOP_S = 2.0
_TAKE_S = 0.5


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a camera needs of its agent."""

    topics: Topics
    run: int
    qos: int
    options: BackendOptions
    clock: Clock
    send: Callable[[Message], None]
    note_seq: Callable[[str, int, int], None]
    load_bundle: Callable[[Camera], UsableBundle]
    delivery: Callable[[str], Finding | None]  # why messages do not arrive, given what became of the newest one


@dataclass(frozen=True, slots=True)
class Switch:
    """The detect switch: set over MQTT, kept over restarts."""

    on: bool
    since: float
    by: str


class CameraRunner:
    """Runs one camera until `stop`. Threads: reader and worker; every other method may be called from any thread."""

    def __init__(self, camera: Camera, around: Surroundings, switch: Switch, next_seq: Callable[[], int]) -> None:
        """Opens nothing yet. Raises ConfigError or InputError for a source that cannot be."""
        self.camera = camera
        self.counters = CameraCounters(around.clock.monotonic)
        self.switch = switch
        self._around = around
        self._slot: Slot[Frame] = Slot()
        self._source: Source = open_source(camera, clock=around.clock)
        self._refused: Finding | None = Finding("no-bundle", "the bundle is still being loaded")
        self._failed: Finding | None = None
        self._steps: Steps | None = None
        self._author: Author | None = None
        self._next_seq = next_seq
        self._last_class: int | None = None
        self._reader = Stage(f"{camera.name}-reader", self._read, self._died)
        self._worker = Stage(f"{camera.name}-worker", self._work, self._died)

    def start(self) -> None:
        """Starts both threads."""
        self._reader.start()
        self._worker.start()

    def stop(self) -> None:
        """Stops reading, lets the worker finish the frame in the slot, and waits a bounded time for both."""
        self._reader.stop.set()
        self._slot.close()
        worker_ended = self._worker.join(STOP_S)
        reader_ended = self._reader.join(STOP_S)
        if not (worker_ended and reader_ended):
            log.warning("%s: a thread is still in a blocking call and is left behind", self.camera.name)

    @property
    def dead(self) -> bool:
        """True when a thread ended by an error: the pipeline makes a new runner."""
        return self._failed is not None

    def turn(self, switch: Switch) -> None:
        """Switches detection on or off and publishes the answer."""
        self.switch = switch
        self.publish_switch()

    def publish_switch(self) -> None:
        """The retained `detect` state."""
        topics, name = self._around.topics, self.camera.name
        body = DetectBody(
            schema="camagent.detect/1", time=self._around.clock.wall(), agent=topics.agent, camera=name,
            state="ON" if self.switch.on else "OFF", since=self.switch.since, by=self.switch.by,
        )  # fmt: skip
        self._around.send(Message(topics.of_camera(name, "detect"), encode(body), 1, retain=True))

    @property
    def source(self) -> SourceStatus:
        """The source's own words and counters."""
        return self._source.status()

    def state(self) -> State:
        """Where this camera stands, in the words of `health`."""
        if self._failed:
            return "failed"
        if not self.switch.on:
            return "off"
        if self._steps is None:
            return "waiting-bundle"
        return "running" if self.source.state == "running" else "waiting-source"

    def finding(self) -> Finding | None:
        """Why nothing is published; None while something is."""
        source = self.source
        window = self.counters.window()
        now = self._around.clock.monotonic()
        steps = self._steps
        facts = CameraFacts(
            state=self.state(),
            source=Finding(source.reason, source.sentence) if source.reason else None,
            bundle=self._failed or self._refused,
            delivery=self._around.delivery(self.counters.last_outcome),
            frame_age=None if source.last_frame is None else now - source.last_frame,
            stall_timeout=self.camera.stall_timeout,
            window=window,
            detects=steps is None or steps.manifest.task.startswith("detect"),
            min_score=steps.rule.min_score if steps else 0.0,
            by=self.switch.by,
        )
        return reason(facts)

    def health(self) -> CameraHealthBody:
        """The body of `<camera>/health`."""
        around, source, window, found = self._around, self.source, self.counters.window(), self.finding()
        totals, outcomes = self.counters.totals, self.counters.outcomes
        steps = self._steps
        model = HealthModel(
            name=steps.manifest.name, version=steps.manifest.version, backend=steps.backend_name, signature=steps.signature
        ) if steps else None  # fmt: skip
        return CameraHealthBody(
            schema="camagent.camera-health/1",
            time=around.clock.wall(),
            agent=around.topics.agent,
            camera=self.camera.name,
            run=around.run,
            state=self.state(),
            reason=found.code if found else None,
            detail=printable(found.detail, 500) if found else None,
            counters={
                "packets": source.packets,
                "decoded": source.decoded,
                "dropped": self._slot.dropped,
                **totals,
                **outcomes,
            },
            score_max=round(window.score_max, 4) if window.inferred else None,
            frame_age=None if source.last_frame is None else round(around.clock.monotonic() - source.last_frame, 3),
            fps=round(window.fps, 2),
            reconnects=source.reconnects,
            rss=rss_bytes(),
            model=model,
            latency_ms=dict(window.latency_ms),
            source=_source_facts(source),
            errors=dict(self.counters.errors),
        )

    def _read(self, stop: threading.Event) -> None:
        self._source.run(stop, self._slot)

    def _work(self, stop: threading.Event) -> None:
        try:
            while not (stop.is_set() or self._slot.closed) and not self._open_model():
                stop.wait(BUNDLE_RETRY_S)
            while (frame := self._slot.take(_TAKE_S)) is not None or not (stop.is_set() or self._slot.closed):
                if frame is not None and self.switch.on:
                    self._infer(frame)
        finally:
            if self._steps:
                self._steps.close()

    def _open_model(self) -> bool:
        """Loads bundle and model; a refusal is told in `health` and tried again, the camera stays up."""
        camera = self.camera
        try:
            bundle = self._around.load_bundle(camera)
            manifest = bundle.manifest
            labels, groups = manifest.label_names, manifest.label_groups
            rule = rule_for(camera, labels, groups, manifest.thresholds.min_score, manifest.thresholds.nms_iou)
            steps = Steps(bundle, rule, self._around.options, self._around.clock)
            steps.warm_up()
        except CodedError as exc:
            code = "no-bundle" if isinstance(exc, InputError) else "bundle-refused"
            refusal = Finding(code, f"{exc.code}: {exc.what} ({exc.fix})")
            if refusal != self._refused:
                log.error("%s: %s", camera.name, exc.render())  # noqa: TRY400  a sentence, not a traceback
            self._refused = refusal
            self.counters.errors[exc.code] += 1
            return False
        for label in unknown_labels(camera, labels, groups):
            log.warning("%s: the model has no label %r, so the filter can never let it through", camera.name, label)
        ref = ModelRef(name=manifest.name, version=manifest.version)
        self._author = Author(self._around.topics.agent, camera.name, self._around.run, ref, labels, groups)
        self._steps, self._refused = steps, None
        log.info("%s: runs %s %s on %s", camera.name, ref.name, ref.version, steps.backend_name)
        return True

    def _infer(self, frame: Frame) -> None:
        assert self._steps is not None
        try:
            result = self._steps.run(frame)
        except BackendError as exc:
            if not self.counters.errors[exc.code]:
                log.error("%s: %s", self.camera.name, exc.render())  # noqa: TRY400  a sentence, not a traceback
            self.counters.failed(exc.code)
            return
        self.counters.inferred(result.counts, result.latency)
        if self._worth_publishing(result):
            self._publish(result)

    def _worth_publishing(self, result: Result) -> bool:
        match result.outcome:
            case Detections() as found:
                return bool(len(found)) or self.camera.publish == "every-frame"
            case Classes() as found:
                best = found.top(1)[0][0]
                changed, self._last_class = best != self._last_class, best
                return changed or self.camera.publish == "every-frame"
            case _:
                return True

    def _publish(self, result: Result) -> None:
        assert self._author is not None
        around, name = self._around, self.camera.name
        seq = 0
        if isinstance(result.outcome, Detections):
            seq = self._next_seq()
            around.note_seq(name, around.run, seq)
        body = body_of(result, self._author, seq, around.clock.wall(), encode_rle)
        self.counters.published()
        around.send(message_of(body, around.topics, name, around.qos))

    def _died(self, stage: str, exc: BaseException) -> None:
        log.error("%s ended by %r", stage, exc, exc_info=exc)
        self.counters.errors["STAGE_DIED"] += 1
        self._failed = Finding("stage-died", f"{stage}: {type(exc).__name__}: {printable(exc)}")
        self._slot.close()
        self._reader.stop.set()


def _source_facts(source: SourceStatus) -> dict[str, Any]:
    return {
        "state": source.state, "codec": source.codec, "decoder": source.decoder, "width": source.width, "height": source.height,
        "key_interval": source.key_interval, "key_frames_only": source.key_frames_only, "time_source": source.time_source,
        "decoder_errors": source.decoder_errors, "corrupt": source.corrupt, "overloads": source.overloads,
        "unreadable": source.unreadable,
    }  # fmt: skip

"""One camera: a reader thread that decodes, a worker thread that infers, and the slot of one frame between them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence

from camagent.bodies import CameraHealthBody, DetectBody, encode
from camagent.config import Camera
from camagent.errors import BackendError, printable
from camagent.frame import Classes, Detections, Frame, Outcome, Part, Prepared, Result, outcome_parts
from camagent.happenings import Happenings, Outlet
from camagent.health import CameraCounters, Finding, State
from camagent.health_facts import model_facts, picture_facts, source_facts, turns_facts
from camagent.messages import Author, Message, body_of, message_of
from camagent.model_holder import IDLE_S, Habits, Loaded, ModelHolder
from camagent.models import UsableBundle, is_path
from camagent.onlookers import Errands, Shown
from camagent.picture_check import PictureCheck
from camagent.reader import Reader
from camagent.reasons import CameraFacts, Judge
from camagent.slot import Slot
from camagent.sources import SourceStatus, Tap, is_url
from camagent.stage import Stage, log_death
from camagent.steps import RLE
from camagent.surroundings import Surroundings, Switch
from camagent.track import Tracker
from camagent.trial import unworkable
from camagent.vitals import rss_bytes
from camagent.waiting_line import Guest, Pass
from camagent.watchdog import Durations
from firmware_pkg.errors import TrialFailed

log = logging.getLogger("camagent")

STOP_S = 2.0
HANDING_OVER_S = 30.0  # the outbox may wait for a slow disk
_TAKE_S = 0.5


class CameraRunner:
    """Runs one camera until `stop`. Threads: reader and worker; every other method may be called from any thread."""

    def __init__(
        self, camera: Camera, around: Surroundings, switch: Switch, next_seq: Callable[[], int], track_ids: Iterator[int]
    ) -> None:
        """Opens nothing yet. Raises ConfigError or InputError for a source that cannot be.

        `next_seq` and `track_ids` outlive this runner: their numbers are used once in a run.
        """
        self.camera = camera
        self.counters = CameraCounters(around.clock.monotonic, camera.fps)
        self.switch = switch
        self._around = around
        self._slot: Slot[Frame] = Slot()
        self._failed: Finding | None = None
        self._left_behind = False  # in a call that lasts longer than anybody waits for
        self._next_seq = next_seq
        self._last_class: int | None = None
        self._check = PictureCheck([mask.polygon for mask in camera.mask], camera.fps)
        self._began = around.clock.monotonic()
        self._has_seen: Loaded | None = None  # the model that has found something here
        self._judge = Judge()
        habits = Habits(
            around.topics.agent, around.run, around.options, around.clock, around.load_bundle, around.tell_failed,
            around.watchdog, around.lives, around.lines,
        )  # fmt: skip
        self._models = ModelHolder(camera, habits, self.counters.errors, self._died)
        self._durations = Durations()
        self.errands: Errands[Loaded] = Errands()
        self._view = around.view(camera.name)
        self._private = [mask.polygon for mask in camera.mask]
        outlet = Outlet(around.topics, around.clock, around.send, around.run_dir, around.keep, around.describe_end)
        self._happenings = Happenings(camera, Tracker(track_ids), outlet, self.counters)
        self._reader = Reader(camera, around.clock, self._slot, around.watchdog, died=self._died, errors=self.counters.errors)
        self._worker = Stage(f"{camera.name}-worker", self._work, self._died)
        self._guest = Guest(
            camera.name, camera.fps, self._worker.pulse, has_more=lambda: self._slot.waiting, ends=self._is_ending
        )  # fmt: skip

    def start(self) -> None:
        """Starts both threads."""
        self._reader.start()
        self._around.watchdog.watch(self._worker.pulse)
        self._worker.start()

    def stop(self) -> None:
        """Stops reading, lets the worker finish the frame in the slot, and waits a bounded time for both."""
        self._reader.stop()
        self._slot.close()
        worker_ended = self._worker.join(STOP_S)
        self._around.watchdog.forget(self._worker.pulse)
        self._guest.leave()  # also where it hangs in a call: the others go on
        reader_ended = self._reader.join(STOP_S)
        if not worker_ended:
            self._left_behind = True
            self._happenings.leave(STOP_S)
        if not (worker_ended and reader_ended):
            log.warning("%s: a thread is still in a blocking call and is left behind", self.camera.name)

    @property
    def dead(self) -> bool:
        """True when a thread ended by an error: the pipeline makes a new runner."""
        return self._failed is not None

    def renew_model(self) -> None:
        """Another bundle is in force for this camera: it takes over between two frames."""
        self._models.renew()

    def release_model(self) -> None:
        """Memory is needed for another model: this one is closed between two frames, and loaded again after that."""
        self._models.release()

    def turn(self, switch: Switch) -> None:
        """Switches detection on or off and publishes the answer."""
        if switch.on and not self.switch.on:
            self._began = self._around.clock.monotonic()
        self.switch = switch
        self.publish_switch()

    def tell_anew(self) -> None:
        """Any thread: a new MQTT client knows no retained state."""
        self._happenings.tell_anew()
        self.publish_switch()

    def publish_switch(self) -> None:
        """The retained `detect` state."""
        topics, name = self._around.topics, self.camera.name
        body = DetectBody(
            schema="camagent.detect/1", time=self._around.clock.wall(), agent=topics.agent, camera=name,
            state="ON" if self.switch.on else "OFF", since=self.switch.since, by=self.switch.by,
        )  # fmt: skip
        self._around.send(Message(topics.of_camera(name, "detect"), encode(body), 1, retain=True))

    def publish_available(self, *, online: bool) -> None:
        """Retained: whether the camera sends pictures."""
        topic = self._around.topics.of_camera(self.camera.name, "available")
        self._around.send(Message(topic, b"online" if online else b"offline", 1, retain=True))

    def watch(self, tap: Tap | None) -> None:
        """Any thread: lets somebody look over the reader's shoulder, until this is called with None."""
        self._reader.watch(tap)

    @property
    def loaded(self) -> Loaded | None:
        """Its model; None while there is none."""
        return self._models.loaded

    @property
    def bundle(self) -> UsableBundle | None:
        """What its model came out of; None while there is none."""
        loaded = self.loaded
        return loaded.bundle if loaded else None

    @property
    def refused(self) -> Finding | None:
        """Why no model runs; None while one does, and before the first was tried."""
        refused = self._models.refused
        return None if refused is None or refused.code == "starting" else refused

    @property
    def source(self) -> SourceStatus:
        """The source's own words and counters."""
        return self._reader.status()

    def state(self) -> State:
        """Where this camera stands, in the words of `health`."""
        if self._failed:
            return "failed"
        if not self.switch.on:
            return "off"
        if self._models.loaded is None:
            return "waiting-bundle"
        return "running" if self.source.state == "running" else "waiting-source"

    def finding(self) -> Finding | None:
        """Why nothing is published; None while something is."""
        source, clock, loaded, room = self.source, self._around.clock, self._models.loaded, self._guest.room
        now = clock.monotonic()
        facts = CameraFacts(
            state=self.state(),
            source=Finding(source.reason, source.sentence) if source.reason else None,
            bundle=self._failed or self._models.refused,
            delivery=self._around.delivery(self.counters.last_outcome),
            frame_age=None if source.last_frame is None else now - source.last_frame,
            stall_timeout=self.camera.stall_timeout,
            window=self.counters.window(),
            detects=loaded is None or loaded.steps.manifest.task.startswith("detect"),
            min_score=loaded.steps.rule.min_score if loaded else 0.0,
            by=self.switch.by,
            picture=self._check.facts(),
            stream=is_url(self.camera.url),
            key_interval=source.key_interval,
            age_s=now - max(self._began, loaded.opened_at if loaded else self._began),
            patience_s=self.counters.window_s,
            proven=loaded is not None and (loaded is self._has_seen or self._was_tested(loaded)),
            unanswered_s=self.counters.unanswered_s,
            sharing=room.cameras if room else 1,
        )
        return self._judge.reason(facts)

    def health(self) -> CameraHealthBody:
        """The body of `<camera>/health`."""
        around, source, window, found = self._around, self.source, self.counters.window(), self.finding()
        totals, outcomes = self.counters.totals, self.counters.outcomes
        loaded = self._models.loaded
        model = model_facts(loaded) if loaded else None
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
            picture=picture_facts(self._check.facts()),
            source=source_facts(source),
            errors=dict(self.counters.errors),
            turns=turns_facts(self._guest, window, self.counters.crowded),
        )

    def _work(self, stop: threading.Event) -> None:
        models, pulse = self._models, self._worker.pulse
        try:
            while True:
                self._happenings.turn(looking=self.switch.on)
                if not self._is_ready():
                    if self._is_ending():
                        return
                    self._wait_for_model(stop)
                    continue
                pulse.beat(IDLE_S, "waiting for a frame")
                lies_there = self._slot.wait(_TAKE_S)
                if self._is_ending() and (self._left_behind or not lies_there):
                    return
                if self.errands.waiting and models.loaded is not None:
                    self._run_errand(models.loaded)
                if lies_there and not self.switch.on:
                    self._show(self._taken())
                elif lies_there and self._is_ready():
                    self._take_turn()
        finally:
            self._guest.leave()
            try:
                self._happenings.end_all()
            finally:
                models.close(pulse)

    def _is_ready(self) -> bool:
        """Between two frames: whether there is a model. What another one saw has ended."""
        ready = self._models.ready(self._worker.pulse)
        self._happenings.attend(self._models.loaded)
        return ready

    def _is_ending(self) -> bool:
        return self._worker.stop.is_set() or self._slot.closed

    def _taken(self) -> Frame:
        frame = self._slot.take(0.0)
        assert frame is not None  # what lies there is replaced at most: this thread alone takes
        return frame

    def _take_turn(self) -> None:
        """Waits for it with the frame still in the slot, so that it is the newest one."""
        loaded, before = self._models.loaded, self._slot.dropped
        assert loaded is not None
        with self._guest.turn(loaded.line) as turn:
            self.counters.crowded_out(self._slot.dropped - before)
            if turn:
                self._infer(self._taken(), turn)
            else:
                self._slot.take(0.0)  # it ends, and does not wait for others

    def _run_errand(self, loaded: Loaded) -> None:
        with self._guest.turn(loaded.line) as turn:
            turn.prepared()
            self._worker.pulse.beat(HANDING_OVER_S, "a picture shown by hand", on_device=loaded.on_device)
            self.errands.serve(loaded)

    def _wait_for_model(self, stop: threading.Event) -> None:
        """Meanwhile who looks is shown what comes."""
        if not self._view.is_open:
            self._models.wait(stop, self._worker.pulse)
            return
        self._worker.pulse.beat(IDLE_S, "waiting for a bundle")
        frame = self._slot.take(_TAKE_S)
        if frame is not None:
            self._show(frame)

    def _infer(self, frame: Frame, turn: Pass) -> None:
        loaded = self._models.loaded
        assert loaded is not None
        trial = loaded.bundle.trial
        try:
            result = self._run(loaded, frame, turn)
        except BackendError as exc:
            if not self.counters.errors[exc.code]:
                log.error("%s: %s", self.camera.name, exc.render())  # noqa: TRY400  a sentence, not a traceback
            self.counters.failed(exc.code)
            if trial is not None and trial.erred(self.camera.name, exc):
                self._around.tell_failed(loaded.bundle, exc)
            return
        except Exception as exc:
            if trial is None:
                raise
            log.exception("%s: the bundle on trial cannot be worked with", self.camera.name)
            self.counters.failed(TrialFailed.code)
            self._around.tell_failed(loaded.bundle, unworkable(exc))
            return
        if trial is not None:
            trial.inferred(self.camera.name)
        self._hand_over(loaded, result)

    def _hand_over(self, loaded: Loaded, result: Result) -> None:
        """To whoever counts, looks, listens or follows; a successor may have other zones, labels and masks by now."""
        if self._left_behind:
            return
        self.counters.inferred(result.counts, result.latency, result.invalid)
        if result.counts.kept_by_nms:
            self._has_seen = loaded
        result = self._happenings.track(result)
        self._around.trace(self.camera.name, result)
        self._show(result.frame, result.outcome, loaded.author.labels)
        self._around.describe(result, loaded.author)
        for part in outcome_parts(result.outcome):
            if self._worth_publishing(part):
                self._publish(result, part, loaded.author)
        self._happenings.see(result, loaded.author.labels)

    def _run(self, loaded: Loaded, frame: Frame, turn: Pass) -> Result:
        """One inference, within the time that those before it let expect."""
        pulse, began = self._worker.pulse, self._around.clock.monotonic()
        pulse.beat(self._durations.patience_s, "an inference", on_device=loaded.on_device)
        result = loaded.steps.run(frame, self._look, turn=turn)
        self._durations.note(self._around.clock.monotonic() - began)
        pulse.beat(HANDING_OVER_S, "handing a result over")
        if loaded.on_device:
            self._around.lives.good_call()
        return result

    def _show(self, frame: Frame, outcome: Outcome | None = None, labels: Sequence[str] = ()) -> None:
        """For who looks; without an outcome no model has."""
        if self._view.wants():
            self._view.show(Shown(frame, outcome, labels, self._private))

    def _look(self, prepared: Prepared) -> None:
        self._check.see(prepared, self._around.clock.monotonic())

    def _was_tested(self, loaded: Loaded) -> bool:
        """Whether a golden picture with something on it was shown to this model here, as every bundle of the store is."""
        return not is_path(self.camera.bundle) and any(item.expect for item in loaded.steps.manifest.golden)

    def _worth_publishing(self, part: Part) -> bool:
        match part:
            case Detections() as found:
                return bool(len(found)) or self.camera.publish == "every-frame"
            case Classes() as found:
                best = found.top(1)[0][0]
                changed, self._last_class = best != self._last_class, best
                return changed or self.camera.publish == "every-frame"
            case _:
                return True

    def _publish(self, result: Result, part: Part, author: Author) -> None:
        around, name = self._around, self.camera.name
        seq = 0
        if isinstance(part, Detections):
            seq = self._next_seq()
            around.note_seq(name, around.run, seq)
        body = body_of(result, part, author, seq, around.clock.wall(), rle=RLE)
        message = message_of(body, around.topics, name, around.qos)
        self.counters.published(answered=message.lane is not None)
        around.send(message)

    def _died(self, stage: str, exc: BaseException) -> None:
        self.counters.errors["STAGE_DIED"] += 1
        self._failed = Finding("stage-died", f"{stage}: {log_death(stage, exc)}")
        self._slot.close()
        self._reader.stop()

"""The model of one camera: opened for the first time, replaced between two frames, never missing without a reason.

A new bundle is opened and warmed by a loader thread while the old model goes on; the worker takes it over before its next
frame. Where memory does not hold both, the worker closes the old one first and the camera pauses.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from camagent import vitals
from camagent.backends import BackendOptions, calls_at_once, on_device
from camagent.bodies import ModelRef
from camagent.clock import Clock
from camagent.config import Camera
from camagent.errors import BackendError, CodedError, InputError, NpuHung, StateError
from camagent.filters import for_tracking, rule_for, unknown_labels
from camagent.health import Finding
from camagent.lives import Lives
from camagent.messages import Author
from camagent.models import UsableBundle, both_fit
from camagent.pulse import Pulse
from camagent.stage import Stage
from camagent.steps import Steps
from camagent.waiting_line import Line, Lines
from camagent.watchdog import Watchdog
from firmware_pkg.errors import NotStored

log = logging.getLogger("camagent")

_NOTHING_THERE = (InputError, NotStored)

RETRY_S = 5.0
IDLE_S = 10.0
LOADING_S = 600.0  # verifying a large bundle on a slow card, its golden pictures
OPENING_S = 300.0  # building an engine
FIRST_CALL_S = 30.0
CLOSING_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A warm model with this camera's filter, and whose words its answers are. `bundle` has left its model's bytes behind."""

    bundle: UsableBundle
    steps: Steps
    author: Author
    opened_at: float  # monotonic seconds
    line: Line  # where its camera waits for a turn
    on_device: bool = False  # it runs on an NPU or the like


@dataclass(frozen=True, slots=True)
class Habits:
    """What opening a model needs of the agent."""

    agent: str
    run: int
    options: BackendOptions
    clock: Clock
    load_bundle: Callable[[Camera], UsableBundle]
    tell_failed: Callable[[UsableBundle, CodedError], None]  # a bundle on trial could not be opened
    watchdog: Watchdog
    lives: Lives
    lines: Lines


class ModelHolder:
    """`ready`, `lend` and `close` belong to the worker; `renew`, `refused` and `loaded` to any thread."""

    def __init__(
        self, camera: Camera, habits: Habits, errors: Counter[str], died: Callable[[str, BaseException], None]
    ) -> None:
        """Opens nothing yet."""
        self.refused: Finding | None = Finding("starting", "the bundle is still being loaded")
        self.loaded: Loaded | None = None
        self._camera, self._habits, self._errors, self._died = camera, habits, errors, died
        self._next: Loaded | None = None
        self._loader: Stage | None = None
        self._again = False  # another renewal was asked for while one ran
        self._in_place = False
        self._lock = threading.Lock()
        self._nudge = threading.Event()
        self._retry_at = float("-inf")

    def ready(self, pulse: Pulse) -> bool:
        """Between two frames: takes over the newer model if there is one; opens the first. False while there is none.

        `pulse` is the worker's: opening takes its time.
        """
        if self._next is not None:
            with self._lock:
                newer, self._next = self._next, None
            if newer is not None:
                self._take(newer)
        elif self._in_place:
            self._in_place = False
            self._close_loaded()
            self._retry_at = float("-inf")
        if self.loaded is None and self._habits.clock.monotonic() >= self._retry_at:
            self._retry_at = self._habits.clock.monotonic() + RETRY_S
            self._nudge.clear()
            self._open_here(pulse)
        return self.loaded is not None

    def wait(self, stop: threading.Event, pulse: Pulse) -> None:
        """Until it is time to try again, a renewal is asked for, or the camera stops."""
        while not stop.is_set() and self._habits.clock.monotonic() < self._retry_at and not self._nudge.wait(0.2):
            pulse.beat(IDLE_S, "waiting for a bundle")

    def renew(self) -> None:
        """Any thread: another bundle is in force now. Returns at once."""
        with self._lock:
            self._retry_at = float("-inf")
            self._nudge.set()
            if self.loaded is None:
                return  # the worker is at it
            if self._loader is not None and self._loader.alive:
                self._again = True
                return
            self._loader = Stage(f"{self._camera.name}-loader", self._load_beside, self._died)
            self._habits.watchdog.watch(self._loader.pulse)
            self._loader.start()

    def release(self) -> None:
        """Any thread: close the model before the next frame, then load whatever is in force."""
        self._in_place = True

    def close(self, pulse: Pulse) -> None:
        """Frees every model."""
        pulse.announce(CLOSING_S, "closing the model")
        with self._lock:
            newer, self._next = self._next, None
        if newer is not None:
            newer.steps.close()
        self._close_loaded()

    def _load_beside(self, stop: threading.Event) -> None:
        loader = self._loader
        assert loader is not None  # started under the lock that is needed to take it away
        try:
            while not stop.is_set():
                self._again = False
                self._prepare_next(loader.pulse)
                with self._lock:
                    if not self._again:
                        self._loader = None
                        return
        finally:
            self._habits.watchdog.forget(loader.pulse)

    def _prepare_next(self, pulse: Pulse) -> None:
        pulse.announce(LOADING_S, "loading the next bundle")
        try:
            bundle = self._habits.load_bundle(self._camera)
        except CodedError as exc:
            self._refuse(exc)
            # what runs now may not any more: its signer was revoked, or it was taken away. A failing disk is no reason
            self._in_place = not isinstance(exc, InputError | StateError)
            return
        running = self.loaded
        if running is not None and running.bundle.digest == bundle.digest and running.bundle.trial is bundle.trial:
            return
        if not both_fit(vitals.memory_available(), len(bundle.model)):
            log.warning("%s: memory does not hold two models; the camera pauses while they change", self._camera.name)
            self._in_place = True
            return
        try:
            opened = self._open(bundle, pulse)
        except CodedError as exc:
            self._refuse(exc, bundle)
            return
        with self._lock:
            older, self._next = self._next, opened
        if older is not None:
            older.steps.close()

    def _open_here(self, pulse: Pulse) -> None:
        bundle: UsableBundle | None = None
        pulse.announce(LOADING_S, "loading the bundle")
        try:
            bundle = self._habits.load_bundle(self._camera)
            self._take(self._open(bundle, pulse))
        except CodedError as exc:
            self._refuse(exc, bundle)

    def _open(self, bundle: UsableBundle, pulse: Pulse) -> Loaded:
        """Raises BackendError, HeadMismatch .. for a model that cannot be used."""
        camera, manifest = self._camera, bundle.manifest
        device = on_device(bundle.artifact.backend)
        pulse.announce(OPENING_S, f"opening the model on {bundle.artifact.backend}", on_device=device)
        if device:
            self._habits.lives.uses_device()
        labels, groups = manifest.label_names, manifest.label_groups
        rule = rule_for(camera, labels, groups, manifest.thresholds.min_score, manifest.thresholds.nms_iou)
        steps = Steps(bundle, for_tracking(rule), self._habits.options, self._habits.clock)
        try:
            pulse.announce(FIRST_CALL_S, f"the first call of the model on {bundle.artifact.backend}", on_device=device)
            steps.warm_up()
        except BackendError:
            steps.close()
            raise
        if device:
            self._habits.lives.good_call()
        for label in unknown_labels(camera, labels, groups):
            log.warning("%s: the model has no label %r, so the filter can never let it through", camera.name, label)
        ref = ModelRef(name=manifest.name, version=manifest.version)
        bundle = replace(bundle, model=b"")  # the backend has its own, and every camera would keep another copy
        author = Author(self._habits.agent, camera.name, self._habits.run, ref, labels, groups)
        return Loaded(bundle, steps, author, self._habits.clock.monotonic(), self._line(steps, device=device), device)

    def _line(self, steps: Steps, *, device: bool) -> Line:
        if device:
            return self._habits.lines.on_device(steps.backend_name, calls_at_once(steps.backend))
        return self._habits.lines.on_cpu(self._habits.options.intra_op_threads)

    def _take(self, newer: Loaded) -> None:
        older, self.loaded, self.refused = self.loaded, newer, None
        ref = newer.author.model
        log.info("%s: runs %s %s on %s", self._camera.name, ref.name, ref.version, newer.steps.backend_name)
        if older is not None:
            older.steps.close()

    def _close_loaded(self) -> None:
        if self.loaded is not None:
            older, self.loaded = self.loaded, None
            older.steps.close()

    def _refuse(self, exc: CodedError, bundle: UsableBundle | None = None) -> None:
        refusal = Finding(_reason(exc), f"{exc.code}: {exc.what} ({exc.fix})")
        if refusal != self.refused:
            log.error("%s: %s", self._camera.name, exc.render())
        self.refused = refusal
        self._errors[exc.code] += 1
        if bundle is not None and bundle.trial is not None and not isinstance(exc, NpuHung):  # no bundle's fault
            self._habits.tell_failed(bundle, exc)


def _reason(exc: CodedError) -> str:
    if isinstance(exc, BackendError):
        return exc.reason
    return "no-bundle" if isinstance(exc, _NOTHING_THERE) else "bundle-refused"

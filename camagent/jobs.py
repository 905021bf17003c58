"""Work that outlives the request that asked for it: one at a time, with every event kept so that anybody can follow it.

The last event of a job is always `{"result": {..}}` or `{"refusal": {"code", "what", "evidence", "fix"}}`.
"""

from __future__ import annotations

import logging
import secrets
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

from camagent.clock import Clock
from camagent.errors import Busy, CodedError, Refusal, printable
from camagent.service import Event, Origin, SelfTestWish, Service, Tell

log = logging.getLogger("camagent.jobs")

KEPT = 20  # finished jobs whose events can still be read
MAX_EVENTS = 1000  # of one job
_PROGRESS_STEP = 0.01  # of the whole: what a person can see move


def as_refusal(exc: BaseException) -> CodedError:
    """Any failure as something that can be told: a CodedError as it is, a defect of ours as INTERNAL and into the log."""
    if isinstance(exc, CodedError):
        return exc
    log.error("a defect in camagent", exc_info=exc)
    frames = traceback.extract_tb(exc.__traceback__)
    where = f"{frames[-1].filename.rpartition('/')[2]}:{frames[-1].lineno}" if frames else "unknown"
    return CodedError(
        f"{type(exc).__name__}: {exc}",
        evidence={"at": where},
        fix="this is a defect in camagent: report it with the agent's log, which holds the traceback",
    )


def relayed(report: Mapping[str, Any]) -> CodedError:
    """A refusal that came over a wire, as the error it was at the other end; the code is the other side's."""
    code, evidence = printable(report.get("code", "INTERNAL"), 64), report.get("evidence")
    made = type("Relayed", (Refusal,), {"code": code, "__doc__": "A refusal that another process or machine has given."})
    error: CodedError = made(
        str(report.get("what", "no reason given")),
        fix=str(report.get("fix", "see the agent's log")),
        evidence=evidence if isinstance(evidence, Mapping) else {},
    )
    return error


def thinned(tell: Tell) -> Tell:
    """Lets a progress event through only when it has moved by a hundredth of the whole; all others always."""
    last = -1.0

    def passed_on(event: Event) -> None:
        nonlocal last
        progress = event.get("progress")
        if isinstance(progress, Mapping):
            done, of = float(progress.get("done") or 0), float(progress.get("of") or 0)
            share = done / of if of > 0 else done / 1e8
            if 0 <= share - last < _PROGRESS_STEP and share < 1:
                return
            last = share
        tell(event)

    return passed_on


class Job:
    """One piece of work and what it has told so far. Any number of threads may follow it."""

    def __init__(self, kind: str, origin: Origin, started: float) -> None:
        self.id = secrets.token_urlsafe(18)
        self.kind, self.origin, self.started = kind, origin, started
        self._events: list[Event] = []
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], None]] = []
        self._done = False

    @property
    def done(self) -> bool:
        """True once the result or refusal is known."""
        with self._changed:
            return self._done

    def since(self, index: int) -> tuple[list[Event], bool]:
        """The events from number `index` on, and whether there will be no more."""
        with self._changed:
            return self._events[index:], self._done

    def follow(self) -> Iterator[Event]:
        """Every event from the first to the last; waits for those that are yet to come."""
        index = 0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._done or len(self._events) > index)  # noqa: B023  used up at once
            events, done = self.since(index)
            yield from events
            index += len(events)
            if done:
                return

    def wait(self, timeout_s: float) -> Event | None:
        """The last event, or None when the job is not over after `timeout_s`."""
        with self._changed:
            return self._events[-1] if self._changed.wait_for(lambda: self._done, timeout_s) else None

    def on_change(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Calls `listener`, from the job's thread, after every event; returns what ends that. It must not raise or block."""
        with self._changed:
            self._listeners.append(listener)

        def end() -> None:
            with self._changed:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return end

    def run(self, work: Callable[[Tell], Mapping[str, Any]]) -> None:
        """Does the work in this thread. Never raises: what goes wrong is the last event."""
        try:
            last: Event = {"result": dict(work(thinned(self._tell)))}
        except BaseException as exc:  # noqa: BLE001  told to everybody who follows, and logged where it is a defect
            last = {"refusal": as_refusal(exc).report()}
        self._note(last, is_last=True)

    def _tell(self, event: Event) -> None:
        self._note(event, is_last=False)

    def _note(self, event: Event, *, is_last: bool) -> None:
        with self._changed:
            if self._done or (len(self._events) >= MAX_EVENTS and not is_last):
                return
            self._events.append(event)
            self._done = is_last
            self._changed.notify_all()
            listeners = list(self._listeners)
        for listener in listeners:
            listener()


class Jobs:
    """Installs, activations, rollbacks and self-tests asked for over HTTP: one at a time, each in a thread of its own."""

    def __init__(self, service: Service, clock: Clock) -> None:
        self._service, self._clock = service, clock
        self._lock = threading.Lock()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._running: Job | None = None

    def get(self, job_id: str) -> Job | None:
        """The running job or one of the last finished ones."""
        with self._lock:
            return self._jobs.get(job_id)

    @property
    def running(self) -> Job | None:
        """The job that is going on."""
        with self._lock:
            return self._running

    def start_install(self, source: BinaryIO, origin: Origin, force: bool = False) -> Job:  # noqa: FBT001, FBT002
        """Installs what `source` gives, and closes it at the end. Raises Busy, with `source` untouched."""

        def work(tell: Tell) -> Mapping[str, Any]:
            try:
                return self._service.install(source, origin, tell, force=force)
            finally:
                source.close()

        return self._start("install", origin, work)

    def start_activate(self, name: str, version: str | None, origin: Origin, *, force: bool = False) -> Job:
        """Puts a stored version on trial. Raises Busy."""
        return self._start("activate", origin, lambda tell: self._service.activate(name, version, origin, tell, force=force))

    def start_rollback(self, name: str, origin: Origin) -> Job:
        """Back to the last confirmed bundle. Raises Busy."""
        return self._start("rollback", origin, lambda tell: self._service.rollback(name, origin, tell))

    def start_selftest(self, camera: str, origin: Origin, *, whole: bool = False) -> Job:
        """Tests a camera, or every one. `whole`: with everything that a page shows, pictures too. Raises Busy."""
        wish = SelfTestWish(camera, whole=whole)
        return self._start("selftest", origin, lambda tell: self._service.selftest(wish, origin, tell))

    def _start(self, kind: str, origin: Origin, work: Callable[[Tell], Mapping[str, Any]]) -> Job:
        with self._lock:
            if self._running:
                raise Busy(
                    f"another job is going on: {self._running.kind}",
                    evidence={
                        "asked by": f"{self._running.origin.kind} {self._running.origin.who}",
                        "seconds ago": round(self._clock.monotonic() - self._running.started, 1),
                    },
                    fix="wait until it is over and ask again",
                )
            job = Job(kind, origin, self._clock.monotonic())
            if kind == "selftest":  # a report with its pictures is a megabyte: the last one is kept
                self._jobs = OrderedDict((name, one) for name, one in self._jobs.items() if one.kind != kind)
            self._running = self._jobs[job.id] = job
            while len(self._jobs) > KEPT:
                self._jobs.popitem(last=False)
        try:
            # a service that hangs in a vendor's call must not keep the process from ending
            threading.Thread(target=self._run, args=(job, work), name=f"job-{kind}", daemon=True).start()
        except BaseException:
            self._forget(job)
            raise
        return job

    def _run(self, job: Job, work: Callable[[Tell], Mapping[str, Any]]) -> None:
        # the slot is free before the last event is told: who has seen the end of one job may start the next
        def freed(tell: Tell) -> Mapping[str, Any]:
            try:
                return work(tell)
            finally:
                self._free()

        job.run(freed)

    def _free(self) -> None:
        with self._lock:
            self._running = None

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._running = None
            self._jobs.pop(job.id, None)


__all__ = ["KEPT", "MAX_EVENTS", "Busy", "Job", "Jobs", "as_refusal", "relayed", "thinned"]

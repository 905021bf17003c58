"""A running agent tests itself: asked over any way in, or of its own accord. Implements SelfTester."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from camagent.commands import Accepted, CommandAnswer, Ignored
from camagent.config import Camera
from camagent.errors import Busy, CodedError, Refusal
from camagent.pipeline import Agent
from camagent.probing import Message
from camagent.selftest import wire
from camagent.selftest.due import Due, Look
from camagent.selftest.report import SCHEMA, Report
from camagent.service import Origin, SelfTestWish, Tell
from camagent.stage import Stage

log = logging.getLogger("camagent")

NICE = 10


class NoSuchCamera(Refusal):
    """The agent runs no camera of that name."""

    code = "NO_SUCH_CAMERA"


class SelfTests:
    """One test at a time. The last report stays retained on `<p>/selftest`."""

    def __init__(self, agent: Agent, due: Due | None = None) -> None:
        """Tests nothing yet."""
        self._agent = agent
        self._due = due or Due(agent.clock.monotonic, agent.clock.wall, agent.owner)
        self._one = threading.Lock()
        self._stopping = False
        self._last: dict[str, Any] | None = None
        self._answer: CommandAnswer | None = None

    def run(self, wish: SelfTestWish, origin: Origin, tell: Tell) -> dict[str, Any]:
        """See Service.selftest."""
        with self._alone(f"{origin.kind} {origin.who}"):
            report = self._report(wish, tell)
            if wish.whole:
                for event in wire.events(report):
                    tell(event)
            return self._publish(report)

    def order(self, payload: bytes) -> None:
        """The network thread: `cmd/selftest`."""
        decision = self._agent.orders.judge("selftest", payload)
        if isinstance(decision, Ignored):
            return
        if isinstance(decision, Accepted):
            self._begin("selftest-command", lambda: self._obey(decision))
            return
        log.warning("cmd/selftest: %s: %s", decision.code, decision.what)
        self._say(CommandAnswer.of(decision, self._agent.clock.wall()))

    def tick(self) -> None:
        """Begins a test where one is due."""
        if not self._due.is_time:
            return
        agent = self._agent
        looks = [Look.at(runner) for name in (c.name for c in agent.config.camera) if (runner := agent.cameras.runner(name))]
        name = self._due.camera(looks, on_trial=bool(agent.bundles.live.trials))
        if name is not None and not self._one.locked():
            log.info("self-test of camera %s: %s", name, self._due.why)
            self._begin("selftest-due", lambda: self._of_its_own_accord(name))

    def tell_anew(self) -> None:
        """The last report, for a broker that knows nothing."""
        if self._last is not None:
            self._send(self._last)

    def last(self) -> dict[str, Any] | None:
        """Any thread: the last report, without pictures."""
        return self._last

    def stop(self) -> None:
        """A test that goes on dies with the process: it waits in a library's call at most."""
        self._stopping = True

    @contextmanager
    def _alone(self, who: str) -> Iterator[None]:
        if self._stopping or not self._one.acquire(blocking=False):
            raise Busy("a self-test is going on", evidence={"asked by": who}, fix="wait for its report, then ask again")
        try:
            yield
        finally:
            self._one.release()

    def _report(self, wish: SelfTestWish, tell: Tell) -> Report:
        from camagent.selftest import in_agent  # noqa: PLC0415  its tools are for those who use them: they cost memory

        cameras = self._wanted(wish.camera)
        step_back()
        return in_agent.report(self._agent, cameras, wish, lambda words: tell({"state": words}))

    def _wanted(self, name: str) -> list[Camera]:
        cameras = self._agent.config.camera
        found = [camera for camera in cameras if name in ("", camera.name)]
        if not found:
            raise NoSuchCamera(
                f"the agent runs no camera {name!r}" if name else "the agent has no camera",
                evidence={"cameras": ", ".join(camera.name for camera in cameras) or "none"},
                fix="name one of them" if cameras else "add a [[camera]] section and send SIGHUP",
            )
        return found

    def _obey(self, command: Accepted) -> None:
        try:
            self._agent.orders.remember()
            with self._alone("cmd/selftest"):
                report = self._report(SelfTestWish(), lambda _: None)
                self._answer = CommandAnswer.of_success(command.id, report.verdict, self._agent.clock.wall())
                self._publish(report, command.id)
        except CodedError as exc:
            log.error("cmd/selftest: %s", exc.render())  # noqa: TRY400  a sentence, not a traceback
            self._say(CommandAnswer.of_failure(command.id, exc, self._agent.clock.wall()))
        finally:
            self._agent.orders.gate.done("selftest")

    def _of_its_own_accord(self, name: str) -> None:
        try:
            self.run(SelfTestWish(name), Origin("local", "the agent"), lambda _: None)
        except CodedError as exc:  # somebody else was faster, or the camera is gone
            log.info("self-test of camera %s: %s", name, exc.what)

    def _begin(self, name: str, work: Callable[[], None]) -> None:
        Stage(name, lambda _: work(), self._died).start()

    def _died(self, name: str, exc: BaseException) -> None:
        log.error("%s ended by %r", name, exc, exc_info=exc)

    def _publish(self, report: Report, command_id: str | None = None) -> dict[str, Any]:
        agent = self._agent
        made = {**report.body(), "schema": SCHEMA, "time": agent.clock.wall(), "agent": agent.topics.agent}
        if command_id is not None:
            made["id"] = command_id
        self._last = made
        self._send(made)
        return made

    def _say(self, answer: CommandAnswer) -> None:
        """A command that came to nothing is answered beside the last report, where there is one."""
        self._answer = answer
        if self._last is not None:
            self._send(self._last)

    def _send(self, made: dict[str, Any]) -> None:
        body = made if self._answer is None else {**made, "command": msgspec.to_builtins(self._answer)}
        self._agent.mqtt.send(Message(self._agent.topics.of_agent("selftest"), msgspec.json.encode(body), 1, retain=True))


def step_back() -> None:
    """This thread gives way to the stream: what is published must not wait for a test."""
    try:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    except OSError as exc:  # a system that forbids even that: the test is then a little less polite
        log.debug("self-test: no lower priority: %s", exc.strerror)

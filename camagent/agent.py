"""Start here: builds the stages from the configuration, starts them, watches them, and stops them.

    source -> slot -> steps (preprocess, backend, head, filters) -> messages -> outbox -> MQTT
    `-- reader --'   `---------------- worker ----------------'             `-- network --'

Threads: per camera one reader and one worker (camera.py), one network thread (mqtt/), and the caller of `Agent.run`, which
supervises. Everything else is a value that travels, or a pure function.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from camagent import __version__, npu, vitals
from camagent.announcing import Announcer
from camagent.backends import BackendOptions, bar_devices
from camagent.bodies import AgentHealthBody, BundleStateBody, encode
from camagent.bundles import Bundles, with_waiting
from camagent.camera import CameraRunner
from camagent.cameras import Cameras
from camagent.clock import Clock, StepWatch, SystemClock
from camagent.config import Config
from camagent.config_check import check, require_same_owner
from camagent.config_file import Loaded, load
from camagent.describing import Describer
from camagent.errors import CodedError, StateError, UsageError, printable
from camagent.frame import Result
from camagent.happenings import ends_of_the_last_life
from camagent.health import Finding
from camagent.inbox import Inbox
from camagent.kept_topics import KeptTopics
from camagent.messages import Message, Topics
from camagent.models import UsableBundle
from camagent.mqtt import MqttClient
from camagent.onlookers import Views
from camagent.orders import Orders
from camagent.outbox import Outbox
from camagent.owner import Owner, acquire
from camagent.rollouts import Rollouts
from camagent.stage import Wake, log_death
from camagent.standing import status_line
from camagent.surroundings import Surroundings
from camagent.trace import Trace
from camagent.vigil import Vigil
from camagent.waiting_line import Lines

log = logging.getLogger("camagent")

TICK_S = 0.5
HEALTH_S = 10.0
DRAIN_S = 3.0
_NOT_DELIVERED = ("refused", "too_large", "set_aside")


class Agent:
    """The daemon. `run` returns after `request_stop`."""

    def __init__(self, loaded: Loaded, clock: Clock | None = None, trace: Trace | None = None) -> None:
        """Takes the state directory. Raises StateError when it is held, unwritable or from a newer agent."""
        self.loaded = loaded
        self.clock = clock or SystemClock()
        self.config = loaded.config
        self.owner: Owner = acquire(self.config.agent.state_dir)
        self.topics = Topics(self.config.mqtt.prefix, self.config.agent.id)
        self._started = self.clock.monotonic()
        self._clock_steps = StepWatch(self.clock)
        self._wake = Wake()
        self._stopping = self._reload_wanted = self._network_dead = self._start_anyway = False
        self._trace = trace
        self._config_error: str | None = None
        self._errors: Counter[str] = Counter()
        self._next_health = 0.0
        self._bundles_changed = threading.Event()
        self._waiting: dict[str, str] = {}
        self.vigil = Vigil(self.owner.run_dir, self.clock)
        bar_devices(self.vigil.lives.heritage.why_barred)
        self.bundles = Bundles(self.config, self.clock, self, self._note_bundles)
        self.bundles.about = self._about
        self.bundles.live.long_step = self.vigil.watchdog.step
        self.orders = Orders(
            self.config, self.bundles, self.clock, errors=self._errors, changed=self._note_bundles,
            seen=self.owner.command_ids, remember=self._remember_commands,
        )  # fmt: skip
        self.rollouts = Rollouts(self.config, self.bundles, self.clock, self.vigil.watchdog, self._errors)
        self.views = Views(self.clock.monotonic)
        self.kept = KeptTopics(self.owner, self.topics, lambda message: self.mqtt.send(message), self.clock.monotonic)  # noqa: PLW0108
        self.lines = Lines()
        self.cameras = Cameras(self.owner, self.clock, self._surroundings)
        self.outbox = Outbox(
            self.config.agent.state_dir, self.owner.run_dir, self.config.mqtt, self.clock, self.cameras.outcome
        )
        self._previous = self.outbox.previous()
        self.home = Announcer(self.config, self.topics, self.clock, self.cameras, client=lambda: self.mqtt, errors=self._errors)
        self._describer = Describer(self.config, self.topics, self.clock, lambda message: self.mqtt.send(message))  # noqa: PLW0108
        self._inbox = Inbox(self.topics, self.cameras, self.orders, self.bundles, self.home)
        self.web_facts: Callable[[], Mapping[str, Any]] = dict  # what the web server says of itself
        self.fleet_facts: Callable[[], Mapping[str, Any]] = dict  # what fetches bundles by itself says
        self.on_reload: Callable[[Config], None] = lambda _: None  # the servers follow the configuration too
        self.before_ready: Callable[[], None] = lambda: None  # whoever hears of readiness may ask at once
        self.check_also: Callable[[Config], None] = lambda _: None  # and may say no to it. Raises ConfigError
        self.mqtt = self._client()

    def run(self) -> None:
        """Starts everything and supervises until a stop is asked for. Raises ConfigError or InputError with nothing started."""
        self.cameras.build(self.config.camera)
        self.vigil.start()
        try:
            self.bundles.live.recover()
            for message in ends_of_the_last_life(self.owner.run_dir, self.topics, self.clock.wall()):
                self.mqtt.send(message)
            self.kept.drop_all_but([camera.name for camera in self.config.camera])
            self._connect()
            self._note_bundles()
            self.before_ready()
            self.vigil.ready(self._status())
            self.rollouts.start()
            log.info("camagent %s, agent %s, run %d", __version__, self.topics.agent, self.owner.run)
            while not self._stopping:
                self._tick()
                self._wake.wait(TICK_S)
        finally:
            self._shut_down()

    def request_stop(self) -> None:
        """Asks `run` to drain and return; safe in a signal handler."""
        self._stopping = True
        self._wake.set()

    def request_reload(self) -> None:
        """Asks for the configuration to be read again; safe in a signal handler."""
        self._reload_wanted = True
        self._wake.set()

    def renew(self, name: str) -> None:
        """Any thread: the cameras of this bundle take over what is in force now."""
        self._start_anyway = True  # a pause after early deaths: this may be what helps
        self.cameras.renew(name)

    def release(self, name: str) -> None:
        """Any thread: the cameras of this bundle make room in memory."""
        self.cameras.release(name)

    def health(self) -> AgentHealthBody:
        """The body of the agent's `health`."""
        trust = self._trust_facts()
        broken = "; ".join(f"camera {name}: {why}" for name, why in self.cameras.broken.items())
        return AgentHealthBody(
            schema="camagent.health/1",
            time=self.clock.wall(),
            agent=self.topics.agent,
            version=__version__,
            run=self.owner.run,
            uptime=round(self.clock.monotonic() - self._started, 1),
            previous={"run": self._previous[0], "seq": self._previous[1]} if self._previous else None,
            clock={**self._clock_steps.facts(), "synchronised": vitals.clock_synchronised()},
            trust=trust,
            trust_expires=trust["expires"],
            disk=vitals.disk(self.config.agent.state_dir),
            temperature=vitals.temperature(),
            npu=npu.health(self.config.agent.device),
            outbox=msgspec.to_builtins(self.outbox.snapshot()),
            mqtt=msgspec.to_builtins(self.mqtt.snapshot()),
            allow_unsigned=self.config.agent.allow_unsigned,
            config={
                "file": str(self.loaded.path),
                "digest": self.loaded.digest,
                "error": self._config_error or broken or None,
            },
            web=dict(self.web_facts()),
            watchdog=dict(self.vigil.facts()),
            fleet={**self.rollouts.facts(), **self.fleet_facts()},
            errors=dict(self._errors + Counter({"COMMAND_RETAINED": self.mqtt.snapshot().commands_retained})),
        )

    def reload(self) -> None:
        """Reads the configuration again; a bad file keeps the old one running and says so in `health` and the log."""
        assert self.loaded.path is not None
        self._next_health = 0.0
        try:
            loaded = load(self.loaded.path)
            require_same_owner(self.config, loaded.config)
            check(loaded.config)
            self.check_also(loaded.config)
            self.orders.follow(loaded.config)
        except UsageError as exc:
            self._config_error = printable(exc.what, 1000)
            log.error("reload: the old configuration stays in force. %s", exc.render())  # noqa: TRY400
            return
        self._config_error = None
        old, self.loaded, self.config = self.config, loaded, loaded.config
        self.bundles.follow(self.config)
        self.home.follow(self.config)
        self._describer.follow(self.config)
        if old.mqtt != self.config.mqtt:
            self.cameras.stop()  # for the broker that is left this is a stop, not a camera that sees for ever
            self._disconnect()
            self._connect_anew()
        everything = (old.onnx, old.mqtt, old.agent) != (self.config.onnx, self.config.mqtt, self.config.agent)
        for name in self.cameras.match(self.config.camera, all_anew=everything):
            self.kept.drop(name)
        self._inbox.listen(self.config, self.mqtt)
        self.on_reload(self.config)
        self.rollouts.follow(self.config)
        log.info("reload: %d cameras, configuration %s", len(self.cameras), self.loaded.digest[:12])

    def _tick(self) -> None:
        self.vigil.turn()
        self.outbox.tick()
        if self.vigil.cameras_may_start(now=self._reload_wanted or self._start_anyway):
            self.cameras.start()
        stepped = self._clock_steps.look()
        if stepped:
            log.warning("the clock was set by %+.1f s; intervals are not affected", self._clock_steps.last_step_s)
        if self._reload_wanted:
            self._reload_wanted = False
            self.reload()
        if self._network_dead:
            self._network_dead = False
            self._connect_anew()
        self.cameras.obey()
        self.cameras.revive()
        self._watch_trials()
        if code := self.kept.tick(self.mqtt.answer_on):
            self._errors[code] += 1
        self.home.tick()
        if self.bundles.tester is not None:
            self.bundles.tester.tick()
        due = stepped or self.clock.monotonic() >= self._next_health
        news = due
        for runner, is_new in self.cameras.changed(everything=due):
            self._tell(runner, is_new=is_new)
            news = news or is_new
        if due:
            self._next_health = self.clock.monotonic() + HEALTH_S
            self.mqtt.send(Message(self.topics.of_agent("health"), encode(self.health()), 0, retain=True))
        if news:
            self.vigil.say(self._status())

    def _status(self) -> str:
        root = self.config.agent.allow_unsigned or self._trust_facts()["root"] is not None
        return status_line(self.cameras.standings, broker=self.mqtt.snapshot().code, root=root, config_error=self._config_error)

    def _tell(self, runner: CameraRunner, *, is_new: bool) -> None:
        body, name = runner.health(), runner.camera.name
        self.mqtt.send(Message(self.topics.of_camera(name, "health"), encode(body), 0, retain=True))
        if is_new:
            log.info("%s: %s%s", name, body.state, f", {body.reason}: {body.detail}" if body.reason else "")
            runner.publish_available(online=runner.source.state == "running")

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            topics=self.topics,
            run=self.owner.run,
            qos=self.config.mqtt.qos,
            options=BackendOptions.of(self.config),
            clock=self.clock,
            send=lambda message: self.mqtt.send(message),  # noqa: PLW0108  not bound: the client changes with the configuration
            note_seq=self.outbox.note_seq,
            load_bundle=self.bundles.live.load,
            tell_failed=self._failed,
            trace=self._note_frame,
            delivery=self._delivery,
            watchdog=self.vigil.watchdog,
            lives=self.vigil.lives,
            view=self.views.of,
            run_dir=self.owner.run_dir,
            keep=self.kept.keep,
            describe=self._describer.see,
            describe_end=self._describer.end,
            lines=self.lines,
        )

    def _note_frame(self, camera: str, result: Result) -> None:
        if self._trace is not None:
            self._trace.frame(camera, result, self.clock.monotonic())

    def _failed(self, bundle: UsableBundle, reason: CodedError) -> None:
        """Any thread: a bundle on trial is no good; this agent's own thread takes it back."""
        self.bundles.live.failed(bundle, reason)
        self._wake.set()

    def _note_bundles(self) -> None:
        self._bundles_changed.set()
        self._wake.set()

    def _watch_trials(self) -> None:
        try:
            ended = self.bundles.live.tick()
        except CodedError as exc:  # the disk: tried again at the next tick
            if not self._errors[exc.code]:
                log.error("%s", exc.render())  # noqa: TRY400  a sentence, not a traceback
            self._errors[exc.code] += 1
            return
        waiting = self.cameras.waiting()
        if ended or self._bundles_changed.is_set() or waiting != self._waiting:
            self._bundles_changed.clear()
            self._waiting = waiting
            self._tell_bundles()

    def _tell_bundles(self) -> None:
        """Publishes `bundle/state`."""
        try:
            facts = with_waiting(self.bundles.bundles()["bundles"], self._waiting)
        except CodedError as exc:
            self._errors[exc.code] += 1
            log.error("%s", exc.render())  # noqa: TRY400  a sentence, not a traceback
            return
        body = BundleStateBody(
            schema="camagent.bundle-state/1", time=self.clock.wall(), agent=self.topics.agent, bundles=facts,
            activity=self.bundles.activity, command=self.orders.answer,
        )  # fmt: skip
        self.mqtt.send(Message(self.topics.of_agent("bundle", "state"), encode(body), 1, retain=True))

    def _about(self) -> dict[str, Any]:
        """Any thread: what `status` says beside bundles and trust."""
        cameras = [msgspec.to_builtins(body) for body in self.cameras.healths()]
        last = self.bundles.tester.last() if self.bundles.tester else None
        return {"agent": msgspec.to_builtins(self.health()), "cameras": cameras, "selftest": last}

    def _remember_commands(self, ids: Callable[[], Sequence[str]]) -> None:
        try:
            self.owner.remember_commands(ids)
        except StateError as exc:  # the command is obeyed; after a restart its id would be too
            self._errors[exc.code] += 1
            log.error("%s", exc.render())  # noqa: TRY400  a sentence, not a traceback

    def _trust_facts(self) -> dict[str, Any]:
        try:
            return self.bundles.trust.facts()
        except CodedError as exc:
            return {"root": None, "expires": None, "warning": f"{exc.code}: {exc.what}"}

    def _delivery(self, last_outcome: str) -> Finding | None:
        state = self.mqtt.snapshot()
        if last_outcome in _NOT_DELIVERED and state.rejection is not None:
            return Finding(state.rejection.code, f"not delivered: {state.rejection.topic}: {state.rejection.detail}")
        return None if state.code is None else Finding(state.code, state.detail or state.state)

    def _client(self) -> MqttClient:
        return MqttClient(
            self.config.mqtt, client_id=self.topics.agent, topics=self.topics, outbox=self.outbox, clock=self.clock,
            on_command=self._command, on_outcome=self.cameras.outcome, died=self._network_died,
        )  # fmt: skip

    def _connect(self) -> None:
        self.vigil.watchdog.watch(self.mqtt.pulse)
        self.mqtt.start()
        self._inbox.listen(self.config, self.mqtt)

    def _disconnect(self) -> None:
        self.mqtt.stop(DRAIN_S)
        self.vigil.watchdog.forget(self.mqtt.pulse)

    def _connect_anew(self) -> None:
        self.vigil.watchdog.forget(self.mqtt.pulse)
        self.mqtt = self._client()
        self._connect()
        self._note_bundles()
        self.cameras.tell_anew()
        self.kept.tell_anew()
        self.home.tell_anew()
        if self.bundles.tester is not None:
            self.bundles.tester.tell_anew()

    def _network_died(self, name: str, exc: BaseException) -> None:
        log_death(name, exc)
        self._errors["NETWORK_DIED"] += 1
        self._network_dead = True

    def _command(self, topic: str, payload: bytes) -> None:
        """Something came in, in the network thread: it is only noted, other threads obey."""
        self._inbox.hear(topic, payload)
        self._wake.set()

    def _shut_down(self) -> None:
        self.vigil.stopping()
        log.info("stopping")
        self.orders.stop()
        self.rollouts.stop()
        if self.bundles.tester is not None:
            self.bundles.tester.stop()
        self.cameras.stop()
        self._stop_trials()
        self._disconnect()
        self.outbox.close()
        self.vigil.stop(clean=self._stopping)
        self.owner.release()
        log.info("stopped")

    def _stop_trials(self) -> None:
        try:
            self.bundles.live.close()
        except CodedError as exc:
            log.error("this stop will count as a death of the bundle on trial. %s", exc.render())  # noqa: TRY400

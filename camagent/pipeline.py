"""Start here: builds the stages from the configuration, starts them, watches them, and stops them.

    source -> slot -> steps (preprocess, backend, head, filters) -> messages -> outbox -> MQTT
    `-- reader --'   `---------------- worker ----------------'             `-- network --'

Threads: per camera one reader and one worker (camera.py), one network thread (mqtt.py), and the caller of `Agent.run`, which
supervises. Everything else is a value that travels, or a pure function.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import asdict
from pathlib import Path

import msgspec

from camagent import __version__, models, vitals
from camagent.backends import BackendOptions
from camagent.bodies import AgentHealthBody, encode
from camagent.camera import CameraRunner, Surroundings, Switch
from camagent.clock import Clock, StepWatch, SystemClock
from camagent.commands import DetectSwitches
from camagent.config import Camera, Config
from camagent.config_file import Loaded, load
from camagent.errors import CodedError, ConfigError, InputError, StateError, printable
from camagent.filters import FilterRule
from camagent.health import Finding
from camagent.inputs import named_frames, one_picture, passed_over
from camagent.messages import Message, Topics
from camagent.models import UsableBundle, usable
from camagent.models import load as load_model
from camagent.mqtt import MqttClient, Observer
from camagent.notify import notify
from camagent.outbox import Outbox
from camagent.owner import Owner, acquire
from camagent.steps import Steps, encode_rle

log = logging.getLogger("camagent")

TICK_S = 0.5
HEALTH_S = 10.0
DRAIN_S = 3.0
REVIVE_S = 5.0  # a camera whose thread died is started anew after this
BACKENDS = ("onnx",)


class Agent:
    """The daemon. `run` returns after `stop` or `request_stop`."""

    def __init__(self, loaded: Loaded, clock: Clock | None = None) -> None:
        """Takes the state directory. Raises StateError when it is held, unwritable or from a newer agent."""
        self.loaded = loaded
        self.clock = clock or SystemClock()
        self.config = loaded.config
        self.owner: Owner = acquire(self.config.agent.state_dir)
        self.topics = Topics(self.config.mqtt.prefix, self.config.agent.id)
        self._started = self.clock.monotonic()
        self._steps_watch = StepWatch(self.clock)
        self._wake = threading.Event()
        self._stopping = self._reload_wanted = False
        self._config_error: str | None = None
        self._cameras: dict[str, CameraRunner] = {}
        self._died_at: dict[str, float] = {}
        self._shown: dict[str, tuple[str, str | None]] = {}
        self._next_health = 0.0
        self._switches = DetectSwitches()
        self._errors: Counter[str] = Counter()
        self._network_dead = False
        self.outbox = Outbox(self.config.agent.state_dir, self.owner.run_dir, self.config.mqtt, self.clock, self._outcome)
        self._previous = self.outbox.previous()
        self.mqtt = self._client()

    def run(self) -> None:
        """Starts everything and supervises until a stop is asked for."""
        for camera in self.config.camera:  # a camera that cannot be built at all is told before anything runs
            self._add_camera(camera)
        self.mqtt.start()
        self._subscribe()
        for runner in self._cameras.values():
            runner.start()
        notify(READY="1", STATUS=f"{len(self._cameras)} cameras")
        log.info("camagent %s, agent %s, run %d", __version__, self.topics.agent, self.owner.run)
        while not self._stopping:
            self._tick()
            self._wake.wait(TICK_S)
            self._wake.clear()
        self._shut_down()

    def request_stop(self) -> None:
        """Asks `run` to drain and return; safe in a signal handler."""
        self._stopping = True
        self._wake.set()

    def request_reload(self) -> None:
        """Asks for the configuration to be read again; safe in a signal handler."""
        self._reload_wanted = True
        self._wake.set()

    def health(self) -> AgentHealthBody:
        """The body of the agent's `health`."""
        config = self.config
        return AgentHealthBody(
            schema="camagent.health/1",
            time=self.clock.wall(),
            agent=self.topics.agent,
            version=__version__,
            run=self.owner.run,
            uptime=round(self.clock.monotonic() - self._started, 1),
            previous={"run": self._previous[0], "seq": self._previous[1]} if self._previous else None,
            clock={
                "steps": self._steps_watch.steps,
                "last_step_s": round(self._steps_watch.last_step_s, 3),
                "synchronised": vitals.clock_synchronised(),
            },
            trust={},
            disk=vitals.disk(config.agent.state_dir),
            temperature=vitals.temperature(),
            outbox=msgspec.to_builtins(self.outbox.snapshot()),
            mqtt=msgspec.to_builtins(self.mqtt.snapshot()),
            allow_unsigned=config.agent.allow_unsigned,
            config={"file": str(self.loaded.path), "digest": self.loaded.digest, "error": self._config_error},
            errors=dict(self._errors),
        )

    def _tick(self) -> None:
        self.outbox.tick()
        stepped = self._steps_watch.look()
        if stepped:
            log.warning("the clock was set by %+.1f s; intervals are not affected", self._steps_watch.last_step_s)
        if self._reload_wanted:
            self._reload_wanted = False
            self.reload()
        self._obey()
        self._revive()
        now = self.clock.monotonic()
        due = now >= self._next_health or stepped
        for name, runner in self._cameras.items():
            found = runner.finding()
            shown = (runner.state(), found.code if found else None)
            if due or shown != self._shown.get(name):
                self._show(name, runner, shown)
        if due:
            self._next_health = now + HEALTH_S
            self._send_retained("health", encode(self.health()), 0)

    def _show(self, name: str, runner: CameraRunner, shown: tuple[str, str | None]) -> None:
        before = self._shown.get(name)
        self._shown[name] = shown
        body = runner.health()
        self.mqtt.send(Message(self.topics.of_camera(name, "health"), encode(body), 0, retain=True))
        if before != shown:
            log.info("%s: %s%s", name, shown[0], f", {body.reason}: {body.detail}" if body.reason else "")
            online = b"online" if runner.source.state == "running" else b"offline"
            self.mqtt.send(Message(self.topics.of_camera(name, "available"), online, 1, retain=True))

    def reload(self) -> None:
        """Reads the configuration again; a bad file keeps the old one running and says so in `health` and the log."""
        assert self.loaded.path is not None
        try:
            loaded = load(self.loaded.path)
            _require_same_owner(self.config, loaded.config)
        except ConfigError as exc:
            self._config_error = printable(exc.what, 1000)
            log.error("reload: the old configuration stays in force. %s", exc.render())  # noqa: TRY400
            self._next_health = 0.0
            return
        self._config_error = None
        old, self.loaded, self.config = self.config, loaded, loaded.config
        if old.mqtt != self.config.mqtt:
            self.mqtt.stop(DRAIN_S)
            self._connect_anew()
        self._match_cameras(old)
        self._subscribe()
        self._next_health = 0.0
        log.info("reload: %d cameras, configuration %s", len(self._cameras), self.loaded.digest[:12])

    def _connect_anew(self) -> None:
        self.mqtt = self._client()
        self.mqtt.start()
        self._subscribe()
        for runner in self._cameras.values():
            runner.publish_switch()
        self._shown.clear()  # so that every retained state is published again

    def _match_cameras(self, old: Config) -> None:
        """Cameras whose section did not change go on untouched."""
        all_anew = (old.onnx, old.mqtt, old.agent) != (self.config.onnx, self.config.mqtt, self.config.agent)
        wanted = {camera.name: camera for camera in self.config.camera}
        for name, runner in list(self._cameras.items()):
            if all_anew or wanted.get(name) != runner.camera:
                runner.stop()
                del self._cameras[name]
                self._shown.pop(name, None)
                if name not in wanted:
                    self._forget_topics(name)
        for name, camera in wanted.items():
            if name not in self._cameras:
                self._start_camera(camera)

    def _start_camera(self, camera: Camera) -> None:
        """Adds a camera to the running agent; one that cannot be built is told in `health`, the others go on."""
        try:
            self._add_camera(camera).start()
        except CodedError as exc:
            self._config_error = printable(f"camera {camera.name}: {exc.what}", 1000)
            log.error("%s: %s", camera.name, exc.render())  # noqa: TRY400

    def _add_camera(self, camera: Camera) -> CameraRunner:
        config = self.config
        around = Surroundings(
            topics=self.topics,
            run=self.owner.run,
            qos=config.mqtt.qos,
            options=BackendOptions(config.onnx.intra_op_threads, config.onnx.providers),
            clock=self.clock,
            send=self._send,
            note_seq=self.outbox.note_seq,
            load_bundle=self._load_bundle,
            delivery=self._delivery,
        )
        kept = self.owner.detect.get(camera.name)
        switch = Switch(**kept) if kept else Switch(on=True, since=self.clock.wall(), by="configuration")
        runner = CameraRunner(camera, around, switch)
        self._cameras[camera.name] = runner
        runner.publish_switch()
        return runner

    def _revive(self) -> None:
        """What died starts anew; the others have gone on."""
        now = self.clock.monotonic()
        if self._network_dead:
            self._network_dead = False
            self._connect_anew()
        for name, runner in list(self._cameras.items()):
            if runner.dead and now - self._died_at.setdefault(name, now) >= REVIVE_S:
                runner.stop()
                del self._died_at[name]
                self._start_camera(runner.camera)

    def _load_bundle(self, camera: Camera) -> UsableBundle:
        if not models.is_path(camera.bundle):
            raise InputError(
                f"camera {camera.name} has no bundle {camera.bundle!r} in the store"
                if camera.bundle
                else f"camera {camera.name} has no bundle",
                evidence={"camera": camera.name, "bundle": camera.bundle},
                fix="install one: camagent bundle install F.cambundle, and name it as the camera's bundle",
            )
        agent = self.config.agent
        return models.load(
            Path(camera.bundle), allow_unsigned=agent.allow_unsigned, backends=BACKENDS, backend=camera.backend,
            device=agent.device or vitals.device(),
        )  # fmt: skip

    def _delivery(self) -> Finding | None:
        state = self.mqtt.snapshot()
        return None if state.code is None else Finding(state.code, state.detail or state.state)

    def _outcome(self, camera: str, outcome: str, number: int) -> None:
        runner = self._cameras.get(camera)
        if runner:
            runner.counters.outcomes[outcome] += number

    def _client(self) -> MqttClient:
        return MqttClient(
            self.config.mqtt, client_id=self.topics.agent, topics=self.topics, outbox=self.outbox, clock=self.clock,
            on_command=self._command, on_outcome=self._outcome, died=self._network_died,
        )  # fmt: skip

    def _network_died(self, name: str, exc: BaseException) -> None:
        log.error("%s ended by %r", name, exc, exc_info=exc)
        self._errors["NETWORK_DIED"] += 1
        self._network_dead = True

    def _send(self, message: Message) -> None:
        self.mqtt.send(message)

    def _send_retained(self, word: str, payload: bytes, qos: int) -> None:
        self.mqtt.send(Message(self.topics.of_agent(word), payload, qos, retain=True))

    def _forget_topics(self, camera: str) -> None:
        for word in ("health", "available", "detect"):
            self.mqtt.send(Message(self.topics.of_camera(camera, word), b"", 1, retain=True))

    def _subscribe(self) -> None:
        detect = "detect" in self.config.commands.allow
        names = [camera.name for camera in self.config.camera] if detect else []
        self.mqtt.subscribe([self.topics.of_camera(name, "cmd", "detect") for name in names])

    def _command(self, topic: str, payload: bytes) -> None:
        """A command arrived, in the network thread; the agent's own thread obeys."""
        for name, runner in list(self._cameras.items()):
            if topic == self.topics.of_camera(name, "cmd", "detect") and not self._switches.note(name, payload):
                runner.counters.errors["COMMAND_INVALID"] += 1
        self._wake.set()

    def _obey(self) -> None:
        for name, on in self._switches.due(self.clock.monotonic()):
            runner = self._cameras.get(name)
            if runner is None:
                continue
            switch = Switch(on=on, since=self.clock.wall(), by="mqtt")
            if on != runner.switch.on:
                self._remember(name, runner, switch)
            runner.turn(switch)

    def _remember(self, name: str, runner: CameraRunner, switch: Switch) -> None:
        try:
            self.owner.remember_detect(name, asdict(switch))
        except StateError as exc:
            runner.counters.errors[exc.code] += 1
            log.error("%s: the switch works but will not outlive a restart. %s", name, exc.render())  # noqa: TRY400

    def _shut_down(self) -> None:
        notify(STOPPING="1")
        log.info("stopping")
        for runner in self._cameras.values():
            runner.stop()
            self.mqtt.send(Message(self.topics.of_camera(runner.camera.name, "available"), b"offline", 1, retain=True))
        self.mqtt.stop(DRAIN_S)
        self.outbox.close()
        self.owner.release()
        log.info("stopped")


def _require_same_owner(old: Config, new: Config) -> None:
    for key in ("id", "state_dir"):
        if getattr(old.agent, key) != getattr(new.agent, key):
            raise ConfigError(
                f"agent.{key} cannot change while the agent runs",
                evidence={"running": getattr(old.agent, key), "file": getattr(new.agent, key)},
                fix="restart the agent",
            )


__all__ = [
    "BACKENDS",
    "Agent",
    "FilterRule",
    "Observer",
    "Steps",
    "UsableBundle",
    "encode_rle",
    "load_model",
    "named_frames",
    "one_picture",
    "passed_over",
    "usable",
]

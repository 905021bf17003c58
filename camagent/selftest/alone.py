"""`camagent selftest -c FILE` where no agent runs: this process is the owner for that time, and speaks as the agent would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import msgspec

from camagent import __version__, npu, vitals
from camagent.bodies import AgentHealthBody, encode
from camagent.bundles import Bundles, own_alone
from camagent.clock import Clock, SystemClock
from camagent.config import Camera, Config
from camagent.config_file import Loaded
from camagent.errors import CodedError
from camagent.owner import Owner, act_as_oneself
from camagent.pipeline import UsableBundle
from camagent.probing import Message, MqttClient, Topics, own_client
from camagent.selftest import capture, run
from camagent.selftest.ladder import Rung
from camagent.selftest.probes import Voice, result_probe, typical_bytes
from camagent.selftest.report import Cause, Report, Tell
from camagent.selftest.rung_bundle import BundleRung
from camagent.selftest.rung_configuration import ConfigurationRung, SwitchFacts, SystemRung
from camagent.selftest.rung_delivery import DeliveryRung, Probes
from camagent.selftest.sample import LiveSample, SourceFacts


@dataclass(frozen=True, slots=True, eq=False)
class Alone:
    """A Site without a daemon."""

    loaded: Loaded
    owner: Owner
    bundles: Bundles
    client: MqttClient
    topics: Topics
    clock: Clock
    started: float  # monotonic
    seqs: dict[str, int] = field(default_factory=dict)

    @property
    def config(self) -> Config:
        """As it was loaded."""
        return self.loaded.config

    @property
    def monotonic(self) -> Callable[[], float]:
        """The clock's."""
        return self.clock.monotonic

    def configuration(self, camera: Camera) -> Rung:
        """The switch is what the last run has left."""
        kept = self.owner.detect.get(camera.name)
        return ConfigurationRung(self.loaded, camera, SwitchFacts(**kept) if kept else None)

    def bundle(self, camera: Camera) -> BundleRung:
        """From the store, or from the file that the camera names."""
        trust = self.bundles.trust
        return BundleRung(camera, self.bundles.live.in_force, trust.facts, allowed=self.config.agent.allow_unsigned)

    def capture(self, camera: Camera, tell: Tell) -> LiveSample:
        """Opens the source for some seconds."""
        try:
            return capture.capture(camera, self.clock, tell)
        except CodedError as exc:
            return LiveSample((), SourceFacts("waiting-source", "no-frames", exc.what))

    def system(self, camera: Camera, named: Callable[[], Sequence[Cause]]) -> Rung:
        """Nothing runs that could be slow; the machine may still be short of memory."""
        return SystemRung(self.config, camera, None, named)

    def delivery(self, camera: Camera, bundle: UsableBundle | None, live: LiveSample) -> Rung:
        """Over a client that was made for this test."""
        voice = Voice(
            self.topics, self.config.mqtt.qos, self.clock.wall, self.owner.run,
            lambda: self._next_seq(camera.name), lambda _camera, _run, _seq: None,
        )  # fmt: skip

        def make() -> list[Message]:
            health = Message(self.topics.of_agent("health"), encode(self._health()), 1, retain=True)
            return [health, result_probe(voice, camera, bundle, live)]

        probes = Probes(make, typical_bytes(voice, camera, bundle, live))
        return DeliveryRung(self.config.mqtt, self.client, probes, self.clock, is_new=True)

    def has_room(self, bundle: UsableBundle) -> bool:
        """Nothing runs beside it."""
        return run.has_room(bundle)

    def _next_seq(self, camera: str) -> int:
        self.seqs[camera] = self.seqs.get(camera, 0) + 1
        return self.seqs[camera]

    def _health(self) -> AgentHealthBody:
        agent, desk = self.config.agent, self.bundles.trust
        try:
            trust = desk.facts()
        except CodedError as exc:
            trust = {"root": None, "expires": None, "warning": f"{exc.code}: {exc.what}"}
        return AgentHealthBody(
            schema="camagent.health/1", time=self.clock.wall(), agent=self.topics.agent, version=__version__,
            run=self.owner.run, uptime=round(self.clock.monotonic() - self.started, 1), previous=None,
            clock={"steps": 0, "last_step_s": 0.0, "synchronised": vitals.clock_synchronised()}, trust=trust,
            trust_expires=trust["expires"], disk=vitals.disk(agent.state_dir), temperature=vitals.temperature(),
            npu=npu.health(agent.device), outbox={},
            mqtt=msgspec.to_builtins(self.client.snapshot()), allow_unsigned=agent.allow_unsigned,
            config={"file": str(self.loaded.path), "digest": self.loaded.digest, "error": None}, probe=True,
        )  # fmt: skip


@contextmanager
def owning(loaded: Loaded) -> Iterator[Alone]:
    """Takes the state directory as `run` would, and connects to the broker. Raises StateError where that is not possible."""
    config = loaded.config
    clock: Clock = SystemClock()
    topics = Topics(config.mqtt.prefix, config.agent.id)
    with own_alone(config) as (owner, bundles), own_client(config, topics, clock) as client:
        yield Alone(loaded, owner, bundles, client, topics, clock, time.monotonic())


def report(loaded: Loaded, cameras: Sequence[Camera], tell: Tell) -> Report:
    """The self-test of these cameras, one after the other. Raises StateError."""
    try:
        with owning(loaded) as site:
            return run.gathered({camera.name: run.camera_report(site, camera, tell) for camera in cameras})
    finally:
        act_as_oneself()

"""A running agent as a Site: its own reader is watched, its own client publishes, and its stream goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from camagent.bodies import encode
from camagent.camera import CameraRunner
from camagent.config import Camera, Config
from camagent.config_file import load
from camagent.pipeline import Agent, UsableBundle
from camagent.probing import Message
from camagent.selftest import run
from camagent.selftest.capture import Watcher
from camagent.selftest.ladder import Rung
from camagent.selftest.probes import Voice, result_probe, typical_bytes
from camagent.selftest.report import Cause, Report, Tell
from camagent.selftest.rung_bundle import BundleRung
from camagent.selftest.rung_configuration import Asked, ConfigurationRung, Running, SwitchFacts, SystemRung
from camagent.selftest.rung_delivery import DeliveryRung, Probes
from camagent.selftest.sample import LiveSample, SourceFacts
from camagent.service import SelfTestWish


@dataclass(frozen=True, slots=True, eq=False)
class InAgent:
    """A Site in the agent's own process."""

    agent: Agent
    wish: SelfTestWish
    before: dict[str, Running] = field(default_factory=dict)  # by camera: as it ran before the test took its share

    @property
    def config(self) -> Config:
        """The one in force."""
        return self.agent.config

    @property
    def monotonic(self) -> Callable[[], float]:
        """The agent's."""
        return self.agent.clock.monotonic

    def configuration(self, camera: Camera) -> Rung:
        """Against the file as it stands now, and the one that the user has in mind."""
        agent, wish, runner = self.agent, self.wish, self.agent.cameras.runner(camera.name)
        path = agent.loaded.path
        if runner is not None:
            self.before[camera.name] = _running(runner)
        return ConfigurationRung(
            agent.loaded, camera,
            SwitchFacts(runner.switch.on, runner.switch.since, runner.switch.by) if runner else None,
            read_again=(lambda: load(path)) if path else None,
            asked=Asked(wish.config_path, wish.config_digest) if wish.config_path else None,
        )  # fmt: skip

    def bundle(self, camera: Camera) -> BundleRung:
        """From the agent's store; nothing is tried or taken back by it."""
        bundles = self.agent.bundles
        return BundleRung(camera, bundles.live.in_force, bundles.trust.facts, allowed=self.config.agent.allow_unsigned)

    def capture(self, camera: Camera, tell: Tell) -> LiveSample:
        """Looks over the reader's shoulder."""
        runner = self.agent.cameras.runner(camera.name)
        if runner is None:
            why = self.agent.cameras.broken.get(camera.name, "this camera does not run")
            return LiveSample((), SourceFacts("waiting-source", "no-frames", why))
        tell(f"watching camera {camera.name} while it runs")
        return Watcher(camera, lambda: runner.source, runner.watch, self.agent.clock).watch()

    def system(self, camera: Camera, named: Callable[[], Sequence[Cause]]) -> Rung:
        """What `health` said of this camera."""
        return SystemRung(self.config, camera, self.before.get(camera.name), named)

    def delivery(self, camera: Camera, bundle: UsableBundle | None, live: LiveSample) -> Rung:
        """Over the agent's own client."""
        agent = self.agent
        voice = Voice(
            agent.topics, self.config.mqtt.qos, agent.clock.wall, agent.owner.run,
            lambda: agent.cameras.next_seq(camera.name), agent.outbox.note_seq,
        )  # fmt: skip

        def make() -> list[Message]:
            health = msgspec.structs.replace(agent.health(), probe=True)
            topic = agent.topics.of_agent("health")
            return [Message(topic, encode(health), 1, retain=True), result_probe(voice, camera, bundle, live)]

        probes = Probes(make, typical_bytes(voice, camera, bundle, live), self._real(camera.name))
        return DeliveryRung(self.config.mqtt, agent.mqtt, probes, agent.clock, is_new=False)

    def _real(self, camera: str) -> dict[str, list[str]]:
        """Events and counts tell of what is there, so no probe is sent among them."""
        topics, kept = self.agent.topics, sorted(self.agent.kept.of(camera))
        events = topics.of_camera(camera, "events")
        places = (topics.of_camera(camera, word, "") for word in ("count", "zone"))
        return {events: [events], **{f"{place}#": [topic for topic in kept if topic.startswith(place)] for place in places}}

    def has_room(self, bundle: UsableBundle) -> bool:
        """Beside the models that run."""
        return run.has_room(bundle)


def report(agent: Agent, cameras: Sequence[Camera], wish: SelfTestWish, tell: Tell) -> Report:
    """The self-test of these cameras, one after the other."""
    site = InAgent(agent, wish)
    return run.gathered({camera.name: run.camera_report(site, camera, tell) for camera in cameras})


def _running(runner: CameraRunner) -> Running:
    body = runner.health()
    return Running(
        body.reason, body.detail or "", runner.counters.window().inferred, body.fps, body.latency_ms.get("total"),
        body.counters, body.errors,
    )  # fmt: skip

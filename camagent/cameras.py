"""The cameras of one agent: built from the configuration, matched to a new one, revived, switched, counted.

Owned by the agent's main thread, except where it says any thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import count

from camagent.bodies import CameraHealthBody
from camagent.camera import CameraRunner
from camagent.clock import Clock
from camagent.commands import DetectSwitches
from camagent.config import Camera
from camagent.errors import CodedError, StateError, printable
from camagent.models import is_path
from camagent.owner import Owner
from camagent.standing import Standing, refusal_code
from camagent.surroundings import Surroundings, Switch

log = logging.getLogger("camagent")

REVIVE_S = 5.0  # a camera whose thread died is started anew after this, and one that cannot be built is tried again


@dataclass(frozen=True, slots=True)
class Broken:
    """A camera that cannot be built."""

    camera: Camera
    why: str
    again_at: float  # monotonic


class Cameras:
    """Runs one `CameraRunner` per configured camera."""

    def __init__(self, owner: Owner, clock: Clock, surroundings: Callable[[], Surroundings]) -> None:
        """`surroundings` is asked whenever a camera is built: it follows the configuration."""
        self._broken: dict[str, Broken] = {}
        self._owner = owner
        self._clock = clock
        self._surroundings = surroundings
        self._names: tuple[str, ...] = ()  # in the configuration's order
        self._runners: dict[str, CameraRunner] = {}
        self._stopped: list[str] = []  # no configuration has said yet whether they are gone
        self._seqs: dict[str, int] = {}  # outlives a runner: (run, seq) is never used twice
        self._counting = threading.Lock()
        self._track_ids: dict[str, Iterator[int]] = {}  # outlives a runner, too: no object is given another's number
        self._told: dict[str, Standing] = {}
        self._died_at: dict[str, float] = {}
        self._switches = DetectSwitches()

    def __len__(self) -> int:
        return len(self._runners)

    def build(self, cameras: tuple[Camera, ...]) -> None:
        """Builds every camera, starts none. Raises ConfigError or InputError for one that cannot be built."""
        self._names = tuple(camera.name for camera in cameras)
        for camera in cameras:
            self._add(camera)

    def start(self) -> None:
        """Starts what `build` has built."""
        for runner in self._runners.values():
            runner.start()

    def match(self, cameras: tuple[Camera, ...], *, all_anew: bool) -> list[str]:
        """Follows a new configuration; cameras whose section did not change go on untouched. Returns those that are gone."""
        wanted = {camera.name: camera for camera in cameras}
        gone, self._stopped = [name for name in self._stopped if name not in wanted], []
        self._broken.clear()
        for name, runner in list(self._runners.items()):
            if all_anew or wanted.get(name) != runner.camera:
                self._drop(name)
                if name not in wanted:
                    gone.append(name)
        for name, camera in wanted.items():
            if name not in self._runners:
                self._add_and_start(camera)
        self._names = tuple(wanted)
        self._order()
        return gone

    def revive(self) -> None:
        """A camera of which a thread died starts anew after a moment, also one that could not; the others have gone on."""
        now = self._clock.monotonic()
        for broken in list(self._broken.values()):
            if now >= broken.again_at and self._add_and_start(broken.camera):
                self._order()
        for name, runner in list(self._runners.items()):
            if runner.dead and now - self._died_at.setdefault(name, now) >= REVIVE_S:
                self._drop(name)
                if not self._add_and_start(runner.camera):
                    runner.publish_available(online=False)
                self._order()

    def obey(self) -> None:
        """Turns the switches that commands asked for."""
        for name, on in self._switches.due(self._clock.monotonic()):
            runner = self._runners.get(name)
            if runner is None:
                continue
            switch = Switch(on=on, since=self._clock.wall(), by="mqtt")
            if on != runner.switch.on:
                self._remember(name, runner, switch)
            runner.turn(switch)

    def changed(self, *, everything: bool) -> Iterator[tuple[CameraRunner, bool]]:
        """(camera, whether its standing changed) of those whose standing changed, or of all."""
        for name, runner in self._runners.items():
            found = runner.finding()
            state = runner.state()
            code = refusal_code(found.detail) if found and state == "waiting-bundle" else ""
            standing = Standing(state, found.code if found else None, runner.source.state == "running", code)
            is_new = self._told.get(name) != standing
            if everything or is_new:
                self._told[name] = standing
                yield runner, is_new

    @property
    def broken(self) -> Mapping[str, str]:
        """Any thread: cameras that cannot be built, and why."""
        return {name: broken.why for name, broken in self._broken.copy().items()}

    @property
    def standings(self) -> Mapping[str, Standing]:
        """As told last; where nothing was told yet, the state alone."""
        return {
            name: self._told.get(name) or Standing(runner.state(), None, online=False) for name, runner in self._runners.items()
        }

    def waiting(self) -> dict[str, str]:
        """Bundles of the store that a camera waits for, and why it does."""
        told = {runner.camera.bundle: runner.refused for runner in self._runners.values() if not is_path(runner.camera.bundle)}
        return {name: printable(refused.detail, 500) for name, refused in told.items() if refused is not None}

    def runner(self, name: str) -> CameraRunner | None:
        """Any thread: the camera of that name; None where it is not there, or cannot be built."""
        return self._runners.get(name)

    def next_seq(self, name: str) -> int:
        """Any thread: a number of this run that no message of the camera has had."""
        with self._counting:
            self._seqs[name] = self._seqs.get(name, 0) + 1
            return self._seqs[name]

    def healths(self) -> list[CameraHealthBody]:
        """Any thread: the body of every camera's `health`."""
        return [runner.health() for runner in list(self._runners.values())]

    def tell_anew(self) -> None:
        """A new MQTT client knows no retained state: everything counts as changed."""
        self._told.clear()
        for runner in self._runners.values():
            runner.tell_anew()

    def stop(self) -> None:
        """Stops every camera, and says so; `match` starts them again."""
        for name, runner in list(self._runners.items()):
            self._drop(name)
            runner.publish_available(online=False)
            self._stopped.append(name)

    def renew(self, bundle: str) -> None:
        """Any thread: another bundle of that name is in force."""
        for runner in list(self._runners.values()):
            if runner.camera.bundle == bundle:
                runner.renew_model()

    def release(self, bundle: str) -> None:
        """Any thread: memory is needed; the models of that name are closed between two frames, a `renew` follows."""
        for runner in list(self._runners.values()):
            if runner.camera.bundle == bundle:
                runner.release_model()

    def note_command(self, name: str, payload: bytes) -> None:
        """Any thread: a word for a camera's detect switch."""
        runner = self._runners.get(name)
        if runner is not None and not self._switches.note(name, payload):
            runner.counters.errors["COMMAND_INVALID"] += 1

    def outcome(self, name: str, outcome: str, number: int) -> None:
        """Any thread: what became of a camera's messages."""
        runner = self._runners.get(name)
        if runner is not None:
            runner.counters.outcome(outcome, number)

    def _add(self, camera: Camera) -> CameraRunner:
        kept = self._owner.detect.get(camera.name)
        switch = Switch(**kept) if kept else Switch(on=True, since=self._clock.wall(), by="configuration")
        ids = self._track_ids.setdefault(camera.name, count(1))
        runner = CameraRunner(camera, self._surroundings(), switch, lambda: self.next_seq(camera.name), ids)
        self._runners[camera.name] = runner
        runner.publish_switch()
        return runner

    def _add_and_start(self, camera: Camera) -> bool:
        """False where it cannot be built: it is tried again."""
        try:
            self._add(camera).start()
        except CodedError as exc:
            why, before = printable(exc.what, 1000), self._broken.get(camera.name)
            if before is None or before.why != why:
                log.error("%s: %s", camera.name, exc.render())  # noqa: TRY400  a sentence, not a traceback
            self._broken[camera.name] = Broken(camera, why, self._clock.monotonic() + REVIVE_S)
            return False
        self._broken.pop(camera.name, None)
        return True

    def _order(self) -> None:
        """As the configuration has them: one that started anew does not go to the end of what people see."""
        self._runners = {name: self._runners[name] for name in self._names if name in self._runners}

    def _drop(self, name: str) -> None:
        self._runners.pop(name).stop()
        self._told.pop(name, None)
        self._died_at.pop(name, None)

    def _remember(self, name: str, runner: CameraRunner, switch: Switch) -> None:
        try:
            self._owner.remember_detect(name, asdict(switch))
        except StateError as exc:
            runner.counters.errors[exc.code] += 1
            log.error("%s: the switch works but will not outlive a restart. %s", name, exc.render())  # noqa: TRY400

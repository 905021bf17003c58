"""A running agent's cameras, for the page: implements `CameraDesk`."""

from __future__ import annotations

import base64
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import msgspec

from camagent import overlay, overlay_file
from camagent.camera import CameraRunner
from camagent.config import Camera
from camagent.config_file import OVERLAY_NAME, load
from camagent.errors import Busy, ConfigError
from camagent.frame import Result, outcome_parts
from camagent.model_holder import Loaded
from camagent.onlookers import NoAnswer, View
from camagent.overlay import Change, OverlayChanged
from camagent.pipeline import RLE, Agent, Author, FilterRule, body_of, check, strange_frame
from camagent.service import Origin
from camagent.sinks import annotate, to_jpeg
from camagent.web.desk import Spent, no_camera
from firmware_pkg import disk

log = logging.getLogger("camagent.web")

PREDICT_S = 30.0
FOLLOW_S = 15.0  # that a changed configuration may take to be in force
LONGEST = 1280  # pixels of a tried picture's longer side, as it is sent back


class AgentDesk:
    """See CameraDesk."""

    def __init__(self, agent: Agent) -> None:
        """Asks nothing yet."""
        self._agent = agent
        self._saving, self._predicting = threading.Lock(), threading.Lock()
        self._known_labels: dict[tuple[str, str], list[str]] = {}  # of each camera's bundle, when it was last looked at

    def view(self, camera: str) -> View:
        """See CameraDesk.view."""
        self._camera(camera)
        return self._agent.views.of(camera)

    def predict(self, camera: str, picture: bytes, min_score: float | None) -> dict[str, Any]:
        """See CameraDesk.predict."""
        runner = self._runner(camera)
        if not self._predicting.acquire(blocking=False):  # a large picture takes memory: one at a time
            raise Busy("another picture is being tried", fix="wait a moment, then ask again")
        try:
            return self._predicted(runner, picture, min_score)
        finally:
            self._predicting.release()

    def areas(self, camera: str) -> dict[str, Any]:
        """See CameraDesk.areas."""
        made = overlay.describe(self._agent.loaded, self._camera(camera))
        return {**made, "labels": self._labels(camera)}

    def save(self, camera: str, change: Change, origin: Origin) -> dict[str, Any]:
        """See CameraDesk.save."""
        with self._saving:
            self._camera(camera)
            overlay.check_labels(change, self._labels(camera))
            in_force = self._agent.loaded.digest
            if change.base is not None and change.base != in_force:
                raise OverlayChanged(
                    "the configuration was changed by somebody else meanwhile",
                    evidence={"looked at": change.base[:12], "in force": in_force[:12]},
                    fix="load the camera's zones and masks again, then make the change anew",
                )
            self._write(camera, change)
            self._agent.bundles.live.audit.note("overlay", name=camera, origin=origin)
            log.info("overlay: zones, masks or filter of camera %s set by %s %s", camera, origin.kind, origin.who)
        return self.areas(camera)

    def spent(self) -> Mapping[str, Spent]:
        """See CameraDesk.spent."""
        names = [camera.name for camera in self._agent.config.camera]
        counters = {name: runner.counters for name in names if (runner := self._agent.cameras.runner(name))}
        return {name: counted.durations for name, counted in counters.items()}

    def _labels(self, camera: str) -> list[str]:
        """What its filter may name: classes and groups of the model, or of the one before while a camera starts anew."""
        key = (camera, self._camera(camera).bundle)
        runner = self._agent.cameras.runner(camera)
        if runner and runner.bundle:
            manifest = runner.bundle.manifest
            groups = (group for group in manifest.label_groups if group)
            self._known_labels[key] = list(dict.fromkeys((*manifest.label_names, *groups)))
        return self._known_labels.get(key, [])

    def _camera(self, name: str) -> Camera:
        cameras = {camera.name: camera for camera in self._agent.config.camera}
        if name not in cameras:
            raise no_camera(name, ", ".join(cameras) or "none")
        return cameras[name]

    def _runner(self, name: str) -> CameraRunner:
        self._camera(name)
        runner = self._agent.cameras.runner(name)
        if runner is None or runner.bundle is None:
            found = runner.finding() if runner else None
            raise NoAnswer(
                "no model runs at this camera", evidence={"camera": name, "reason": found.code if found else "unknown"},
                fix="install a bundle for it first; its health says what it waits for",
            )  # fmt: skip
        return runner

    def _predicted(self, runner: CameraRunner, picture: bytes, min_score: float | None) -> dict[str, Any]:
        frame = strange_frame(picture, self._agent.clock)

        def look(model: Loaded) -> tuple[Result, Author]:
            own = model.steps.rule
            rule = FilterRule(own.min_score if min_score is None else min_score, own.nms_iou)
            return model.steps.run(frame, rule=rule), model.author

        result, author = runner.errands.ask(look, PREDICT_S)
        parts = outcome_parts(result.outcome)
        bodies = [body_of(result, part, author, 0, frame.frame_time, rle=RLE) for part in parts]
        drawn = annotate(frame, result.outcome, author.labels, longest=LONGEST)
        return {
            "schema": "camagent.prediction/1",
            "camera": runner.camera.name,
            "results": [msgspec.to_builtins(body) for body in bodies],
            "counts": asdict(result.counts),
            "picture": base64.b64encode(to_jpeg(drawn)).decode("ascii"),
        }

    def _write(self, camera: str, change: Change) -> None:
        """Judged before a byte is written; the old file is put back where the agent does not follow."""
        agent, path = self._agent, self._agent.loaded.path
        assert path is not None
        fresh = overlay.dump(overlay.with_change(load(path).overlay, camera, change))
        wanted = load(path, fresh)
        check(wanted.config)
        agent.check_also(wanted.config)
        place = agent.config.agent.state_dir / OVERLAY_NAME
        with disk.refusing(place.parent, len(fresh)):
            old = overlay_file.read(place)
            overlay_file.write(place, fresh)
        if self._followed(wanted.digest):
            return
        with disk.refusing(place.parent):
            overlay_file.write(place, old)
        agent.request_reload()
        raise ConfigError(
            "the agent does not follow the changed configuration; the old one is back",
            evidence={"wanted": wanted.digest[:12], "in force": agent.loaded.digest[:12]},
            fix="see config.error in the agent's health, mend camagent.toml, and save again",
        )

    def _followed(self, digest: str) -> bool:
        """Whether the agent has this configuration in force within its time."""
        self._agent.request_reload()
        until = self._agent.clock.monotonic() + FOLLOW_S
        while self._agent.loaded.digest != digest and self._agent.clock.monotonic() < until:
            time.sleep(0.05)
        return self._agent.loaded.digest == digest

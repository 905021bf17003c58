"""What is under test: the right contract and the deployed one, golden pictures, a camera and what it shows.

A rig is a value. `case` makes of it what the self-test sees, which is no more than an agent sees. What should be seen is known
to the referee (referee.py) alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import msgspec
import numpy as np

from camagent import golden
from camagent.backends import BackendOptions
from camagent.config import Camera
from camagent.errors import CodedError
from camagent.filters import FilterRule, rule_for
from camagent.frame import Frame
from camagent.inputs import picture_frame
from camagent.pipeline import UsableBundle
from camagent.selftest.case import Case
from camagent.selftest.sample import LiveSample
from camagent.steps import Steps
from firmware_pkg.manifest import Artifact, Expectation, Golden, Manifest
from tests.lab import analytic, frames
from tests.lab.scene import Scene
from tests.lab.spec import ModelSpec, dump

Seen = tuple[Expectation, ...]
NO_THINGS = ("background", "nothing")  # labels of what is there where nothing is
_MODEL = "model.bin"


@dataclass(frozen=True, slots=True, eq=False)
class Deployment:
    """A manifest (without its golden part) and the model that it describes, or should."""

    manifest: Manifest
    spec: ModelSpec
    raw: bytes | None = None  # the file as it is, where it is not what `spec` would be

    @property
    def data(self) -> bytes:
        return dump(self.spec) if self.raw is None else self.raw

    def with_input(self, **changes: Any) -> Deployment:
        """Another manifest.input."""
        return self.with_manifest(input=msgspec.structs.replace(self.manifest.input, **changes))

    def with_manifest(self, **changes: Any) -> Deployment:
        return replace(self, manifest=msgspec.structs.replace(self.manifest, **changes))

    def with_spec(self, **changes: Any) -> Deployment:
        return replace(self, spec=msgspec.structs.replace(self.spec, **changes))


@dataclass(frozen=True, eq=False)
class Rig:
    """`right` is as it should be; `deployed` is what runs. `held_back`: only the referee ever sees them."""

    seed: int
    name: str  # of the model's family, for tables
    right: Deployment
    deployed: Deployment
    scenes: tuple[Scene, ...]
    held_back: tuple[Scene, ...]
    live: tuple[Scene, ...] = ()  # what there is to see before the camera
    shown: tuple[frames.Planes, ...] | None = None  # what arrives; None: what there is
    facts: Mapping[str, Any] = field(default_factory=dict)  # what the source says of itself, where it is not the usual
    right_camera: Camera | None = None
    camera: Camera | None = None
    made_by: Literal["right", "deployed"] = "right"  # who computed the golden answers: the contract that was right, or this one
    reference: bool = True  # golden tensors are in the bundle
    declared: bool = True  # a person said what is on the golden pictures
    options: BackendOptions = field(default_factory=BackendOptions)
    displaced: bool = False  # things are elsewhere on what is shown than in what there is to see
    cure: Deployment | None = None  # what would work with the deployed model, where it is not the right manifest
    also: tuple[str, ...] = ()  # other true names of what is wrong: from outside it is the same thing
    rivals: Mapping[str, Deployment] = field(default_factory=dict)  # .. true names where this brings everything back, too

    def case(self) -> Case:
        """What the self-test gets."""
        bundle = self.bundle()
        return Case(bundle, self.options, self.camera, self.sample() if self.camera is not None else None)

    def bundle(self) -> UsableBundle:
        """The deployed bundle with its golden pictures, answered by whom `made_by` says."""
        answered = self.right if self.made_by == "right" else self.deployed
        entries, files = golden_part(answered, self.truth_of_scenes, self.scenes, self)
        return _bundle(self.deployed, entries, files)

    def sample(self) -> LiveSample | None:
        """The frames as they arrive, private areas filled."""
        if self.camera is None or not (self.live or self.shown is not None):
            return None
        rng = _generator(self.seed, 77)
        shown = self.shown if self.shown is not None else tuple(frames.decoded(scene.pixels) for scene in self.live)
        return frames.sample(rng, shown, self.camera.mask, **self.facts)

    @cached_property
    def truth_of_scenes(self) -> list[Seen]:
        return look(self.right, None, [scene_frame(scene) for scene in self.scenes])

    @cached_property
    def truth_of_live(self) -> list[Seen]:
        """What should be reported of every live scene."""
        return look(self.right, self.right_camera, self._undisturbed())

    def _undisturbed(self) -> list[Frame]:
        masks = self.right_camera.mask if self.right_camera else ()
        return [frames.frame_of(frames.masked(frames.decoded(scene.pixels), masks), 0.0) for scene in self.live]


def golden_part(
    answered: Deployment, truth: Sequence[Seen], scenes: Sequence[Scene], rig: Rig
) -> tuple[tuple[Golden, ...], dict[str, bytes]]:
    """The manifest's golden entries and their files, as `bundle create` would have made them with this contract."""
    entries, files = [], {}
    steps = open_steps(answered, None, BackendOptions())
    try:
        for scene, seen in zip(scenes, truth, strict=True):
            image, tensors = f"golden/{scene.file}", f"golden/{scene.name}.npz"
            found = golden.answer(steps, picture_frame(scene.data, image))
            files[image] = scene.data
            if rig.reference:
                files[tensors] = found.reference
            declared = said(answered, seen) if rig.declared else {}
            entries.append(
                Golden(image=image, declared=declared, expect=found.expect[:1000], reference=tensors if rig.reference else None)
            )
    finally:
        steps.close()
    return tuple(entries), files


def settled(rig: Rig) -> Rig:
    """Golden answers by the wrong contract are only possible where `bundle create` could have run it."""
    if rig.made_by == "right":
        return rig
    try:
        open_steps(rig.deployed, None, rig.options).close()
    except CodedError:
        return replace(rig, made_by="right")
    return replace(rig, made_by="right") if rig.deployed.spec.trouble else rig


def said(deployment: Deployment, seen: Seen) -> dict[str, int]:
    """What a person would say is on a picture: the things, not the ground; of a classification the first."""
    labels = [item.label for item in seen]
    if deployment.manifest.task == "classify":
        labels = labels[:1]
    return dict(Counter(label for label in labels if label not in NO_THINGS))


def scene_frame(scene: Scene) -> Frame:
    return picture_frame(scene.data, scene.file)


def open_steps(deployment: Deployment, camera: Camera | None, options: BackendOptions) -> Steps:
    """Raises CodedError where the model does not open."""
    analytic.install()
    manifest = deployment.manifest
    limits = manifest.thresholds
    rule = rule_for(camera, manifest.label_names, manifest.label_groups, limits.min_score, limits.nms_iou)
    return Steps(_bundle(deployment, (), {}), rule if camera else FilterRule(limits.min_score, limits.nms_iou), options)


def look(
    deployment: Deployment, camera: Camera | None, pictures: Sequence[Frame], options: BackendOptions | None = None
) -> list[Seen]:
    """What this deployment reports of every picture. Raises CodedError."""
    if not pictures:
        return []
    steps = open_steps(deployment, camera, options or BackendOptions())
    try:
        labels, least = steps.manifest.label_names, steps.rule.min_score
        return [tuple(golden.expectations(steps.run(frame).outcome, labels, least, frame)) for frame in pictures]
    finally:
        steps.close()


def bare(manifest: Manifest) -> Manifest:
    """Without its golden part, which the bundle's maker adds."""
    return msgspec.structs.replace(manifest, golden=())


def _bundle(deployment: Deployment, entries: tuple[Golden, ...], files: Mapping[str, bytes]) -> UsableBundle:
    data = deployment.data
    artifact = Artifact(path=_MODEL, backend=analytic.NAME)
    sizes = {_MODEL: len(data)} | {name: len(content) for name, content in files.items()}
    manifest = msgspec.structs.replace(deployment.manifest, artifacts=(artifact,), golden=entries, files=sizes)
    return UsableBundle(manifest, artifact, data, "unsigned", golden=dict(files))


def _generator(*seeds: int) -> Any:
    return np.random.default_rng(seeds)

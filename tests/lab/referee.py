"""The referee: what should be seen, whether it still is, and whether a proposed change brings it back.

He judges by outcome only, knows everything, and tells the self-test nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from camagent import golden
from camagent.backends import BackendOptions
from camagent.config import Camera
from camagent.errors import CodedError
from camagent.frame import Frame
from camagent.selftest.report import Change
from tests.lab.rig import NO_THINGS, Deployment, Rig, Seen, bare, look, scene_frame

ENOUGH = 0.8  # of what should be seen
CROWD = 3  # times as many detections as there should be are none: the picture is full of boxes
LITTLE = 0.25  # of the live detections: with less left, a user says that nothing is detected


def harmless(rig: Rig) -> bool:
    """Golden pictures are still answered as they should be, and live frames give detections, be some of them wrong."""
    return golden_stands(rig, rig.deployed) and not silent(rig)


def golden_stands(rig: Rig, deployed: Deployment) -> bool:
    """Whether the bundle's own pictures are answered as they should be."""
    return stands(rig.truth_of_scenes, deployed, None, [scene_frame(scene) for scene in rig.scenes], rig.options)


def silent(rig: Rig) -> bool:
    """Whether the camera reports next to nothing of what there is to report. Without live frames, of the golden pictures."""
    if rig.camera is None:
        return False
    wanted, frames = _before_the_camera(rig, rig.camera)
    due = sum(len(things(seen)) for seen in wanted)
    if not due:
        return False
    try:
        found = look(rig.deployed, rig.camera, frames, rig.options)
    except DEFECTS:
        return True
    got = [len(things(seen)) for seen in found]
    if len(found) != len(wanted):
        return True
    return sum(min(count, len(things(seen))) for count, seen in zip(got, wanted, strict=True)) < LITTLE * due


def curable(rig: Rig) -> bool:
    """Whether another manifest, or other settings of the camera, bring everything back, with the model and the stream as
    they are."""
    return returns(rig, rig.cure or replace(rig.deployed, manifest=rig.right.manifest), rig.right_camera)


def true_names(rig: Rig) -> tuple[str, ...]:
    """Other names of what is wrong: those told as such, and those whose own remedy is a remedy."""
    return (*rig.also, *(name for name, cure in rig.rivals.items() if name not in rig.also and returns(rig, cure, rig.camera)))


def verified(rig: Rig, change: Change) -> bool:
    """Applies a proposed change and demands golden pictures, pictures that nobody has seen, and live frames back."""
    deployed = rig.deployed if change.manifest is None else replace(rig.deployed, manifest=bare(change.manifest))
    try:
        camera = rig.camera if rig.camera is None else changed(rig.camera, change.config)
    except (msgspec.ValidationError, KeyError, IndexError, ValueError):  # no such key: it brings nothing back
        return False
    return returns(rig, deployed, camera)


def returns(rig: Rig, deployed: Deployment, camera: Camera | None) -> bool:
    """Whether everything is seen again with this contract and these settings: pictures known, held back, and live."""
    pictures = [*rig.scenes, *rig.held_back]
    shown = [scene_frame(scene) for scene in pictures]
    if not stands(look(rig.right, None, shown), deployed, None, shown, rig.options):
        return False
    if camera is None:
        return True
    wanted, frames = _before_the_camera(rig, camera)
    return len(wanted) == len(frames) and stands(wanted, deployed, camera, frames, rig.options, displaced=rig.displaced)


def stands(
    truth: Sequence[Seen], deployment: Deployment, camera: Camera | None, pictures: Sequence[Frame],
    options: BackendOptions | None = None, *, displaced: bool = False,
) -> bool:  # fmt: skip
    """Whether all of it is still seen. False where the model does not run at all."""
    try:
        found = look(deployment, camera, pictures, options)
    except DEFECTS:
        return False
    held = counted if displaced else agrees
    kept = [held(one, other) for one, other in zip(truth, found, strict=True)]
    return sum(kept) >= ENOUGH * len(kept)


def agrees(truth: Seen, found: Seen) -> bool:
    """Whether what should be seen is seen, and not in a crowd of things that are not there."""
    return golden.recall(truth, found, 0.5) >= ENOUGH and _no_crowd(truth, found)


def counted(truth: Seen, found: Seen) -> bool:
    """As `agrees`, wherever the things are."""
    wanted, seen = (Counter(item.label for item in things(listed)) for listed in (truth, found))
    return (wanted & seen).total() >= ENOUGH * wanted.total() and _no_crowd(truth, found)


def things(seen: Seen) -> Seen:
    """Without the ground of a class map and a classifier's "nothing"."""
    return tuple(item for item in seen if item.label not in NO_THINGS)


def changed(camera: Camera, keys: Mapping[str, Any]) -> Camera:
    """The camera with dotted keys, relative to it, replaced; `*` stands for every entry of a list.

    Raises msgspec.ValidationError, KeyError, IndexError or ValueError for keys or values that no camera has.
    """
    document = msgspec.json.decode(msgspec.json.encode(camera))
    for key, value in keys.items():
        *path, last = key.replace("[", ".").replace("]", "").removeprefix("camera.").split(".")
        places: list[Any] = [document]
        for part in path:
            places = [inner for place in places for inner in _inner(place, part)]
        for place in places:
            place[int(last) if isinstance(place, list) else last] = msgspec.to_builtins(value)
    return msgspec.convert(document, Camera)


# whatever a defective deployment does
DEFECTS = (CodedError, ArithmeticError, ValueError, IndexError, TypeError)


def _before_the_camera(rig: Rig, camera: Camera) -> tuple[Sequence[Seen], Sequence[Frame]]:
    """What should be reported, and the frames: live ones, or the golden pictures where there are none."""
    if not rig.live:
        frames = [scene_frame(scene) for scene in rig.scenes]
        return look(rig.right, rig.right_camera, frames), frames
    sample = replace(rig, camera=camera).sample()
    return rig.truth_of_live, sample.frames if sample else ()


def _inner(place: Any, part: str) -> list[Any]:
    if isinstance(place, list):
        return place if part == "*" else [place[int(part)]]
    return [place[part]]


def _no_crowd(truth: Seen, found: Seen) -> bool:
    return len(found) <= CROWD * len(truth) + CROWD

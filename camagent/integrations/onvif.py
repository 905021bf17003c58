"""ONVIF Profile M: what a frame shows, as a metadata frame in JSON over MQTT. Pure but for what was told last.

    <TopicPrefix>/onvif-mj/VideoAnalytics/<profile token>/<analytics module>

The prefix is the agent's, the profile token the camera, the module the bundle. Form, coordinates and class names are those of
ONVIF's Analytics Service Specification ("Scene Description", "JSON over MQTT") and its metadatastream.xsd: attributes begin
with `@`, an element's text beside attributes is `#text`, what may be there several times is a list.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from types import MappingProxyType
from typing import Any, Final

import msgspec

from camagent.errors import printable
from camagent.frame import Detections, Frame, Tracks

PULSE_S: Final = 10.0  # an empty scene is told this often: whoever listens knows that somebody looks
_DIGITS = 5  # of coordinates: a fiftieth of a pixel of a picture 4000 wide

_ANIMALS = ("animal", "bird", "cat", "dog", "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe")
# a model's word -> tt:ObjectType, and tt:VehicleType behind it; any other word stands for itself, as the specification allows
TYPES: Mapping[str, tuple[str, ...]] = MappingProxyType({
    **dict.fromkeys(("person", "human", "people", "pedestrian", "man", "woman", "child", "rider"), ("Human",)),
    **dict.fromkeys(("face", "human face", "head"), ("HumanFace",)),
    "vehicle": ("Vehicle",), "van": ("Vehicle",), "car": ("Vehicle", "Car"), "truck": ("Vehicle", "Truck"),
    "bus": ("Vehicle", "Bus"), "motorcycle": ("Vehicle", "Motorcycle"), "motorbike": ("Vehicle", "Motorcycle"),
    **dict.fromkeys(("bicycle", "bike"), ("Bicycle",)),
    **dict.fromkeys(("license plate", "licence plate", "number plate", "plate"), ("LicensePlate",)),
    **dict.fromkeys(("barcode", "qr code"), ("Barcode",)),
    "fire": ("Fire",), "smoke": ("Smoke",),
    "animal": ("Animal",), **{name: ("Animal", name) for name in _ANIMALS[1:]},
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Metadata:
    """One metadata frame, ready to be sent: live, at QoS 0."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Module:
    """Who has looked."""

    name: str  # the bundle
    labels: Sequence[str]  # by class id


class Scenes:
    """One camera's scene description: every frame with objects, one without after them, and a pulse. Not for two threads."""

    def __init__(self, root: str, camera: str, monotonic: Callable[[], float]) -> None:
        """`root`: of the agent's topics."""
        self._root, self._camera, self._monotonic = root, camera, monotonic
        self._ids = count(1)
        self._module = ""  # that was told of last
        self._empty = True  # as told last
        self._told_at = float("-inf")

    def see(self, frame: Frame, found: Detections, module: Module, tracks: Tracks | None = None) -> Metadata | None:
        """The metadata frame of this picture; None where it says nothing new.

        With `tracks`, objects are those that are certain, under their track's id. Without, no two frames claim to show the
        same object: every one has a number of its own.
        """
        now = self._monotonic()
        objects = self._untracked(frame, found, module) if tracks is None else _tracked(frame, tracks, module)
        ended = () if tracks is None else tracks.ended
        if not (objects or ended or not self._empty or now - self._told_at >= PULSE_S):
            return None
        self._module, self._empty, self._told_at = module.name, not objects, now
        return self._frame(frame.frame_time, objects, ended)

    def end(self, at: float, ended: Sequence[int] = ()) -> Metadata | None:
        """Nobody looks any more, as of this moment (seconds since 1970): a last frame without objects, where that is news."""
        if not self._module or (self._empty and not ended):
            return None
        self._empty = True
        return self._frame(at, [], ended)

    def _frame(self, at: float, objects: list[dict[str, Any]], ended: Sequence[int]) -> Metadata:
        made: dict[str, Any] = {"@UtcTime": utc_time(at), "@Source": self._module}
        if objects:
            made["Object"] = objects
        if ended:
            made["ObjectTree"] = {"Delete": [{"@ObjectId": number} for number in ended]}
        return Metadata(topic(self._root, self._camera, self._module), msgspec.json.encode({"Frame": [made]}))

    def _untracked(self, frame: Frame, found: Detections, module: Module) -> list[dict[str, Any]]:
        rows = zip(found.boxes.tolist(), found.scores.tolist(), found.class_ids.tolist(), strict=True)
        return [_object(next(self._ids), frame, box, score, module.labels[class_id]) for box, score, class_id in rows]


def topic(root: str, camera: str, module: str) -> str:
    """Where metadata frames of this camera and model go. The characters that ONVIF drops from topics are dropped."""
    return "/".join((root, "onvif-mj", "VideoAnalytics", _level(camera), _level(module)))


def utc_time(seconds: float) -> str:
    """Seconds since 1970 as xs:dateTime in UTC, to the millisecond that `frame_time` has in our own messages."""
    return dt.datetime.fromtimestamp(round(seconds, 3), dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def class_types(label: str) -> tuple[str, ...]:
    """What ONVIF calls a thing that a model calls so, the best defined name first."""
    return TYPES.get(re.sub(r"[\s_-]+", " ", label.strip().lower()), (printable(label, 64),))


def _tracked(frame: Frame, tracks: Tracks, module: Module) -> list[dict[str, Any]]:
    return [_object(one.id, frame, one.box, one.score, module.labels[one.class_id]) for one in tracks.found]


def _object(number: int, frame: Frame, box: Sequence[float], score: float, label: str) -> dict[str, Any]:
    """A box x1 y1 x2 y2 in pixels, y down -> left, top, right, bottom in -1..1 of the picture, y up."""
    left, right = (round(2.0 * x / frame.width - 1.0, _DIGITS) for x in (box[0], box[2]))
    top, bottom = (round(1.0 - 2.0 * y / frame.height, _DIGITS) for y in (box[1], box[3]))
    middle = {"@x": round((left + right) / 2, _DIGITS), "@y": round((top + bottom) / 2, _DIGITS)}
    likelihood = round(score, 4)
    return {
        "@ObjectId": number,
        "Appearance": {
            "Shape": {
                "BoundingBox": {"@left": left, "@top": top, "@right": right, "@bottom": bottom},
                "CenterOfGravity": middle,
            },
            "Class": {"Type": [{"@Likelihood": likelihood, "#text": name} for name in class_types(label)]},
        },
    }


def _level(text: str) -> str:
    return re.sub(r"[#+/\x00-\x1f\x7f]", "", text)

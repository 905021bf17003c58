"""Values -> topic and JSON body. Pure: the same values give the same bytes, and nothing here knows a broker."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from msgspec import UNSET

from camagent.bodies import (
    Body,
    ClassArea,
    ClassificationBody,
    CountBody,
    Detection,
    DetectionsBody,
    EventBody,
    EventObject,
    FrameSize,
    LatencyMs,
    ModelRef,
    Rle,
    SegmentationBody,
    TopClass,
    encode,
)
from camagent.boxes import Box
from camagent.frame import Classes, ClassMap, Detections, Frame, InstanceMask, Part, Result

TOP_K = 5


class RunLengths(NamedTuple):
    """A mask as COCO run lengths."""

    size: tuple[int, int]  # height, width
    counts: str


@dataclass(frozen=True, slots=True)
class RleEncoders:
    """How masks become run lengths in source size."""

    area: Callable[[ClassMap, int], RunLengths]  # one class of a map
    object: Callable[[InstanceMask, int, int], RunLengths]  # one object's mask in a picture of this height and width


@dataclass(frozen=True, slots=True)
class Message:
    """A finished message. `lane` says what may overtake it and when it is dropped; None is live only, never stored."""

    topic: str
    payload: bytes
    qos: int
    retain: bool = False
    lane: Literal["events", "detections"] | None = None
    camera: str = ""  # whose counters it belongs to
    expires_at: float | None = None  # monotonic seconds; a broker that speaks MQTT 5 keeps it no longer


@dataclass(frozen=True, slots=True)
class Topics:
    """The topic tree of one agent."""

    prefix: str
    agent: str

    @property
    def root(self) -> str:
        """`<prefix>/<agent id>`."""
        return f"{self.prefix}/{self.agent}"

    def of_agent(self, *words: str) -> str:
        """A topic below the agent."""
        return "/".join((self.root, *words))

    def of_group(self, group: str, *words: str) -> str:
        """A topic of all agents that have this group in their configuration; no agent is called `group`."""
        return "/".join((self.prefix, "group", group, *words))

    def of_camera(self, camera: str, *words: str) -> str:
        """A topic below one of its cameras."""
        return "/".join((self.root, camera, *words))

    def family(self, topic: str) -> str:
        """What an access list allows or denies as one: counts are a topic per label and zone, and no list tells them apart."""
        parts = topic.removeprefix(self.root + "/").split("/")
        return self.of_camera(*parts[:2]) if len(parts) > 2 and parts[1] in ("count", "zone") else topic


def slug(label: str, class_id: int) -> str:
    """A label as one topic level of `[a-z0-9_-]`; `class_<id>` where nothing of it is left."""
    made = re.sub(r"[^a-z0-9_-]+", "_", label.lower()).strip("_")
    return made or f"class_{class_id}"


def slugs(labels: Sequence[str]) -> list[str]:
    """A topic level for every label of a model; where two come to the same, the later one is `class_<id>`."""
    used: set[str] = set()
    made = []
    for index, label in enumerate(labels):
        name = slug(label, index)
        if name in used:
            name = f"class_{index}"
        while name in used:  # somebody has called a class so
            name += "_"
        used.add(name)
        made.append(name)
    return made


@dataclass(frozen=True, slots=True)
class Author:
    """Whose words these are: agent, camera and the model's labels."""

    agent: str
    camera: str
    run: int
    model: ModelRef
    labels: Sequence[str]
    groups: Sequence[str | None]


def detections_body(
    result: Result, found: Detections, author: Author, seq: int, now: float, *, rle: RleEncoders
) -> DetectionsBody:
    """One inferred frame with its objects, best first; also without any."""
    frame = result.frame
    return DetectionsBody(
        schema="camagent.detections/1",
        time=now,
        agent=author.agent,
        camera=author.camera,
        run=author.run,
        seq=seq,
        frame_time=round(frame.frame_time, 3),
        time_source=frame.time_source,
        pts=None if frame.pts is None else round(frame.pts, 6),
        frame=FrameSize(frame.width, frame.height),
        model=author.model,
        detections=tuple(_detection(found, index, frame, author, rle) for index in range(len(found))),
        latency_ms=LatencyMs(**{step: round(getattr(result.latency, step), 2) for step in LatencyMs.__struct_fields__}),
    )


def segmentation_body(result: Result, found: ClassMap, author: Author, now: float, rle: RleEncoders) -> SegmentationBody:
    """The classes present in one frame, largest share first, their pixels in source size."""
    frame = result.frame
    shares = found.shares(len(author.labels))
    present = sorted((int(i) for i in shares.nonzero()[0]), key=lambda i: -shares[i])
    return SegmentationBody(
        schema="camagent.segmentation/1",
        time=now,
        agent=author.agent,
        camera=author.camera,
        frame_time=round(frame.frame_time, 3),
        frame=FrameSize(frame.width, frame.height),
        model=author.model,
        classes=tuple(
            ClassArea(label=author.labels[i], class_id=i, share=round(float(shares[i]), 5), rle=Rle(*rle.area(found, i)))
            for i in present
        ),
    )


def classification_body(result: Result, found: Classes, author: Author, now: float) -> ClassificationBody:
    """The best classes of one frame, best first."""
    return ClassificationBody(
        schema="camagent.classification/1",
        time=now,
        agent=author.agent,
        camera=author.camera,
        frame_time=round(result.frame.frame_time, 3),
        model=author.model,
        top=tuple(
            TopClass(label=author.labels[i], class_id=i, score=round(score, 4), group=author.groups[i] or UNSET)
            for i, score in found.top(TOP_K)
        ),
    )


def body_of(result: Result, part: Part, author: Author, seq: int, now: float, *, rle: RleEncoders) -> Body:
    """The body that belongs to this part of the result's outcome. `seq` numbers detections."""
    match part:
        case Detections() as found:
            return detections_body(result, found, author, seq, now, rle=rle)
        case ClassMap() as found:
            return segmentation_body(result, found, author, now, rle)
        case Classes() as found:
            return classification_body(result, found, author, now)


def message_of(body: Body, topics: Topics, camera: str, qos: int) -> Message:
    """A result's body on its topic. Detections at QoS >= 1 and classifications are kept by the outbox; a map is live only."""
    match body:
        case DetectionsBody():
            return Message(
                topics.of_camera(camera, "detections"), encode(body), qos, lane="detections" if qos else None, camera=camera
            )
        case ClassificationBody():
            return Message(topics.of_camera(camera, "classification"), encode(body), 1, lane="events", camera=camera)
        case _:
            return Message(topics.of_camera(camera, "segmentation"), encode(body), 0, camera=camera)


def event_message(
    kind: Literal["new", "update", "end"], before: EventObject, after: EventObject, *, topics: Topics, camera: str, now: float
) -> Message:
    """One object appears, changes or is gone; the outbox keeps it."""
    body = EventBody(
        schema="camagent.events/1", time=now, agent=topics.agent, camera=camera, type=kind, before=before, after=after
    )
    return Message(topics.of_camera(camera, "events"), encode(body), 1, lane="events", camera=camera)


def count_message(
    words: Sequence[str], label: str, zone: str | None, count: int, *, topics: Topics, camera: str, now: float
) -> Message:
    """How many objects of a label are there, in the picture or in a zone; kept by the broker."""
    body = CountBody(
        schema="camagent.count/1", time=now, agent=topics.agent, camera=camera, label=label, count=count,
        zone=UNSET if zone is None else zone,
    )  # fmt: skip
    return Message(topics.of_camera(camera, *words), encode(body), 1, retain=True)


def _detection(found: Detections, index: int, frame: Frame, author: Author, rle: RleEncoders) -> Detection:
    class_id = int(found.class_ids[index])
    x1, y1, x2, y2 = (float(value) for value in found.boxes[index])
    track_id = found.track_ids[index] if found.track_ids else None
    norm: Box = (x1 / frame.width, y1 / frame.height, x2 / frame.width, y2 / frame.height)
    return Detection(
        label=author.labels[class_id],
        class_id=class_id,
        score=round(float(found.scores[index]), 4),
        box=(round(x1, 2), round(y1, 2), round(x2, 2), round(y2, 2)),
        box_norm=(round(norm[0], 5), round(norm[1], 5), round(norm[2], 5), round(norm[3], 5)),
        track_id=UNSET if track_id is None else track_id,
        zones=found.zones[index] if found.zones else UNSET,
        mask=Rle(*rle.object(found.masks[index], frame.height, frame.width)) if found.masks else UNSET,
    )

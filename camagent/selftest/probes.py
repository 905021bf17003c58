"""The messages that a self-test publishes to see them arrive: valid bodies of their topics, marked as probes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from msgspec import UNSET

from camagent.bodies import (
    Body,
    ClassificationBody,
    Detection,
    DetectionsBody,
    FrameSize,
    LatencyMs,
    ModelRef,
    Rle,
    SegmentationBody,
    encode,
)
from camagent.config import Camera
from camagent.pipeline import UsableBundle
from camagent.probing import Message, Topics, message_of
from camagent.selftest.sample import LiveSample

TYPICAL_OBJECTS = 10
TYPICAL_MASK = 800  # characters: two or three per column of an object that is 300 pixels wide


@dataclass(frozen=True, slots=True)
class Voice:
    """In whose name the probes are published."""

    topics: Topics
    qos: int  # mqtt.qos
    wall: Callable[[], float]
    run: int
    next_seq: Callable[[], int]
    note_seq: Callable[[str, int, int], None]


def result_probe(voice: Voice, camera: Camera, bundle: UsableBundle | None, live: LiveSample) -> Message:
    """An empty result of this camera on the topic that its model's results go to, with a number of its own."""
    body = _body(voice, camera, bundle, live, ())
    made = message_of(body, voice.topics, camera.name, voice.qos)
    # at QoS 1 whatever mqtt.qos says: only then the broker has to answer. Nobody's counters hear of it
    return Message(made.topic, made.payload, 1, lane=made.lane)


def typical_bytes(voice: Voice, camera: Camera, bundle: UsableBundle | None, live: LiveSample) -> int:
    """About what a detections message with ten objects has, topic included."""
    label = max((bundle.manifest.label_names if bundle else ("person",)), key=len)
    box = (1234.56, 1234.56, 1834.56, 1834.56)
    mask = Rle((1080, 1920), "0" * TYPICAL_MASK) if bundle and _gives_masks(bundle) else UNSET
    norm = (0.64301, 0.64301, 0.95550, 0.95550)
    item = Detection(label=label, class_id=10, score=0.9876, box=box, box_norm=norm, mask=mask)
    body = _body(voice, camera, bundle, live, (item,) * TYPICAL_OBJECTS, count=False)
    return len(encode(body)) + len(voice.topics.of_camera(camera.name, "detections"))


def _gives_masks(bundle: UsableBundle) -> bool:
    """Whether objects were seen with masks of their own when the bundle was made."""
    return any(item.box_norm and item.share is not None for golden in bundle.manifest.golden for item in golden.expect)


def _body(
    voice: Voice, camera: Camera, bundle: UsableBundle | None, live: LiveSample, found: tuple[Detection, ...], *,
    count: bool = True,
) -> Body:  # fmt: skip
    now, size = voice.wall(), live.frames[-1] if live.frames else None
    manifest = bundle.manifest if bundle else None
    model = ModelRef(name=manifest.name if manifest else camera.bundle, version=manifest.version if manifest else "0")
    frame = FrameSize(size.width if size else 0, size.height if size else 0)
    agent, name, task = voice.topics.agent, camera.name, manifest.task if manifest else "detect"
    if task.startswith("segment") or (manifest and manifest.head.name == "semantic"):
        return SegmentationBody(
            schema="camagent.segmentation/1", time=now, agent=agent, camera=name, frame_time=now, frame=frame, model=model,
            classes=(), probe=True,
        )  # fmt: skip
    if task.startswith("classif"):
        return ClassificationBody(
            schema="camagent.classification/1", time=now, agent=agent, camera=name, frame_time=now, model=model, top=(),
            probe=True,
        )  # fmt: skip
    seq = voice.next_seq() if count else 0
    if count:
        voice.note_seq(name, voice.run, seq)
    return DetectionsBody(
        schema="camagent.detections/1", time=now, agent=agent, camera=name, run=voice.run, seq=seq, frame_time=now,
        time_source="arrival", pts=None, frame=frame, model=model, detections=found,
        latency_ms=LatencyMs(decode=0.0, preprocess=0.0, infer=0.0, postprocess=0.0, total=0.0), probe=True,
    )  # fmt: skip

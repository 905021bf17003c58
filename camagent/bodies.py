"""The JSON bodies that go out over MQTT. These structs are the contract, and their JSON Schemas are published in docs/."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from camagent.boxes import Box
from camagent.commands import CommandAnswer
from firmware_pkg.manifest import Task


class Body(msgspec.Struct, frozen=True, kw_only=True):
    """Every JSON body says what it is and when it was made."""

    schema: str
    time: float  # seconds since 1970, UTC
    agent: str


class FrameSize(msgspec.Struct, frozen=True):
    """Pixels of the source picture."""

    width: int
    height: int


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which bundle gave this answer."""

    name: str
    version: str


class LatencyMs(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds per step of this frame's way."""

    decode: float
    preprocess: float
    infer: float
    postprocess: float
    total: float


class Rle(msgspec.Struct, frozen=True):
    """COCO run-length encoding: `size` is [height, width], `counts` the compressed string of pycocotools."""

    size: tuple[int, int]
    counts: str


class Detection(msgspec.Struct, frozen=True, kw_only=True):
    """One object: `box` is [x1, y1, x2, y2] in pixels of the source picture, `box_norm` the same in 0..1."""

    label: str
    class_id: int
    score: float
    box: Box
    box_norm: Box
    track_id: int | UnsetType = UNSET
    zones: tuple[str, ...] | UnsetType = UNSET
    mask: Rle | UnsetType = UNSET


class DetectionsBody(Body, frozen=True, kw_only=True):
    """`<camera>/detections`: one inferred frame. (run, seq) is never used twice."""

    camera: str
    run: int
    seq: int
    frame_time: float
    time_source: Literal["rtcp", "arrival"]
    pts: float | None
    frame: FrameSize
    model: ModelRef
    detections: tuple[Detection, ...]
    latency_ms: LatencyMs
    probe: bool | UnsetType = UNSET
    input: str | UnsetType = UNSET  # `infer` only: the file


class ClassArea(msgspec.Struct, frozen=True, kw_only=True):
    """One class of a semantic map: its share of the picture's area and its pixels."""

    label: str
    class_id: int
    share: float
    rle: Rle


class SegmentationBody(Body, frozen=True, kw_only=True):
    """`<camera>/segmentation`: the classes that are present in one frame."""

    camera: str
    frame_time: float
    frame: FrameSize
    model: ModelRef
    classes: tuple[ClassArea, ...]
    probe: bool | UnsetType = UNSET
    input: str | UnsetType = UNSET


class TopClass(msgspec.Struct, frozen=True, kw_only=True):
    """One answer of a classification."""

    label: str
    class_id: int
    score: float
    group: str | UnsetType = UNSET


class ClassificationBody(Body, frozen=True, kw_only=True):
    """`<camera>/classification`: top-k, published when the best class changes."""

    camera: str
    frame_time: float
    model: ModelRef
    top: tuple[TopClass, ...]
    probe: bool | UnsetType = UNSET
    input: str | UnsetType = UNSET


class EventObject(msgspec.Struct, frozen=True, kw_only=True):
    """One object over time, in Frigate's field names, as it was in one frame."""

    id: str  # <seconds since 1970>-<random>, never used twice
    label: str
    score: float  # of this frame
    top_score: float  # best so far
    box: Box
    box_norm: Box
    start_time: float  # of the frame that made it certain
    end_time: float | None  # null while it is there
    frame_time: float  # of the newest frame that shows it
    current_zones: tuple[str, ...]
    entered_zones: tuple[str, ...]  # in the order in which it first entered them
    stationary: bool
    has_snapshot: bool  # a picture of it was published on `<camera>/snapshot`


class EventBody(Body, frozen=True, kw_only=True):
    """`<camera>/events`: an object appears, changes or is gone. `before` is the `after` of the message before."""

    camera: str
    type: Literal["new", "update", "end"]
    before: EventObject
    after: EventObject


class CountBody(Body, frozen=True, kw_only=True):
    """`<camera>/count/<slug>` and `<camera>/zone/<zone>/<slug>`: how many objects of a label are there now."""

    camera: str
    label: str
    count: int
    zone: str | UnsetType = UNSET


class HealthModel(msgspec.Struct, frozen=True, kw_only=True):
    """The model that looks at this camera."""

    name: str
    version: str
    backend: str
    signature: Literal["verified", "unsigned"]
    task: Task  # of a map or of classes no filter takes anything away: their counters of objects stay 0
    warnings: tuple[str, ...] = ()  # versions of runtime, toolkit and driver that may not go together: a sentence each


class HealthPicture(msgspec.Struct, frozen=True, kw_only=True):
    """What the newest pictures are like, without privacy masks and the edges where cameras write; levels of 255."""

    brightness: float | None  # median; null before the first look
    contrast: float | None  # between the darkest and the brightest parts
    unchanged_s: float  # how long it has been the same picture
    masked: float  # share under privacy masks


class HealthTurns(msgspec.Struct, frozen=True, kw_only=True):
    """How this camera fares among those that share its backend."""

    cameras: int  # that share it, this one among them
    at_once: int  # calls that the backend works on at the same time
    asked_fps: float  # inferences per second that it would have had alone; `fps` is what it got
    crowded_out: int  # frames of `dropped` that were replaced while it waited for its turn; only ever grows
    waited_s: float  # seconds that it has waited for its turns; only ever grows


class CameraHealthBody(Body, frozen=True, kw_only=True):
    """`<camera>/health`: where frames and detections are, and why there are none."""

    camera: str
    run: int
    state: Literal["running", "waiting-source", "waiting-bundle", "off", "failed"]
    reason: str | None  # why nothing is seen; null while something is
    detail: str | None  # the reason in words, with its numbers
    counters: dict[str, int]
    score_max: float | None  # best raw score since the last health message
    frame_age: float | None  # seconds since the newest frame arrived
    fps: float  # inferred frames per second since the last health message
    reconnects: int
    rss: int  # bytes, of the whole agent
    model: HealthModel | None
    latency_ms: dict[str, float]  # means since the last health message
    picture: HealthPicture | None = None
    source: dict[str, Any] = {}  # codec, size, key-frame interval, decoder errors: what is known of the stream
    errors: dict[str, int] = {}  # counted and survived, by kind
    turns: HealthTurns | None = None  # null before the first one
    probe: bool | UnsetType = UNSET


class AgentHealthBody(Body, frozen=True, kw_only=True):
    """`health`: the agent itself."""

    version: str
    run: int
    uptime: float
    previous: dict[str, Any] | None  # the run before this one and its last seq per camera, as far as known
    clock: dict[str, Any]
    trust: dict[str, Any]
    trust_expires: float | None  # seconds since 1970; new installs stop then, what runs goes on
    disk: dict[str, Any]
    temperature: float | None  # degrees Celsius of the SoC
    outbox: dict[str, Any]
    mqtt: dict[str, Any]
    allow_unsigned: bool
    config: dict[str, Any]
    web: dict[str, Any] = {}
    watchdog: dict[str, Any] = {}  # why it ended the life before this one, early deaths in a row, calls that hung in the NPU
    npu: dict[str, Any] = {}  # SoC, cores, load, frequency, temperature, driver; empty where there is none, null where not told
    fleet: dict[str, Any] = {}  # servers that bundles come from by themselves: what is being done, what went wrong; empty: none
    errors: dict[str, int] = {}
    probe: bool | UnsetType = UNSET


class BundleRefusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a bundle of this name was turned away last."""

    code: str
    what: str
    fix: str
    version: str
    time: float


class BundleFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One name in the store. `current` is the version that runs; during a trial that is the one on trial."""

    current: str | None
    trial: str | None
    previous: str | None  # the last confirmed one before `current`: what a rollback goes back to
    stored: tuple[str, ...]
    rollback_index: int
    last_refusal: BundleRefusal | None
    progress: dict[str, float] | UnsetType = UNSET  # of the trial: frames and seconds without a failure
    waiting: str | UnsetType = UNSET  # why a camera that wants this bundle runs none


class BundleStateBody(Body, frozen=True, kw_only=True):
    """`bundle/state`: what is installed, on trial and refused, by bundle name; published at every step."""

    bundles: dict[str, BundleFacts]
    activity: dict[str, Any] | None = None  # {"state", "name", "since"} while something is being installed
    command: CommandAnswer | None = None  # the answer to the last `cmd/bundle`


class DetectBody(Body, frozen=True, kw_only=True):
    """`<camera>/detect`: whether this camera looks, since when and on whose word."""

    camera: str
    state: Literal["ON", "OFF"]
    since: float
    by: str


BODIES: Mapping[str, type[Body]] = {
    "camagent.detections/1": DetectionsBody,
    "camagent.segmentation/1": SegmentationBody,
    "camagent.classification/1": ClassificationBody,
    "camagent.events/1": EventBody,
    "camagent.count/1": CountBody,
    "camagent.camera-health/1": CameraHealthBody,
    "camagent.health/1": AgentHealthBody,
    "camagent.detect/1": DetectBody,
    "camagent.bundle-state/1": BundleStateBody,
}
SCHEMA_OF: Mapping[type[Body], str] = {body: name for name, body in BODIES.items()}


def encode(body: Body) -> bytes:
    """A body as JSON bytes, UTF-8, no spaces."""
    return msgspec.json.encode(body)


def schemas() -> dict[str, dict[str, Any]]:
    """JSON Schema per body, keyed by its `schema` value."""
    return {name: schema_of(name, kind) for name, kind in BODIES.items()}


def schema_of(name: str, kind: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema of one JSON object whose `schema` is `name`."""
    (_,), parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    schema = dict(parts.pop(kind.__name__))
    schema["properties"] = {**schema["properties"], "schema": {"const": name}}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": name, **schema, "$defs": parts}

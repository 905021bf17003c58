"""Values that travel from stage to stage. Nothing here does anything but hold, check and map coordinates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

TimeSource: TypeAlias = Literal["rtcp", "arrival"]
FloatArray: TypeAlias = NDArray[np.float32]
IntArray: TypeAlias = NDArray[np.int64]

NO_LABEL = 255  # in a class map: nothing that has a label
_INSIDE = 0.5  # probability above which a pixel belongs to an object


class Picture(Protocol):
    """The decoder's own picture, YUV as it came (an `av.VideoFrame`); a full-size RGB copy is never made of it."""

    @property
    def width(self) -> int:
        """Pixels."""
        ...

    @property
    def height(self) -> int:
        """Pixels."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One decoded picture, privacy masks already filled, and when it was taken."""

    picture: Picture
    pts: float | None  # seconds on the stream's own time line; None where the stream has none
    frame_time: float  # seconds since 1970: when the camera took it, as well as can be known
    time_source: TimeSource
    arrived: float  # monotonic seconds: when its packet had been read
    decode_ms: float

    @property
    def width(self) -> int:
        """Pixels of the source picture."""
        return self.picture.width

    @property
    def height(self) -> int:
        """Pixels of the source picture."""
        return self.picture.height


@dataclass(frozen=True, slots=True)
class Letterbox:
    """How a source picture lies in the network's input: network = source * scale + offset, per axis.

    A stretch has zero offsets, a letterbox non-negative ones (the padding), a crop non-positive ones.
    """

    source_width: int
    source_height: int
    network_width: int
    network_height: int
    scale_x: float  # network pixels per source pixel, exactly as the pixels were scaled
    scale_y: float
    offset_x: float  # network pixels
    offset_y: float

    def to_network(self, boxes: FloatArray) -> NDArray[np.float64]:
        """Boxes (n, 4) x1 y1 x2 y2 in source pixels -> the same in network pixels, not clipped."""
        return boxes.astype(np.float64) * ([self.scale_x, self.scale_y] * 2) + [self.offset_x, self.offset_y] * 2

    def box_in_source(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """A box x1 y1 x2 y2 in network pixels -> the same in source pixels, cut at the picture's edge."""
        x1, y1, x2, y2 = box
        across, down = self.scale_x, self.scale_y
        left, top, right, bottom = self.offset_x, self.offset_y, float(self.source_width), float(self.source_height)
        return (
            min(max((x1 - left) / across, 0.0), right), min(max((y1 - top) / down, 0.0), bottom),
            min(max((x2 - left) / across, 0.0), right), min(max((y2 - top) / down, 0.0), bottom),
        )  # fmt: skip

    def grid_index(self, grid_width: int, grid_height: int) -> tuple[IntArray, IntArray]:
        """For an output map over the whole network input: which (row, column) of it each source row and column falls into.

        Returns (source_height,) row and (source_width,) column indices, so that `map[rows[:, None], columns]` is the
        nearest-neighbour map in source pixels.
        """
        x = ((np.arange(self.source_width) + 0.5) * self.scale_x + self.offset_x) * grid_width / self.network_width
        y = ((np.arange(self.source_height) + 0.5) * self.scale_y + self.offset_y) * grid_height / self.network_height
        columns = np.clip(np.floor(x), 0, grid_width - 1).astype(np.int64)
        rows = np.clip(np.floor(y), 0, grid_height - 1).astype(np.int64)
        return rows, columns


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The network's input. Its arrays are reused buffers: they are valid until the next frame is prepared."""

    tensor: NDArray[np.generic]  # (1, 3, h, w) or (1, h, w, 3), as the manifest says
    letterbox: Letterbox
    pixels: NDArray[np.uint8]  # (h, w, 3), what the tensor was made of, in the network's colour order


@dataclass(frozen=True, slots=True, eq=False)
class MaskParts:
    """What instance masks are made of, once it is known whose: object i's is sigmoid(coefficients[i] . prototypes)."""

    prototypes: FloatArray  # (k, grid height, grid width), a grid over the whole network input
    coefficients: FloatArray  # (n, k), one row per candidate


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """What a detection head found, before the filters. Best first is not promised."""

    boxes: FloatArray  # (n, 4) x1 y1 x2 y2, pixels of the network input
    scores: FloatArray  # (n,) 0..1, all >= the threshold the head was asked for
    class_ids: IntArray  # (n,)
    seen: int  # cells (anchors, rows) whose score is at least 0.01: is there anything at all?
    score_max: float  # best score of the frame, also when it is below the threshold; 0 where there is none
    masks: MaskParts | None = None  # None: this family has none

    def __post_init__(self) -> None:
        _check_lengths(self.boxes, self.scores, self.class_ids)
        if self.masks is not None and len(self.masks.coefficients) != len(self.scores):
            raise ValueError(f"masks: expected {len(self.scores)}, got {len(self.masks.coefficients)}")


@dataclass(frozen=True, slots=True, eq=False)
class InstanceMask:
    """Which pixels of its box an object covers: a piece of the network's mask grid, and how source pixels lie in it."""

    grid: FloatArray  # (rows, columns) probabilities 0..1: the cells under the box
    left: int  # of the window: the source pixels whose centres the box holds
    top: int
    width: int
    height: int
    scale: tuple[float, float]  # cells per source pixel, x and y
    offset: tuple[float, float]  # column and row of `grid`, counted between cell centres, where the window's first pixel lies

    def __post_init__(self) -> None:
        self.grid.flags.writeable = False

    def pixels(self) -> NDArray[np.bool_]:
        """The window, (height, width): where the probability, bilinear between cells, is above one half."""
        if not self.width or not self.height:
            return np.zeros((self.height, self.width), np.bool_)
        matrix = np.array([[self.scale[0], 0.0, self.offset[0]], [0.0, self.scale[1], self.offset[1]]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        between = cv2.warpAffine(self.grid, matrix, (self.width, self.height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        inside: NDArray[np.bool_] = between > _INSIDE
        return inside


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Objects that passed every filter, best first."""

    boxes: FloatArray  # (n, 4) x1 y1 x2 y2, pixels of the source picture, inside it
    scores: FloatArray  # (n,) 0..1
    class_ids: IntArray  # (n,)
    zones: Sequence[tuple[str, ...]] = ()  # per object the names of the zones it is in; () where there are no zones
    masks: Sequence[InstanceMask] = ()  # per object; () where the model gives none
    track_ids: Sequence[int | None] = ()  # per object, None for one that is not certain yet; () where nothing tracks

    def __post_init__(self) -> None:
        _check_lengths(self.boxes, self.scores, self.class_ids)
        for kind, given in (("zones", self.zones), ("masks", self.masks), ("track_ids", self.track_ids)):
            if given and len(given) != len(self.scores):
                raise ValueError(f"{kind}: expected {len(self.scores)}, got {len(given)}")
        for name in ("boxes", "scores", "class_ids"):
            view = getattr(self, name).view()
            view.flags.writeable = False
            object.__setattr__(self, name, view)

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Track:
    """One object over time, as it was in one frame."""

    id: int  # from 1; never used twice by one agent's run and camera
    class_id: int  # what it was taken for most, weighted by score: one frame's slip changes nothing
    score: float  # 0..1, of this frame
    box: tuple[float, float, float, float]  # x1 y1 x2 y2, pixels of the source picture, as found in this frame
    zones: tuple[str, ...]  # that it is in now
    index: int | None  # its row in the frame's Detections; None where its score was too low to be published


@dataclass(frozen=True, slots=True)
class Tracks:
    """What one frame changed: objects that were found in it and are certain, and those that will not come back."""

    found: tuple[Track, ...] = ()
    missed: tuple[int, ...] = ()  # ids of certain objects that this frame does not show and the next ones may
    ended: tuple[int, ...] = ()  # ids of certain objects that are given up; each once, and none that was never found


@dataclass(frozen=True, slots=True, eq=False)
class ClassMap:
    """A semantic map on the network's grid, and how source pixels look it up: `ids[rows[:, None], columns]`."""

    ids: NDArray[np.uint8]  # (grid height, grid width) class ids
    rows: IntArray  # (source height,)
    columns: IntArray  # (source width,)
    score_max: float  # highest probability of a class other than the background
    background: int = 0  # the id of what is no thing: the first label, or NO_LABEL

    def in_source(self) -> NDArray[np.uint8]:
        """The map in source pixels, (height, width)."""
        return self.ids[self.rows[:, None], self.columns]

    def shares(self, classes: int) -> FloatArray:
        """Share of the source picture's area per class, (classes,), summing to 1 where every pixel has a label."""
        weights = np.bincount(self.rows, minlength=self.ids.shape[0])[:, None] * np.bincount(
            self.columns, minlength=self.ids.shape[1]
        )
        area = np.bincount(self.ids.ravel(), weights=weights.ravel(), minlength=classes)[:classes]
        shares: FloatArray = (area / weights.sum()).astype(np.float32)
        return shares

    def things(self, classes: int) -> float:
        """Share of the source picture's area that is not background, 0..1."""
        shares = self.shares(classes)
        return float(shares.sum() - (shares[self.background] if self.background < classes else 0.0))


@dataclass(frozen=True, slots=True, eq=False)
class Classes:
    """A classification: every class's probability."""

    scores: FloatArray  # (classes,) 0..1

    def top(self, count: int) -> list[tuple[int, float]]:
        """The best `count` (class id, score), best first."""
        order = np.argsort(-self.scores, kind="stable")[:count]
        return [(int(index), float(self.scores[index])) for index in order]


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What one look gave of both kinds: objects in boxes, and the areas around them."""

    detections: Detections
    areas: ClassMap


Part: TypeAlias = Detections | ClassMap | Classes  # what one message tells
Outcome: TypeAlias = Part | Scene


def outcome_parts(outcome: Outcome) -> tuple[Part, ...]:
    """An outcome as what is drawn, judged and published one by one."""
    return (outcome.detections, outcome.areas) if isinstance(outcome, Scene) else (outcome,)


def detections_of(outcome: Outcome) -> Detections | None:
    """The objects in boxes that an outcome tells of; None where it tells of none of that kind."""
    return next((part for part in outcome_parts(outcome) if isinstance(part, Detections)), None)


def numbered(outcome: Outcome, tracks: Tracks) -> Outcome:
    """The outcome with its objects' track ids."""
    found = detections_of(outcome)
    if found is None:
        return outcome
    ids: list[int | None] = [None] * len(found)
    for track in tracks.found:
        if track.index is not None:
            ids[track.index] = track.id
    named = replace(found, track_ids=tuple(ids))
    return replace(outcome, detections=named) if isinstance(outcome, Scene) else named


@dataclass(frozen=True, slots=True)
class StageCounts:
    """How many objects survived each step of one frame; the sums are the counters of `health`."""

    candidates: int = 0
    scored: int = 0
    kept_by_nms: int = 0
    kept_by_label: int = 0
    kept_by_area: int = 0
    kept_by_zone: int = 0
    score_max: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Sifted:
    """What the filters let through, and how much survived each."""

    outcome: Outcome
    counts: StageCounts
    faint: Detections | None = None  # objects below the threshold, for the tracker alone; None where nothing tracks


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A model's input or output as the model itself declares it; None stands for a dimension that is not fixed."""

    name: str
    shape: tuple[int | None, ...]
    dtype: str  # numpy's name: float32, uint8, int64 ..
    also: tuple[TensorSpec, ...] = ()  # other forms in which the runtime takes this very input

    def takes(self, shape: tuple[int, ...], dtype: str) -> bool:
        """Whether an input of this shape and type is taken as it is."""
        return any(
            len(one.shape) == len(shape)
            and all(have in (None, want) for have, want in zip(one.shape, shape, strict=True))
            and one.dtype == dtype
            for one in (self, *self.also)
        )


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds per step; `total` runs from the packet's arrival to the end of the last step."""

    decode: float
    preprocess: float
    infer: float
    postprocess: float
    total: float


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """What one inferred frame came to."""

    frame: Frame
    outcome: Outcome
    counts: StageCounts
    latency: Latency
    letterbox: Letterbox = field(repr=False)
    invalid: int | None = None  # NaN and infinite values in the model's outputs; None where this frame's were not searched
    faint: Detections | None = None  # objects below the threshold, for the tracker alone; None where nothing tracks
    tracks: Tracks | None = None  # None where nothing tracks


def _check_lengths(boxes: FloatArray, scores: FloatArray, class_ids: IntArray) -> None:
    n = len(scores)
    for name, array, shape in (("boxes", boxes, (n, 4)), ("scores", scores, (n,)), ("class_ids", class_ids, (n,))):
        if array.shape != shape:
            raise ValueError(f"{name}: expected {shape}, got {array.shape}")

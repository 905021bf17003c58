"""What people look at: pictures and videos with boxes, masks and classes drawn in, and the snapshots of events."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

from camagent.frame import Classes, ClassMap, Detections, Frame, Outcome, Part, outcome_parts
from camagent.preprocess import jpeg_picture, plane_pixels, to_pixels

_PALETTE = (
    (60, 76, 231), (219, 152, 52), (113, 204, 46), (15, 196, 241), (182, 89, 155), (156, 188, 26),
    (34, 126, 230), (94, 73, 52), (166, 165, 149), (0, 215, 255), (203, 192, 255), (80, 127, 255),
)  # fmt: skip
_MASK_OPACITY = 0.5
_JPEG_QUALITY = 90
_SNAPSHOT_SCALE = 4  # FFmpeg's scale for mjpeg
_CLASSES_DRAWN = 3
_LEAST_LETTERS = 0.6
_LEAST_STROKES = 0.9  # of the lettering's scale: below it the strokes of 餐 run together
_CORNER = 0.2  # of a box's side, that its corners are long

Polygon = Sequence[tuple[float, float]]
Color = tuple[int, int, int]


def annotate(
    frame: Frame, outcome: Outcome, labels: Sequence[str], *, longest: int | None = None, private: Sequence[Polygon] = ()
) -> NDArray[np.uint8]:
    """The frame as BGR, (height, width, 3), with what was found drawn in. Labels may be Chinese: OpenCV 5 brings the letters.

    `longest`: pixels of the longest side, where the picture is to be smaller than the frame; it is drawn on after scaling.
    `private`: the frame's privacy masks, 0..1 of the picture; they are already grey and no area is painted over them.
    """
    shrink = min(1.0, longest / max(frame.width, frame.height)) if longest else 1.0
    width, height = max(1, round(frame.width * shrink)), max(1, round(frame.height * shrink))
    picture = to_pixels(VideoReformatter(), cast("av.VideoFrame", frame.picture), width, height, "bgr").copy()
    parts = outcome_parts(outcome)
    plain = picture.copy() if private else picture
    for part in parts:
        _paint(picture, part, frame, labels)
    if private:
        hidden = _covered(private, width, height)
        picture[hidden] = plain[hidden]
    least = 0.8 if longest else 0.4
    if not all(label.isascii() for label in labels):
        least = max(least, _LEAST_STROKES)
    scale = max(least, min(width, height) / 900)
    for part in parts:
        _write(picture, part, frame, labels, scale)
    return picture


def outline(picture: NDArray[np.uint8], boxes_norm: Sequence[tuple[float, float, float, float]]) -> None:
    """Marks boxes (x1 y1 x2 y2, 0..1) that should have been found: white corners, so that what was found stays to be seen."""
    height, width = picture.shape[:2]
    for box in boxes_norm:
        x1, y1, x2, y2 = (round(value * side) for value, side in zip(box, (width, height) * 2, strict=True))
        along, down = round((x2 - x1) * _CORNER), round((y2 - y1) * _CORNER)
        corners = [
            np.array([[x + to_x, y], [x, y], [x, y + to_y]], np.int32)
            for x, to_x in ((x1, along), (x2, -along))
            for y, to_y in ((y1, down), (y2, -down))
        ]
        for colour, thickness in (((0, 0, 0), 4), ((255, 255, 255), 2)):
            cv2.polylines(picture, corners, isClosed=False, color=colour, thickness=thickness, lineType=cv2.LINE_AA)


def to_jpeg(picture: NDArray[np.uint8], quality: int = _JPEG_QUALITY) -> bytes:
    """A BGR picture as JPEG. Raises OSError."""
    ok, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not ok:
        raise OSError("the picture cannot be encoded as JPEG")
    return encoded.tobytes()


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Writes a JPEG; a half written one is taken away again. Raises OSError."""
    encoded = to_jpeg(picture)
    try:
        path.write_bytes(encoded)
    except OSError as exc:
        with suppress(OSError):  # the first error is the one to tell
            path.unlink(missing_ok=True)
        exc.filename = str(path)  # a full disk is noticed after the name is forgotten
        raise


@dataclass(frozen=True, slots=True)
class Mark:
    """What is drawn on a snapshot: a box (x1 y1 x2 y2, pixels of the source picture) with its words and its class's colour."""

    box: tuple[float, float, float, float]
    text: str
    class_id: int


def snapshot(frame: Frame, mark: Mark, scale: int = _SNAPSHOT_SCALE) -> bytes:
    """The frame as JPEG in its own size, one object marked. Made of the frame's own YUV; only the lettering was RGB.

    `scale`: FFmpeg's for mjpeg, 2 (best) to 31. Of an odd side the last line is left out. Raises OSError, ValueError.
    """
    try:
        made = jpeg_picture(cast("av.VideoFrame", frame.picture))
    except av.FFmpegError as exc:
        raise OSError(f"the picture cannot be read: {exc.strerror}") from exc
    strokes = max(_LEAST_LETTERS if mark.text.isascii() else _LEAST_STROKES, min(made.width, made.height) / 900)
    color = _color(mark.class_id)
    levels = cv2.cvtColor(np.array([[color]], np.uint8), cv2.COLOR_BGR2YCrCb)[0, 0]
    thickness = max(1, round(strokes))  # of chroma's lines, half as many pixels as luma's
    edges = (made.width, made.height) * 2
    x1, y1, x2, y2 = (round(min(max(value, 0.0), edge - 1)) for value, edge in zip(mark.box, edges, strict=True))
    for plane, channel, half in zip(made.planes, (0, 2, 1), (0, 1, 1), strict=True):
        corners = (x1 >> half, y1 >> half), (x2 >> half, y2 >> half)
        cv2.rectangle(plane_pixels(plane), *corners, int(levels[channel]), thickness if half else 2 * thickness)
    _paste(_lettering(mark.text, color, strokes), made, (x1, y1))
    return _mjpeg(made, scale)


class VideoSink:
    """Writes annotated frames as an H.264 MP4 with the source's own timing; frames of another size are scaled to the first."""

    def __init__(self, path: Path) -> None:
        self._container = av.open(str(path), "w")
        self._stream: Any = None
        self._size = (0, 0)
        self._start: float | None = None
        self._last = -1

    def write(self, picture: NDArray[np.uint8], pts: float | None) -> None:
        """Appends a BGR picture shown at `pts` seconds of the source's time line."""
        if self._stream is None:
            height, width = picture.shape[0] // 2 * 2, picture.shape[1] // 2 * 2
            self._size = (width, height)
            self._stream = self._container.add_stream("libx264", rate=25, options={"crf": "23", "preset": "veryfast"})
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, 1000)
        if (picture.shape[1], picture.shape[0]) != self._size:
            picture = cv2.resize(picture, self._size).astype(np.uint8)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="bgr24")
        if self._start is None:
            self._start = pts or 0.0
        shown = self._last + 40 if pts is None else round((pts - self._start) * 1000)
        self._last = max(shown, self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, 1000)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finishes the file."""
        if self._stream is not None:
            self._container.mux(self._stream.encode(None))
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _paint(picture: NDArray[np.uint8], part: Part, frame: Frame, labels: Sequence[str]) -> None:
    """The areas: of objects, and of a map."""
    height, width = picture.shape[:2]
    if isinstance(part, ClassMap):
        ids = part.in_source()
        if ids.shape != (height, width):
            ids = cv2.resize(ids, (width, height), interpolation=cv2.INTER_NEAREST).astype(np.uint8)
        for class_id in _things(part, labels):
            _tint(picture, ids == class_id, _color(class_id))
    elif isinstance(part, Detections) and part.masks:
        for mask, class_id in zip(part.masks, part.class_ids, strict=True):
            left, right = (round(x * width / frame.width) for x in (mask.left, mask.left + mask.width))
            top, bottom = (round(y * height / frame.height) for y in (mask.top, mask.top + mask.height))
            if left == right or top == bottom:
                continue
            inside = cv2.resize(mask.pixels().astype(np.uint8), (right - left, bottom - top), interpolation=cv2.INTER_NEAREST)
            _tint(picture[top:bottom, left:right], inside > 0, _color(int(class_id)))


def _tint(picture: NDArray[np.uint8], where: NDArray[np.bool_], color: Color) -> None:
    picture[where] = (picture[where] * (1 - _MASK_OPACITY) + np.array(color) * _MASK_OPACITY).astype(np.uint8)


def _covered(private: Sequence[Polygon], width: int, height: int) -> NDArray[np.bool_]:
    """Pixels that a privacy mask touches, (height, width)."""
    covered = np.zeros((height, width), np.uint8)
    for polygon in private:
        corners = np.round(np.array(polygon, np.float64) * [width, height]).astype(np.int32)
        cv2.fillPoly(covered, [corners], 1)
    return covered > 0


def _write(picture: NDArray[np.uint8], part: Part, frame: Frame, labels: Sequence[str], scale: float) -> None:
    """Boxes, and all words."""
    height, width = picture.shape[:2]
    match part:
        case Detections():
            sides = np.array([width / frame.width, height / frame.height] * 2)
            ids = part.track_ids or (None,) * len(part)
            for box, score, class_id, track in zip(part.boxes * sides, part.scores, part.class_ids, ids, strict=True):
                number = "" if track is None else f" #{track}"
                _draw_box(picture, box, f"{labels[class_id]} {score:.2f}{number}", _color(int(class_id)), scale)
        case ClassMap():
            shares = part.shares(len(labels))
            for row, class_id in enumerate(_things(part, labels)):
                text = f"{labels[class_id]} {shares[class_id]:.1%}"
                _draw_text(picture, text, (4, round(30 * scale * (row + 1))), _color(class_id), scale)
        case Classes():
            for row, (class_id, score) in enumerate(part.top(_CLASSES_DRAWN)):
                _draw_text(picture, f"{labels[class_id]} {score:.2f}", (4, round(30 * scale * (row + 1))), (40, 40, 40), scale)


def _things(found: ClassMap, labels: Sequence[str]) -> list[int]:
    """Ids that are drawn: those that are there and no background; a model with one label has none."""
    ids = (int(i) for i in np.unique(found.ids) if i < len(labels))
    return [i for i in ids if i != found.background or len(labels) == 1]


def _color(class_id: int) -> Color:
    return _PALETTE[class_id % len(_PALETTE)]


def _draw_box(picture: NDArray[np.uint8], box: NDArray[np.floating], text: str, color: Color, scale: float) -> None:
    x1, y1, x2, y2 = (round(float(value)) for value in box)
    cv2.rectangle(picture, (x1, y1), (x2, y2), color, max(1, round(2 * scale)), cv2.LINE_AA)
    _draw_text(picture, text, (x1, max(y1, round(20 * scale))), color, scale)


def _draw_text(picture: NDArray[np.uint8], text: str, at: tuple[int, int], color: Color, scale: float) -> None:
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, 1)
    x, y = at
    cv2.rectangle(picture, (x, y - height - baseline), (x + width + 4, y), color, cv2.FILLED)
    cv2.putText(
        picture, text, (x + 2, y - baseline // 2 - 1), cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, (255, 255, 255), 1, cv2.LINE_AA
    )


def _lettering(text: str, color: Color, scale: float) -> NDArray[np.uint8]:
    """Words on their colour, BGR."""
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, 1)
    tile = np.zeros((height + baseline + 1, width + 5, 3), np.uint8)
    _draw_text(tile, text, (0, height + baseline), color, scale)
    return tile


def _paste(tile: NDArray[np.uint8], made: av.VideoFrame, at: tuple[int, int]) -> None:
    """A piece of BGR above this point of a picture in JPEG's colours, or below it where there is no room."""
    height, width = (min(side, most) & ~1 for side, most in zip(tile.shape[:2], (made.height, made.width), strict=True))
    if not height or not width:
        return
    left, top = min(at[0], made.width - width) & ~1, (at[1] - height if at[1] >= height else 0) & ~1
    yuv = cv2.cvtColor(tile[:height, :width], cv2.COLOR_BGR2YCrCb)
    for plane, channel, half in zip(made.planes, (0, 2, 1), (0, 1, 1), strict=True):
        rows, columns = height >> half, width >> half
        part = cv2.resize(yuv[:, :, channel], (columns, rows), interpolation=cv2.INTER_AREA)
        plane_pixels(plane)[top >> half : (top >> half) + rows, left >> half : (left >> half) + columns] = part


def _mjpeg(picture: av.VideoFrame, scale: int) -> bytes:
    """Raises OSError."""
    context = av.CodecContext.create("mjpeg", "w")
    context.width, context.height, context.pix_fmt = picture.width, picture.height, picture.format.name
    context.time_base, context.thread_count = Fraction(1, 25), 1
    context.options = {"qmin": str(scale), "qmax": str(scale)}
    try:
        return b"".join(bytes(packet) for packet in (*context.encode(picture), *context.encode(None)))
    except av.FFmpegError as exc:
        raise OSError(f"the picture cannot be encoded as JPEG: {exc.strerror}") from exc

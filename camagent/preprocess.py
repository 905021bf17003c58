"""Frame -> tensor: one swscale pass from the decoder's YUV straight to the network's size, then one pass to the tensor.

No full-size RGB picture is ever built. swscale only scales (area filter, into yuv444p of the network's size); the small
picture then gets its colours from one matrix. That costs what swscale's own way to bgr24 costs and is four times closer to
"convert, then resize at full size", because swscale's halves the chroma once more (bench/preprocess.py prints both).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, TypeAlias, cast

import av
import cv2
import numpy as np
from av.video.plane import VideoPlane
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from camagent.frame import Frame, Letterbox, Picture, Prepared
from firmware_pkg.manifest import InputSpec, Resize

_AVCOL_SPC_BT709, _AVCOL_SPC_UNSPECIFIED, _AVCOL_SPC_BT2020 = 1, 2, 9
_AVCOL_RANGE_JPEG = 2
Color: TypeAlias = Literal["rgb", "bgr"]

_HD_LINES = 576  # above it, an untagged stream is BT.709 (what players assume too), else BT.601


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the scaled picture lies: it is scaled to (width, height), then put at (x, y); negative x or y cut it."""

    width: int
    height: int
    x: int
    y: int
    letterbox: Letterbox


def place(source_width: int, source_height: int, spec: InputSpec) -> Placement:
    """How a source picture of this size is brought into the network's input (pixels).

    Letterbox: scaled by min(network / source), the rest is padding. Crop: scaled by max(..), the rest is cut, centred.
    Scaled sizes are whole pixels, and the letterbox states the scale that really results, so boxes map back exactly.
    """
    width, height = _scaled_size(source_width, source_height, spec.width, spec.height, spec.resize)
    centred = spec.resize == "crop" or spec.placement == "center"
    x, y = ((spec.width - width) // 2, (spec.height - height) // 2) if centred else (0, 0)
    letterbox = Letterbox(
        source_width, source_height, spec.width, spec.height, width / source_width, height / source_height, float(x), float(y)
    )
    return Placement(width, height, x, y, letterbox)


class Preprocessor:
    """Prepares frames of any size for one network input; its buffers are reused, so one instance belongs to one thread."""

    def __init__(self, spec: InputSpec) -> None:
        """Buffers for one network input."""
        self._spec = spec
        self._reformatter = VideoReformatter()
        self._placement: Placement | None = None
        self._size = (0, 0)
        # in the network's colour order; padding stays from frame to frame
        self._canvas = np.full((spec.height, spec.width, 3), spec.pad_value, np.uint8)
        self._planes = [np.empty((spec.height, spec.width), np.uint8) for _ in range(3)]
        planar = spec.layout == "nchw"
        shape = (1, 3, spec.height, spec.width) if planar else (1, spec.height, spec.width, 3)
        self._tensor = np.zeros(shape, spec.dtype)
        scale, mean, std = (np.array(v, np.float64) for v in (spec.scale, spec.mean, spec.std))
        self._gain = (scale / std).astype(np.float32)
        self._bias = (-mean / std).astype(np.float32)

    def prepare(self, frame: Frame) -> Prepared:
        """The network's input for this frame: (pixel * scale - mean) / std in the manifest's layout, dtype and colour order."""
        if self._placement is None or self._size != (frame.width, frame.height):  # also a stream that changed its size
            self._size = (frame.width, frame.height)
            self._placement = place(*self._size, self._spec)
            self._canvas[:] = self._spec.pad_value
        pixels = self._scaled(cast("av.VideoFrame", frame.picture), self._placement)
        if self._spec.layout == "nchw":
            self._store_planes(pixels)
        else:
            self._store_pixels(pixels)
        return Prepared(self._tensor, self._placement.letterbox, pixels)

    def _scaled(self, picture: av.VideoFrame, to: Placement) -> NDArray[np.uint8]:
        """(network height, network width, 3), 0..255, in the network's colour order."""
        spec = self._spec
        scaled = to_pixels(self._reformatter, picture, to.width, to.height, spec.color)
        if (to.width, to.height) == (spec.width, spec.height):
            return scaled
        if to.x < 0 or to.y < 0:
            return scaled[-to.y : spec.height - to.y, -to.x : spec.width - to.x]
        self._canvas[to.y : to.y + to.height, to.x : to.x + to.width] = scaled
        return self._canvas

    def _store_planes(self, pixels: NDArray[np.uint8]) -> None:
        """NCHW. Splitting first halves the cost: the arithmetic then runs over adjacent bytes."""
        if self._spec.dtype == "uint8":
            cv2.split(pixels, list(self._tensor[0]))
            return
        cv2.split(pixels, self._planes)
        for plane, gain, bias, out in zip(self._planes, self._gain, self._bias, self._tensor[0], strict=True):
            np.copyto(out, plane)  # converted and then multiplied in place: a product of two types goes through a small buffer
            np.multiply(out, gain, out=out)
            if bias:
                np.add(out, bias, out=out)

    def _store_pixels(self, pixels: NDArray[np.uint8]) -> None:
        """NHWC."""
        out = self._tensor[0]
        if self._spec.dtype == "uint8":
            out[:] = pixels
            return
        np.multiply(pixels, self._gain if np.ptp(self._gain) else self._gain[0], out=out)
        if self._bias.any():
            out += self._bias


def to_pixels(
    reformatter: VideoReformatter, picture: av.VideoFrame, width: int, height: int, color: Color
) -> NDArray[np.uint8]:
    """A decoded picture as (height, width, 3), 0..255, scaled to this size with its own matrix and range."""
    down = width <= picture.width and height <= picture.height
    how = Interpolation.AREA if down else Interpolation.BILINEAR
    if not _is_yuv(picture.format.name):
        scaled = reformatter.reformat(picture, width, height, f"{color}24", interpolation=how, threads=1)
        return _view(scaled.planes[0], 3)
    space, span = colorspace(picture), ColorRange.JPEG if full_range(picture) else ColorRange.MPEG
    scaled = reformatter.reformat(
        picture, width, height, "yuv444p", space, space, how, span, span,
        threads=1,  # the default takes every core, and on a camera the decoder needs them
    )  # fmt: skip
    yuv = cv2.merge([_view(plane, 1)[:, :, 0] for plane in scaled.planes])
    return cast("NDArray[np.uint8]", cv2.transform(yuv, _MATRIX[space, span, color]))


def jpeg_picture(picture: av.VideoFrame) -> av.VideoFrame:
    """A copy in JPEG's colours: BT.601 in full range, 4:2:0; of an odd side the last line is left out. No RGB in between.

    Raises ValueError where nothing would be left, av.FFmpegError where the picture cannot be read.
    """
    width, height = picture.width & ~1, picture.height & ~1
    if not width or not height:
        raise ValueError(f"a picture of {picture.width} x {picture.height} pixels is too small")
    space, span = Colorspace.ITU601, ColorRange.JPEG
    if _is_yuv(picture.format.name):
        space, span = colorspace(picture), ColorRange.JPEG if full_range(picture) else ColorRange.MPEG
    # one size and one kind of colour: planes are parted, chroma is halved, 10 bits become 8, nothing else
    plain = VideoReformatter().reformat(
        picture, format="yuv420p", src_colorspace=space, dst_colorspace=space, src_color_range=span, dst_color_range=span,
        threads=1,
    )  # fmt: skip
    made = av.VideoFrame(width, height, "yuvj420p")
    y, u, v = (
        plane_pixels(plane)[: height >> half, : width >> half] for plane, half in zip(plain.planes, (0, 1, 1), strict=True)
    )
    to_y, to_u, to_v = (plane_pixels(plane) for plane in made.planes)
    luma, blue, red = _JPEG_MATRIX[space, span]
    cv2.addWeighted(u, blue[1], v, blue[2], blue[3], dst=to_u)
    cv2.addWeighted(u, red[1], v, red[2], red[3], dst=to_v)
    if not luma[1] and not luma[2]:
        cv2.convertScaleAbs(y, to_y, luma[0], luma[3])
        return made
    shift = cv2.addWeighted(u, luma[1], v, luma[2], 128 + luma[3])  # by a few levels, either way
    cv2.addWeighted(y, luma[0], cv2.resize(shift, (width, height), interpolation=cv2.INTER_NEAREST), 1.0, -128, dst=to_y)
    return made


def rgb_pixels(frame: Frame, longest: int = 0) -> NDArray[np.uint8]:
    """A frame as RGB (height, width, 3), scaled down to `longest` pixels a side unless that is 0. For people and self-test."""
    share = min(1.0, longest / max(frame.width, frame.height)) if longest else 1.0
    width, height = max(1, round(frame.width * share)), max(1, round(frame.height * share))
    return to_pixels(VideoReformatter(), cast("av.VideoFrame", frame.picture), width, height, "rgb").copy()


def rgb_picture(pixels: NDArray[np.uint8]) -> Picture:
    """RGB (height, width, 3) as a picture that every step takes."""
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")


def colorspace(picture: av.VideoFrame) -> Colorspace:
    """The matrix of a picture: as tagged; where untagged BT.709 above 576 lines, else BT.601 (JPEG is BT.601 always)."""
    tag = int(picture.colorspace)
    if tag == _AVCOL_SPC_BT2020:
        return Colorspace.BT2020
    untagged_hd = tag == _AVCOL_SPC_UNSPECIFIED and picture.height > _HD_LINES and not full_range(picture)
    return Colorspace.ITU709 if tag == _AVCOL_SPC_BT709 or untagged_hd else Colorspace.ITU601


def full_range(picture: av.VideoFrame) -> bool:
    """True where luma uses 0..255 rather than 16..235."""
    return int(picture.color_range) == _AVCOL_RANGE_JPEG or picture.format.name.startswith("yuvj")


def _rgb_matrix(kr: float, kb: float, *, full: bool) -> NDArray[np.float32]:
    """(3, 4): RGB = M @ (Y, U, V, 1), levels 0..255, from the luma weights of ITU-R BT.601-7, BT.709-6 and BT.2020-2."""
    luma, chroma, black = (1.0, 1.0, 0.0) if full else (255 / 219, 255 / 224, 16.0)
    kg = 1 - kr - kb
    red, blue = 2 * (1 - kr) * chroma, 2 * (1 - kb) * chroma
    rows = np.array([[luma, 0, red], [luma, -blue * kb / kg, -red * kr / kg], [luma, blue, 0]])
    return np.hstack([rows, -rows @ np.array([[black], [128.0], [128.0]])]).astype(np.float32)


_LUMA_WEIGHTS = {
    Colorspace.ITU601: (0.299, 0.114),
    Colorspace.ITU709: (0.2126, 0.0722),
    Colorspace.BT2020: (0.2627, 0.0593),
}
_COLORS: tuple[Color, ...] = ("rgb", "bgr")
_MATRIX = {
    (space, span, color): _rgb_matrix(*weights, full=span is ColorRange.JPEG)[:: 1 if color == "rgb" else -1].copy()
    for space, weights in _LUMA_WEIGHTS.items()
    for span in (ColorRange.MPEG, ColorRange.JPEG)
    for color in _COLORS
}


def _jpeg_matrix(space: Colorspace, span: ColorRange) -> tuple[tuple[float, ...], ...]:
    """(3, 4): (Y, U, V) of JPEG = M @ (Y, U, V, 1) of this kind. Through RGB: one matrix forward, JPEG's own back."""
    forward = np.vstack([_MATRIX[space, span, "rgb"].astype(np.float64), [0, 0, 0, 1]])
    back = np.linalg.inv(np.vstack([_MATRIX[Colorspace.ITU601, ColorRange.JPEG, "rgb"].astype(np.float64), [0, 0, 0, 1]]))
    return tuple(tuple(round(float(value), 5) for value in row) for row in (back @ forward)[:3])


_JPEG_MATRIX = {
    (space, span): _jpeg_matrix(space, span) for space in _LUMA_WEIGHTS for span in (ColorRange.MPEG, ColorRange.JPEG)
}


@cache
def _is_yuv(name: str) -> bool:
    fmt = av.VideoFormat(name)  # asking for its components costs more than the rest of this question, for every frame
    return not fmt.is_rgb and not fmt.has_palette and len(fmt.components) >= 3


def plane_pixels(plane: VideoPlane) -> NDArray[np.uint8]:
    """A plane of bytes as (height, width), to be read and, where its picture is nobody else's, written."""
    return np.ndarray((plane.height, plane.width), np.uint8, cast("Any", plane), strides=(plane.line_size, 1))


def _view(plane: VideoPlane, channels: int) -> NDArray[np.uint8]:
    """A plane as (height, width, channels), without a copy; swscale pads its rows."""
    shape, strides = (plane.height, plane.width, channels), (plane.line_size, channels, 1)
    view = np.ndarray(shape, np.uint8, cast("Any", plane), strides=strides)  # as_strided takes six times as long
    view.flags.writeable = False
    return view


def _scaled_size(width: int, height: int, to_width: int, to_height: int, resize: Resize) -> tuple[int, int]:
    if resize == "stretch":
        return to_width, to_height
    if resize == "letterbox":
        scale = min(to_width / width, to_height / height)
        return min(to_width, max(1, round(width * scale))), min(to_height, max(1, round(height * scale)))
    scale = max(to_width / width, to_height / height)
    return max(to_width, round(width * scale)), max(to_height, round(height * scale))

"""Privacy masks: polygons filled grey in the decoder's own planes, before anything else sees the frame."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from camagent.config import Mask, Point

BoolMap = NDArray[np.bool_]
_SEMI_PLANAR = frozenset({"nv12", "nv21", "nv16", "nv24", "nv42"})  # luma, then both chromas side by side, 8 bit
_SEMI_PLANAR_HIGH = frozenset({"p010le", "p012le", "p016le", "p210le", "p216le", "p410le", "p416le"})  # value in the high bits
_PACKED = {"rgb24": 3, "bgr24": 3, **dict.fromkeys(("rgba", "bgra", "argb", "abgr", "rgb0", "bgr0", "0rgb", "0bgr"), 4)}
_FALLBACK = "yuv420p"
_FALLBACK_ODD = "yuv444p"  # swscale leaves the last row's chroma unset where it packs odd sizes into yuv420p
_EDGE_STEP = 0.25  # pixels between two samples along a polygon's edge


@dataclass(frozen=True, slots=True)
class _PlaneFill:
    """One plane's covered area: only the rectangle around it is ever touched."""

    plane: int
    rows: slice
    columns: slice
    covered: BoolMap | bool  # True: the whole rectangle, which is filled at the speed of memory
    grey: int
    wide: bool  # 16-bit samples


class Masker:
    """Fills one camera's masks. Remembers the covered samples per picture size and format; not for several threads."""

    def __init__(self, masks: tuple[Mask, ...]) -> None:
        self._polygons = [mask.polygon for mask in masks]
        self._shape: tuple[str, int, int] | None = None
        self._fills: list[_PlaneFill] = []

    def fill(self, picture: av.VideoFrame) -> av.VideoFrame:
        """The picture with the masks filled: the same object where its planes are the decoder's copy to change.

        The decoder predicts later frames from this one, so its planes are copied before they are touched. A format whose
        planes are not known here (a palette, a hardware surface) is converted to yuv420p first.
        """
        if not self._polygons:
            return picture
        if not _known(picture.format):
            # sws also fetches a hardware surface; one thread, a camera's core has other work
            odd = (picture.width | picture.height) & 1
            picture = picture.reformat(format=_FALLBACK_ODD if odd else _FALLBACK, threads=1)
        picture.make_writable()
        shape = (picture.format.name, picture.width, picture.height)
        if shape != self._shape:
            self._fills, self._shape = _plan(picture, self._polygons), shape
        planes = picture.planes
        for fill in self._fills:
            samples = _samples(planes[fill.plane], wide=fill.wide)
            np.copyto(samples[fill.rows, fill.columns], fill.grey, where=fill.covered)
        return picture


def _known(pixel_format: av.VideoFormat) -> bool:
    name = pixel_format.name
    return name in _SEMI_PLANAR or name in _SEMI_PLANAR_HIGH or name in _PACKED or _plain_planes(pixel_format)


def _plain_planes(pixel_format: av.VideoFormat) -> bool:
    """One component per plane, 8 bits or little-endian words: yuv420p, yuvj422p, yuv444p10le, gray, gbrp and their kin."""
    if pixel_format.is_bit_stream or pixel_format.has_palette or pixel_format.is_bayer or pixel_format.is_big_endian:
        return False
    components = pixel_format.components
    depths = {component.bits for component in components}
    return (
        bool(components)
        and sorted(component.plane for component in components) == list(range(len(components)))
        and len(depths) == 1
        and 8 <= min(depths) <= 16
        and not pixel_format.name.endswith(("f16le", "f32le", "msble"))
    )


def _plan(picture: av.VideoFrame, polygons: list[tuple[Point, ...]]) -> list[_PlaneFill]:
    """The covered samples of every plane of this size and format."""
    covered = np.zeros((picture.height, picture.width), dtype=np.bool_)
    for polygon in polygons:
        covered |= rasterise(polygon, picture.width, picture.height)
    name, components = picture.format.name, picture.format.components
    if name in _PACKED:
        return _fills(0, np.repeat(covered, _PACKED[name], axis=1), grey=128, wide=False)
    # chroma of a block is shared by its pixels: it is covered as soon as one of them is
    chroma = _shrink(covered, 1024 // picture.format.chroma_width(1024), 1024 // picture.format.chroma_height(1024))
    if name in _SEMI_PLANAR or name in _SEMI_PLANAR_HIGH:
        wide = name in _SEMI_PLANAR_HIGH
        grey = 1 << 15 if wide else 128
        return [*_fills(0, covered, grey=grey, wide=wide), *_fills(1, np.repeat(chroma, 2, axis=1), grey=grey, wide=wide)]
    bits = components[0].bits
    fills: list[_PlaneFill] = []
    for component in components:
        if not component.is_alpha:
            area = chroma if component.is_chroma and not picture.format.is_rgb else covered
            fills += _fills(component.plane, area, grey=1 << (bits - 1), wide=bits > 8)
    return fills


def _fills(plane: int, covered: BoolMap, *, grey: int, wide: bool) -> list[_PlaneFill]:
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    if not rows.size:
        return []
    tall, across = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    area = np.ascontiguousarray(covered[tall, across])
    return [_PlaneFill(plane, tall, across, True if area.all() else area, grey, wide)]


def _samples(plane: av.video.plane.VideoPlane, *, wide: bool) -> NDArray[Any]:
    """A writable view of a plane, rows from the top, padding included on the right."""
    data = np.frombuffer(memoryview(plane), dtype=np.uint16 if wide else np.uint8).reshape(plane.height, -1)
    return data[::-1] if plane.line_size < 0 else data


def _shrink(covered: BoolMap, by_x: int, by_y: int) -> BoolMap:
    """One sample per block of by_x x by_y pixels, set where any pixel is; the last blocks may be cut by the edge."""
    height, width = covered.shape
    padded = np.pad(covered, ((0, -height % by_y), (0, -width % by_x)))
    blocks = padded.reshape(padded.shape[0] // by_y, by_y, padded.shape[1] // by_x, by_x)
    return np.asarray(blocks.any(axis=(1, 3)))


def rasterise(polygon: tuple[Point, ...], width: int, height: int) -> BoolMap:
    """Every pixel that the polygon (0..1, even-odd) touches, and one more around it, as (height, width)."""
    corners = np.asarray(polygon, dtype=np.float64) * (width, height)
    covered = _inside(corners, width, height)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        # edges are walked in small steps: also a sliver thinner than a pixel covers what it touches
        steps = int(np.ceil(np.abs(end - start).max() / _EDGE_STEP)) + 1
        points = np.linspace(start, end, steps + 1)
        columns = np.clip(points[:, 0].astype(np.int64), 0, width - 1)
        rows = np.clip(points[:, 1].astype(np.int64), 0, height - 1)
        covered[rows, columns] = True
    return _grow(covered)


def _inside(corners: NDArray[np.float64], width: int, height: int) -> BoolMap:
    """Pixels whose centre is inside: along each row, every second stretch between the edges it crosses."""
    crossings = np.zeros((height, width + 1), dtype=np.bool_)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        low, high = min(y0, y1), max(y0, y1)
        rows = np.arange(max(0, int(np.ceil(low - 0.5))), min(height, int(np.ceil(high - 0.5))))
        at_x = x0 + (rows + 0.5 - y0) * (x1 - x0) / (y1 - y0)
        crossings[rows, np.clip(np.ceil(at_x - 0.5), 0, width).astype(np.int64)] ^= True
    inside: BoolMap = np.logical_xor.accumulate(crossings, axis=1)[:, :width]
    return inside


def _grow(covered: BoolMap) -> BoolMap:
    """The area and every pixel next to it, diagonals too."""
    grown = covered.copy()
    grown[1:] |= covered[:-1]
    grown[:-1] |= covered[1:]
    sideways = grown.copy()
    grown[:, 1:] |= sideways[:, :-1]
    grown[:, :-1] |= sideways[:, 1:]
    return grown

"""The comparison as one picture: every model's scores over the reference's, and where they disagree most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.comparing.report import Report, Row
from camagent.comparing.tally import BINS, Tally
from camagent.comparing.terminal import summary
from camagent.errors import printable

Pixels = NDArray[np.uint8]
_WIDTH, _MARGIN, _ROW = 1200, 24, 200
_CHART = (560, 140)  # pixels of a histogram
_INK, _SOFT, _BAR, _LINE, _PAPER = (44, 36, 28), (120, 104, 93), (196, 119, 63), (40, 40, 200), 255  # BGR
_FONT, _SIZE = cv2.FONT_HERSHEY_SIMPLEX, 0.55


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """Where a model disagrees most: the picture with what it sees, and corners around what it lost. BGR."""

    model: str
    said: str
    picture: Pixels


def draw(report: Report, exhibits: Sequence[Exhibit]) -> Pixels:
    """The whole picture, (height, 1200, 3) BGR."""
    head = _sheet(56)
    _write(head, summary(report), (_MARGIN, 36), _INK, 0.7)
    charts = [_chart(row, tally, report.reference) for row, tally in zip(report.rows, report.tallies, strict=True)]
    return np.concatenate([head, *charts, *_gallery(exhibits)], axis=0)


def to_png(picture: Pixels) -> bytes:
    """A BGR picture as PNG. Raises OSError."""
    ok, encoded = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not ok:
        raise OSError("the picture cannot be encoded as PNG")
    return encoded.tobytes()


def _chart(row: Row, tally: Tally, reference: Tally) -> Pixels:
    sheet = _sheet(_ROW)
    _write(sheet, row.name, (_MARGIN, 30), _INK, 0.65)
    for index, line in enumerate(_facts(row, tally)):
        _write(sheet, line, (_MARGIN, 58 + 22 * index), _SOFT, _SIZE)
    left, top = _WIDTH - _CHART[0] - _MARGIN, 20
    if not (tally.histogram.any() or reference.histogram.any()):
        return sheet
    heights = [np.log1p(one.histogram) for one in (tally, reference)]
    scale = (_CHART[1] - 4) / max(1e-9, *(float(one.max()) for one in heights))
    step = _CHART[0] / BINS
    bottom = top + _CHART[1]
    for index, (own, theirs) in enumerate(zip(*heights, strict=True)):
        x1, x2 = round(left + index * step) + 1, round(left + (index + 1) * step) - 1
        cv2.rectangle(sheet, (x1, bottom - round(own * scale)), (x2, bottom), _BAR, cv2.FILLED)
        level = bottom - round(theirs * scale)
        cv2.line(sheet, (x1 - 1, level), (x2 + 1, level), _LINE, 2)
    cv2.line(sheet, (left, bottom), (left + _CHART[0], bottom), _INK, 1)
    for value in (0.0, 0.5, 1.0):
        _write(sheet, f"{value:g}", (round(left + value * (_CHART[0] - 20)), bottom + 20), _SOFT, 0.5)
    _write(sheet, "candidates by score, logarithmic; red: the reference", (left + 170, top + 2), _SOFT, 0.45)
    return sheet


def _facts(row: Row, tally: Tally) -> list[str]:
    known = [
        ("cosine", row.cosine, ".5f"), ("mAP", row.map, ".4f"), ("mAP50", row.map50, ".4f"), ("mean IoU", row.iou, ".3f"),
        ("same pixels", row.same_pixels, ".4f"), ("mIoU", row.mean_iou, ".4f"), ("same class", row.same_first, ".4f"),
    ]  # fmt: skip
    lines = [f"{name} {format(value, form)}" for name, value, form in known if value is not None]
    if row.map is not None:
        lines.append(f"same {row.seen}, lost {row.lost}, faded {row.faded}, gained {row.gained}")
    return [*lines, f"best score {tally.score_max:.3f}"]


def _gallery(exhibits: Sequence[Exhibit]) -> list[Pixels]:
    """Two in a row."""
    wide = (_WIDTH - 3 * _MARGIN) // 2
    rows = []
    for at in range(0, len(exhibits), 2):
        pair = exhibits[at : at + 2]
        scaled = [_fitted(one.picture, wide) for one in pair]
        sheet = _sheet(max(len(one) for one in scaled) + 56)
        for index, (one, picture) in enumerate(zip(pair, scaled, strict=True)):
            left = _MARGIN + index * (wide + _MARGIN)
            _write(sheet, f"{one.model}: {one.said}", (left, 22), _SOFT, 0.5)
            sheet[36 : 36 + len(picture), left : left + wide] = picture
        rows.append(sheet)
    return rows


def _fitted(picture: Pixels, width: int) -> Pixels:
    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _sheet(height: int) -> Pixels:
    return np.full((height, _WIDTH, 3), _PAPER, np.uint8)


def _write(sheet: Pixels, text: str, at: tuple[int, int], color: tuple[int, int, int], size: float) -> None:
    cv2.putText(sheet, printable(text, 90), at, _FONT, size, color, 1, cv2.LINE_AA)

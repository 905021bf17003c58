"""The picture of docs/performance.md: CPU per frame, latency, and what more streams cost. Drawn with OpenCV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.peer_results import Results, Sample, by_cameras, latency, of, peers_of

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]  # B, G, R

WIDTH, PANEL, MARGIN, LABEL = 1100, 34, 24, 250
INK, FAINT, WHITE = (40, 40, 40), (225, 225, 225), (255, 255, 255)
DECODE, MODEL, REST, OTHER = (180, 130, 70), (120, 170, 90), (60, 120, 235), (170, 170, 170)
NAMES = {
    "limit": "limit", "camagent": "camagent", "plain": "plain script", "plain, one decoder thread": "plain, 1 decoder thread",
    "ultralytics": "ultralytics predict",
}  # fmt: skip


def draw(results: Results, path: Path) -> None:
    """Writes a PNG."""
    parts = [_cost(results, name) for name in results.sections]
    parts += [_latency(results, name) for name in results.sections if latency(results.sections[name], "camagent")]
    parts.append(_streams(results))
    assert cv2.imwrite(str(path), np.concatenate(parts), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def bars(section: Sequence[Sample]) -> list[tuple[str, list[tuple[float, Colour]]]]:
    """Per peer its parts, milliseconds of CPU: decoding, model, the rest; peers of whom only the whole is known, the whole."""
    decode, model = (median(sample.ms for sample in of(section, peer)) for peer in ("decode", "model"))
    made: list[tuple[str, list[tuple[float, Colour]]]] = [("limit", [(decode, DECODE), (model, MODEL)])]
    for peer in peers_of(section):
        if peer not in ("decode", "model"):
            whole = median(sample.ms for sample in of(section, peer))
            parts = [
                (decode, DECODE),
                (model, MODEL),
                (max(0.0, whole - decode - model), REST if peer == "camagent" else OTHER),
            ]
            made.append((peer, parts))
    return made


def _cost(results: Results, name: str) -> Image:
    rows = bars(results.sections[name])
    most = max(sum(length for length, _ in parts) for _, parts in rows)
    image = _panel(f"{name}: ms of CPU per frame (blue: decoding, green: model, orange and grey: the rest)", len(rows))
    for index, (peer, parts) in enumerate(rows):
        x = float(LABEL)
        for length, colour in parts:
            end = x + length / most * (WIDTH - LABEL - 110)
            _bar(image, index, x, end, colour)
            x = end
        _write(image, NAMES.get(peer, peer), MARGIN, index)
        _write(image, f"{sum(length for length, _ in parts):.1f}", round(x) + 8, index)
    return image


def _latency(results: Results, name: str) -> Image:
    section = results.sections[name]
    rows = [(peer, spread) for peer in peers_of(section) if (spread := latency(section, peer))]
    most = max(spread.p99 for _, spread in rows)
    image = _panel(f"{name}: ms from hand-out to PUBLISH (dark: median, light: 99th percentile)", len(rows))
    for index, (peer, spread) in enumerate(rows):
        for value, colour in ((spread.p99, (205, 190, 235)), (spread.p50, (150, 90, 160))):
            _bar(image, index, LABEL, LABEL + value / most * (WIDTH - LABEL - 150), colour)
        _write(image, NAMES.get(peer, peer), MARGIN, index)
        _write(
            image, f"{spread.p50:.1f} / {spread.p99:.1f}", round(LABEL + spread.p99 / most * (WIDTH - LABEL - 150)) + 8, index
        )
    return image


def _streams(results: Results) -> Image:
    cost = {count: cpu.value * 100 for count, cpu in by_cameras(results.streams).items()}
    most = max(cost.values(), default=1.0)
    image = _panel("streams of 1080p at 5 fps: % of a core (line: that many times one)", len(cost))
    one = cost.get(1, 0.0)
    for index, (count, percent) in enumerate(cost.items()):
        scale = (WIDTH - LABEL - 110) / max(most, one * max(cost))
        _bar(image, index, LABEL, LABEL + percent * scale, REST)
        x = round(LABEL + one * count * scale)
        cv2.line(image, (x, PANEL * (index + 1) + 6), (x, PANEL * (index + 2) - 4), INK, 2)
        _write(image, f"{count}", MARGIN, index)
        _write(image, f"{percent:.1f}", max(x, round(LABEL + percent * scale)) + 10, index)
    return image


def _panel(title: str, rows: int) -> Image:
    image: Image = np.full((PANEL * (rows + 2), WIDTH, 3), 255, np.uint8)
    cv2.line(image, (MARGIN, 4), (WIDTH - MARGIN, 4), FAINT, 1)
    _write(image, title, MARGIN, -1)
    return image


def _bar(image: Image, row: int, start: float, end: float, colour: Colour) -> None:
    top = PANEL * (row + 1) + 8
    cv2.rectangle(image, (round(start), top), (max(round(start), round(end) - 1), top + PANEL - 16), colour, -1)


def _write(image: Image, text: str, x: int, row: int) -> None:
    at: Any = (x, PANEL * (row + 2) - 10)
    cv2.putText(image, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)

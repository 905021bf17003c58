"""Numbers about tensors and pictures, taken before any inference is spent on a guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.selftest.report import TensorFacts

LOOK = 640  # pixels of the longest side for picture statistics
_BLOCK = 8  # pixels that are averaged before colour is looked for
_MOST_VALUES = 1 << 20  # a sample is enough to count different values


def tensor_facts(name: str, tensor: NDArray[Any]) -> TensorFacts:
    """A tensor of any number type in numbers; NaN and infinities are counted and left out of the rest."""
    values = tensor.astype(np.float64, copy=False).ravel()
    nan, inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    finite = values[np.isfinite(values)] if nan or inf else values
    low, high, mean, std = (float(f(finite)) for f in (np.min, np.max, np.mean, np.std)) if finite.size else (None,) * 4
    zeros = float((values == 0).mean()) if values.size else 0.0
    return TensorFacts(
        name, tuple(tensor.shape), str(tensor.dtype), low, high, mean, std, int(np.unique(values).size), zeros, nan, inf
    )


def distinct(tensor: NDArray[Any]) -> int:
    """How many different finite values there are, in a sample of a large tensor."""
    flat = tensor.reshape(-1)
    step = max(1, flat.size // _MOST_VALUES)
    sample = flat[::step]
    if sample.dtype.kind == "f":
        sample = sample[np.isfinite(sample)]
    return int(np.unique(sample).size)


def cosine(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Cosine similarity of two tensors of one size, -1..1; 1 for two that are all zero, 0 where one is or is not finite."""
    a, b = (np.asarray(values, np.float64).reshape(-1) for values in (found, wanted))
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    lengths = float(np.linalg.norm(a)), float(np.linalg.norm(b))
    if not all(lengths):
        return 1.0 if lengths == (0.0, 0.0) else 0.0
    return float(a @ b / (lengths[0] * lengths[1]))


def correlation(found: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Pearson's r of two tensors of one size, -1..1; 0 where one is constant or not finite."""
    a, b = (np.asarray(values, np.float64).reshape(-1) for values in (found, wanted))
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return 0.0
    a, b = a - a.mean(), b - b.mean()
    scale = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b / scale) if scale > 0 else 0.0


def same(left: Sequence[NDArray[Any]], right: Sequence[NDArray[Any]]) -> bool:
    """Bit for bit, NaN equal to NaN."""
    return len(left) == len(right) and all(
        a.shape == b.shape and np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in zip(left, right, strict=True)
    )


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """A picture in numbers, 0..255."""

    luma_mean: float
    luma_spread: float  # standard deviation
    luma_low: float  # 1st and 99th percentile
    luma_high: float
    chroma: float  # mean distance of red and blue from green: 0 for a grey picture
    colour: float  # its 99th percentile: of the most colourful things
    shear: int  # by how many pixels each row would have to move to fit the one above; 0 for a sound picture
    shear_gain: float  # how much better they fit then, 0..1


def picture_facts(rgb: NDArray[np.uint8]) -> PictureFacts:
    """Of (height, width, 3) RGB, of any size; a few hundred pixels a side are enough."""
    values = rgb.astype(np.float32)
    luma = values @ np.array([0.299, 0.587, 0.114], np.float32)
    small = cv2.resize(values, (max(1, rgb.shape[1] // _BLOCK), max(1, rgb.shape[0] // _BLOCK)), interpolation=cv2.INTER_AREA)
    red, green, blue = (small[..., channel] for channel in range(3))  # averaged: a sensor's noise is no colour
    away = (np.abs(red - green) + np.abs(blue - green)) / 2
    low, high = (float(value) for value in np.percentile(luma, (1, 99)))
    shift, gain = _shear(luma)
    return PictureFacts(
        float(luma.mean()), float(luma.std()), low, high, float(away.mean()), float(np.percentile(away, 99)), shift, gain
    )


def _shear(luma: NDArray[np.float32]) -> tuple[int, float]:
    """The shift between neighbouring rows that fits best, by cross-correlation of the rows, and what it gains over none."""
    rows = luma - luma.mean(axis=1, keepdims=True)
    spread = rows.std(axis=1)
    pairs = np.flatnonzero((spread[:-1] > 4) & (spread[1:] > 4))
    if len(pairs) < 8:
        return 0, 0.0
    pairs = pairs[:: max(1, len(pairs) // 64)]
    spectrum = np.fft.rfft(rows[pairs]) * np.conj(np.fft.rfft(rows[pairs + 1]))
    fits = np.fft.irfft(spectrum, n=luma.shape[1]) / (spread[pairs] * spread[pairs + 1])[:, None] / luma.shape[1]
    mean = fits.mean(axis=0)
    best = int(mean.argmax())
    shift = best if best <= luma.shape[1] // 2 else best - luma.shape[1]
    return shift, float(mean[best] - mean[0])

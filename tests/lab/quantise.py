"""int8 arithmetic as runtimes do it: one scale and one zero point per tensor (or per part of one)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Grid:
    """real = (integer - zero_point) * scale, integers in -128..127."""

    scale: float
    zero_point: int

    @staticmethod
    def over(low: float, high: float) -> Grid:
        """The grid that a calibrator lays over a range; 0 is always on it."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = (high - low) / 255 or 1.0
        return Grid(scale, int(np.clip(round(-128 - low / scale), -128, 127)))

    def integers(self, values: NDArray[Any]) -> NDArray[np.int8]:
        """What the device stores; NaN becomes the zero point."""
        steps = np.rint(np.nan_to_num(values.astype(np.float64), posinf=1e9, neginf=-1e9) / self.scale) + self.zero_point
        return np.asarray(np.clip(steps, -128, 127), np.int8)

    def real(self, integers: NDArray[np.int8]) -> NDArray[np.float32]:
        """What a host gets that knows the scale and the zero point."""
        return ((integers.astype(np.float32) - np.float32(self.zero_point)) * np.float32(self.scale)).astype(np.float32)

    def through(self, values: NDArray[Any]) -> NDArray[np.float32]:
        """There and back."""
        return self.real(self.integers(values))

"""Second inputs that some exports have beside the picture: sizes, which are known once the network's input is.

They are fed so that boxes come out in pixels of the network's input, as heads expect them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from camagent.frame import TensorSpec

Numbers = Callable[[int, int], tuple[float, float]]

# name -> what it gets for a network input of (width, height)
_KNOWN: Mapping[str, Numbers] = MappingProxyType({
    "scale_factor": lambda _w, _h: (1, 1),  # PaddleDetection: input / picture, y and x
    "im_shape": lambda width, height: (height, width),  # PaddleDetection: of the resized picture
    "orig_target_sizes": lambda width, height: (width, height),  # lyuwenyu/RT-DETR: what corners in 0..1 are multiplied with
})  # fmt: skip


def is_auxiliary(spec: TensorSpec) -> bool:
    """Whether an input is one of the known ones: two numbers, whatever its batch."""
    return spec.name in _KNOWN and len(spec.shape) in (1, 2) and spec.shape[-1] in (2, None)


def value_of(spec: TensorSpec, width: int, height: int) -> NDArray[np.generic]:
    """What an auxiliary input gets where the network's input is width x height pixels, (1, 2) or (2,)."""
    numbers = np.array(_KNOWN[spec.name](width, height), spec.dtype)
    return numbers if len(spec.shape) == 1 else numbers[None]

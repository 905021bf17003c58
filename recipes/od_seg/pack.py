"""Fitted samples on disk: drawn or read once, then read by every epoch and every worker through one memory map."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable
from recipes.od_seg import shape
from recipes.od_seg.scene import Sample

_PICTURES, _AREAS, _OBJECTS = "pictures.npy", "areas.npy", "objects.npz"


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """`count` fitted samples."""

    pictures: NDArray[np.uint8]  # (count, 288, 512, 3)
    areas: NDArray[np.uint8]  # (count, 144, 256)
    boxes: NDArray[np.float32]  # (objects, 4)
    class_ids: NDArray[np.int64]  # (objects,)
    starts: NDArray[np.int64]  # (count + 1,): the objects of sample i are starts[i] .. starts[i + 1]
    folder: Path

    def __len__(self) -> int:
        return len(self.pictures)

    def __reduce__(self) -> tuple[Callable[[Path], Pack], tuple[Path]]:
        return load, (self.folder,)  # a worker opens the same files: the pictures themselves never travel

    def sample(self, index: int) -> Sample:
        """One of them."""
        mine = slice(self.starts[index], self.starts[index + 1])
        return Sample(np.array(self.pictures[index]), self.boxes[mine], self.class_ids[mine], np.array(self.areas[index]))


def pack(samples: Iterable[Sample], count: int, folder: Path, tell: Callable[[], object] = lambda: None) -> Pack:
    """Writes `count` fitted samples below `folder`; `tell` is called after each. Raises FileUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pictures = _opened(folder / _PICTURES, (count, shape.HEIGHT, shape.WIDTH, 3))
        areas = _opened(folder / _AREAS, (count, *shape.MAP))
        boxes, class_ids, starts = [], [], [0]
        for index, one in enumerate(samples):
            pictures[index], areas[index] = one.picture, one.areas
            boxes.append(one.boxes)
            class_ids.append(one.class_ids)
            starts.append(starts[-1] + len(one.boxes))
            tell()
        np.savez(folder / _OBJECTS, boxes=np.concatenate([np.zeros((0, 4), np.float32), *boxes]),
                 class_ids=np.concatenate([np.zeros(0, np.int64), *class_ids]), starts=np.array(starts))  # fmt: skip
        pictures.flush()
        areas.flush()
    except OSError as exc:
        raise FileUnusable.of(exc, folder) from exc
    return load(folder)


def load(folder: Path) -> Pack:
    """What `pack` wrote. Raises FileUnusable."""
    try:
        with np.load(folder / _OBJECTS) as found:
            objects = {name: found[name] for name in ("boxes", "class_ids", "starts")}
        maps = [np.load(folder / name, mmap_mode="r") for name in (_PICTURES, _AREAS)]
    except OSError as exc:
        raise FileUnusable.of(exc, folder) from exc
    return Pack(maps[0], maps[1], **objects, folder=folder)


def _opened(path: Path, size: tuple[int, ...]) -> Any:
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=size)

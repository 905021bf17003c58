"""Pictures with a known answer: what the user says is on them, what the float model saw, and the tensors it saw it with."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.errors import InputError
from camagent.frame import Frame
from camagent.pipeline import UsableBundle, picture_frame, rgb_frame, rgb_pixels
from firmware_pkg.manifest import Expectation, Golden, Manifest

CROWD = 60  # objects beside the declared ones that a picture may have
MOST = 4  # pictures that are looked at; more only cost


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """The very tensors of the day the bundle was built."""

    input: NDArray[np.generic]
    outputs: tuple[NDArray[np.generic], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A picture and its answer. `expect` is empty where what was written down is not what the user says is there."""

    name: str
    frame: Frame
    declared: Mapping[str, int]  # at least so many of each label; from `expect` where the user has said nothing
    expect: tuple[Expectation, ...]
    reference: Reference | None
    mirrored: bool = False

    @property
    def wanted(self) -> int:
        """How many objects there are at least."""
        return sum(self.declared.values())


def known_pictures(bundle: UsableBundle) -> tuple[tuple[Known, ...], tuple[str, ...]]:
    """The bundle's golden pictures, those with most objects first, and sentences about those that cannot be used."""
    trusted = all(_agrees(entry) for entry in bundle.manifest.golden)  # one that disagrees, and the contract was wrong then
    found, problems = [], []
    for entry in bundle.manifest.golden[:MOST]:
        try:
            found.append(_known(entry, bundle.golden, bundle.manifest, trusted=trusted))
        except (InputError, KeyError, ValueError, OSError) as exc:
            problems.append(f"{entry.image}: {exc}")
    return tuple(sorted(found, key=lambda known: -known.wanted)), tuple(problems)


def held_back(known: Known) -> Known:
    """The same picture mirrored and a little darker: what a fix must bring back too, though nobody looked at it."""
    pixels = np.ascontiguousarray(rgb_pixels(known.frame)[:, ::-1])
    darker = cv2.convertScaleAbs(pixels, alpha=0.92)
    mirrored = tuple(_mirrored(item) for item in known.expect)
    frame = rgb_frame(np.asarray(darker, np.uint8))
    return Known(f"{known.name}, mirrored", frame, known.declared, mirrored, None, mirrored=True)


def _agrees(entry: Golden) -> bool:
    """What was seen then is what the user says, and no crowd of nonsense beside it."""
    counts = Counter(item.label for item in entry.expect)
    crowd = len(entry.expect) > CROWD + 4 * sum(entry.declared.values())
    return not crowd and all(counts[label] >= number for label, number in entry.declared.items())


def _known(entry: Golden, files: Mapping[str, bytes], manifest: Manifest, *, trusted: bool) -> Known:
    expect = entry.expect if trusted else ()
    counts = Counter(item.label for item in entry.expect)
    declared = dict(entry.declared) or {label: number for label, number in counts.items() if label in manifest.label_names}
    reference = _reference(files[entry.reference]) if entry.reference else None
    return Known(entry.image, picture_frame(files[entry.image], entry.image), declared, expect, reference)


def _reference(data: bytes) -> Reference | None:
    with np.load(io.BytesIO(data), allow_pickle=False) as stored:
        names = [f"output{index}" for index in range(len(stored.files))]
        if "input" not in stored.files:
            return None
        return Reference(stored["input"], tuple(stored[name] for name in names if name in stored.files))


def _mirrored(item: Expectation) -> Expectation:
    if item.box_norm is None:
        return item
    x1, y1, x2, y2 = item.box_norm
    return Expectation(label=item.label, score=item.score, box_norm=(1 - x2, y1, 1 - x1, y2), share=item.share)

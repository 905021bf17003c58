"""The golden bundle: the model, its contract, and held-out pictures with what is on them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from camagent.cli import run as camagent
from recipes.od_seg import pictures, shape
from recipes.od_seg.classes import ROADS
from recipes.od_seg.scene import Sample, scene
from recipes.od_seg.seeds import seeds_of
from recipes.od_seg.world import Light

NAME = "od-seg-roads"
_LARGE, _NARROW = 0.06, 0.025  # of the picture's width: longer and shorter side from which an object is surely to be seen
_SHARE = 0.03  # of the picture, from which an area is
_PICTURES: tuple[tuple[int, Light], ...] = ((5, "day"), (4, "infrared"))  # of the demo's seeds, chosen by eye
MIN_SCORE = 0.4


@dataclass(frozen=True, slots=True)
class Golden:
    """A picture and what is on it, at least."""

    image: Path
    declared: dict[str, int]

    @property
    def argument(self) -> str:
        """As `camagent bundle create --golden` takes it."""
        wanted = ",".join(f"{label}:{count}" for label, count in self.declared.items())
        return f"{self.image}={wanted}" if wanted else str(self.image)


def declared(sample: Sample) -> dict[str, int]:
    """What a person would say is on it: objects that are large enough to be sure of, and the areas."""
    width = sample.size[0]
    sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
    sure = [ROADS.labels[int(index)] for side, index in zip(sides, sample.class_ids, strict=True)
            if max(side) >= width * _LARGE and min(side) >= width * _NARROW]  # fmt: skip
    areas = {name: 1 for index, name in enumerate(ROADS.areas, len(ROADS.boxes)) if (sample.areas == index).mean() > _SHARE}
    return dict(Counter(sure)) | areas


def write_pictures(folder: Path) -> list[Golden]:
    """The golden pictures: a street by day and one at night, as JPEG."""
    made = []
    seeds = seeds_of("demo", 100, 1)
    for number, light in _PICTURES:
        sample = scene(seeds[number], light=light)
        path = folder / f"street-{light}.jpg"
        pictures.write(path, sample.picture)
        made.append(Golden(path, declared(sample)))
    return made


def create(model: Path, labels: Path, golden: Sequence[Golden], version: str, output: Path) -> int:
    """`camagent bundle create`, which shows the model the pictures; its exit code."""
    arguments = [
        "bundle", "create", str(model), "--name", NAME, "--version", version, "--head", "od-seg", "--labels", str(labels),
        "--scale", f"{shape.SCALE:.8f}", "--min-score", str(MIN_SCORE), "-o", str(output),
    ]  # fmt: skip
    for one in golden:
        arguments += ["--golden", one.argument]
    return camagent(arguments)

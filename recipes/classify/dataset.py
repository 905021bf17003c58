"""Pictures in folders named for their class, `train/battery/..`: written, checked against `dataset.toml`, read."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.errors import InputError, printable
from recipes.classify.classes import CONFIG, Classes, read_classes, words, write_classes
from recipes.classify.draw import picture
from recipes.classify.errors import CountMismatch, StrayClass
from recipes.od_seg import pictures
from recipes.od_seg.lint import inventory

INPUT = 64  # pixels: the network's side


@dataclass(frozen=True, slots=True)
class Dataset:
    """What a checked folder holds; `files`: of each split, picture and class id."""

    root: Path
    classes: Classes
    files: Mapping[str, tuple[tuple[Path, int], ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Pictures as the network gets them, before scaling."""

    pictures: NDArray[np.uint8]  # (n, 64, 64, 3), red first
    class_ids: NDArray[np.int64]  # (n,)

    def few(self, each: int, seed: int) -> Samples:
        """`each` of every class, or all where there are fewer; another seed, others."""
        order = np.random.default_rng(seed).permutation(len(self.class_ids))
        ids = self.class_ids[order]
        chosen = np.concatenate([order[ids == one][:each] for one in np.unique(ids)])
        return Samples(self.pictures[chosen], self.class_ids[chosen])


def generate(folder: Path, classes: Classes, counts: Mapping[str, int], seed: int, tell: Callable[[], object]) -> None:
    """Draws `counts` pictures per class and split. Raises InputError for a folder that is not empty, FileUnusable."""
    if folder.exists() and any(folder.iterdir()):
        raise InputError(
            f"{printable(folder)} is not empty", fix="name a new folder: old pictures would be mixed with new ones"
        )
    write_classes(folder, classes)
    for split, count in counts.items():
        for label in classes.classes:
            for number in range(count):
                pictures.write(folder / split / label / f"{number:05d}.jpg", picture(label, split, number, seed))
                tell()


def open_dataset(root: Path) -> Dataset:
    """The pictures of `root`. Raises InputError, StrayClass, CountMismatch."""
    classes = read_classes(root)
    found = inventory(root)
    # beside the splits, as .git is, they are no loader's business
    strays = tuple(path for path in found.stray_folders if len(path.parts) > 1)
    if strays:
        raise _stray(root, strays)
    for split, names in folders(root).items():
        _agree(split, names, classes)
    loose = next((path for path in found.pictures if len(path.parts) < 3), None)
    if loose is not None:
        raise InputError(f"{printable(loose.as_posix())} lies in no class's folder", evidence={"classes": classes.words},
                         fix="move it into SPLIT/CLASS, such as train/" + printable(classes.classes[0], 64))  # fmt: skip
    files = {
        split: tuple((root / path, classes.classes.index(path.parts[1])) for path in found.pictures if path.parts[0] == split)
        for split in folders(root)
    }
    if not files.get("train"):
        raise InputError(f"{printable(root)} has no pictures in train/", evidence={"expected": "train/CLASS/*.jpg"},
                         fix="put the pictures into train/CLASS and val/CLASS, or draw some with 'generate'")  # fmt: skip
    return Dataset(root, classes, files)


def folders(root: Path) -> dict[str, tuple[str, ...]]:
    """What ImageFolder takes for classes, by split: every folder in it, an empty or hidden one too."""
    splits = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return {split.name: tuple(sorted(path.name for path in split.iterdir() if path.is_dir())) for split in splits}


def read(dataset: Dataset, split: str) -> Samples:
    """Every picture of a split. Raises InputError."""
    files = dataset.files.get(split, ())
    if not files:
        raise InputError(f"{printable(dataset.root)} has no pictures in {split}/",
                         evidence={"splits": ", ".join(dataset.files)}, fix=f"put some into {split}/CLASS")  # fmt: skip
    shown = [fitted(pictures.read(path)) for path, _ in files]
    return Samples(np.stack(shown), np.array([index for _, index in files], np.int64))


def fitted(shown: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(h, w, 3) -> (64, 64, 3), stretched as the bundle has it."""
    return cv2.resize(shown, (INPUT, INPUT), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)


def _stray(root: Path, strays: tuple[Path, ...]) -> StrayClass:
    first = strays[0]
    counted = folders(root).get(first.parts[0], ())
    kept = tuple(name for name in counted if Path(first.parts[0], name) not in strays)
    return StrayClass(
        f"{printable(first.as_posix())} was left by a tool, and whoever counts folders takes "
        f"{'it for a class' if len(first.parts) == 2 else 'its pictures for samples'}",
        evidence={"folders": words(counted), "classes": words(kept)}
        | ({"more of them": len(strays) - 1} if strays[1:] else {}),
        fix=f"move it elsewhere, or delete it: rm -r {printable(shlex.quote((root / first).as_posix()), 1000)}",
    )


def _agree(split: str, names: tuple[str, ...], classes: Classes) -> None:
    if set(names) != set(classes.classes):
        raise CountMismatch(
            f"the folders of {printable(split)}/ are not the classes of {CONFIG}",
            evidence={f"folders of {split}": words(names), CONFIG: classes.words},
            fix=f"name in {CONFIG} what there is a folder for in each split, and nothing else: the head is made from it",
        )

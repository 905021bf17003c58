"""Checkpoints as .npz, readable without torch, and what of one fits a network."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable, InputError, printable
from recipes.classify.classes import CONFIG, Classes
from recipes.classify.errors import CountMismatch, WeightsMisfit

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
HEAD = "head."  # the names of the only layer that depends on the classes begin so
_CLASSES = "classes"


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """A network's arrays by name, and the classes that it was trained for."""

    path: Path
    classes: Classes
    arrays: Mapping[str, NDArray[np.generic]]

    @property
    def shapes(self) -> Shapes:
        """Of the arrays."""
        return {name: tuple(value.shape) for name, value in self.arrays.items()}


@dataclass(frozen=True, slots=True)
class Fit:
    """Which arrays of a checkpoint a network takes; `skipped`: by name, the checkpoint's shape and the network's."""

    taken: tuple[str, ...]
    skipped: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]

    @property
    def sentence(self) -> str:
        """What was loaded and what begins anew."""
        total = len(self.taken) + len(self.skipped)
        if not self.skipped:
            return f"loaded all {total} arrays"
        left = ", ".join(f"{printable(name)} ({_sides(theirs)} there, {_sides(ours)} here)"
                         for name, (theirs, ours) in self.skipped.items())  # fmt: skip
        return f"loaded {len(self.taken)} of {total} arrays, the whole backbone; the head begins anew, skipped: {left}"


def backbone(checkpoint: Checkpoint, network: Shapes) -> Fit:
    """Everything but a head for other classes. Raises WeightsMisfit where the backbone itself is another."""
    theirs = checkpoint.shapes
    skipped = {name: (theirs.get(name, ()), ours) for name, ours in network.items() if theirs.get(name) != ours}
    strange = [name for name in (*skipped, *(name for name in theirs if name not in network)) if not name.startswith(HEAD)]
    if strange:
        name = strange[0]
        raise WeightsMisfit(
            f"{printable(checkpoint.path)} is of another network: {printable(name)} and {len(strange) - 1} more do not fit",
            evidence={"checkpoint": _sides(theirs.get(name, ())), "network": _sides(network.get(name, ()))},
            fix="give a checkpoint that this recipe's 'train' wrote",
        )
    return Fit(tuple(name for name in network if name not in skipped), skipped)


def require_same_head(checkpoint: Checkpoint, classes: Classes) -> None:
    """Before training goes on with everything of it. Raises WeightsMisfit."""
    if checkpoint.classes.classes == classes.classes:
        return
    rows = checkpoint.shapes.get(f"{HEAD}weight", (0,))[0]
    raise WeightsMisfit(
        f"the head in {printable(checkpoint.path)} is for {rows} classes, the data set has {len(classes.classes)}",
        evidence={"checkpoint": checkpoint.classes.words, "data set": classes.words},
        fix="give it as --weights instead of --resume: the backbone is loaded, and the head begins anew",
    )


def write(path: Path, classes: Classes, arrays: Mapping[str, NDArray[np.generic]]) -> None:
    """Raises FileUnusable."""
    members: dict[str, Any] = {_CLASSES: np.frombuffer(msgspec.json.encode(classes), np.uint8), **arrays}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            np.savez(file, **members)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


def read(path: Path) -> Checkpoint:
    """What `write` wrote. Raises InputError; CountMismatch where head and classes of the file do not agree."""
    try:
        arrays = _members(path)
        classes = msgspec.json.decode(arrays.pop(_CLASSES).tobytes(), type=Classes)
    except (OSError, ValueError, EOFError, KeyError, AttributeError, TypeError, zipfile.BadZipFile, msgspec.DecodeError) as exc:
        raise InputError(f"{printable(path)} is no checkpoint of this recipe: {printable(exc)}",
                         fix="give the .npz file that 'train' wrote") from exc  # fmt: skip
    rows = arrays[f"{HEAD}weight"].shape[0] if f"{HEAD}weight" in arrays else 0
    require_count(f"head of {path.name}", rows, f"classes of {path.name}", classes)
    return Checkpoint(path, classes, arrays)


def _members(path: Path) -> dict[str, NDArray[np.generic]]:
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):  # numpy would say how to load it unsafely
            raise zipfile.BadZipFile("it is no .npz")
        file.seek(0)
        with np.load(file, allow_pickle=False) as found:
            return {name: found[name] for name in found.files}


def require_count(what: str, count: int, place: str, classes: Classes) -> None:
    """That an output is as long as a list. `place` says where the list stands. Raises CountMismatch."""
    if count != len(classes.classes):
        raise CountMismatch(
            f"the {printable(what)} gives {count} scores, and {len(classes.classes)} classes are named",
            evidence={printable(what): count, printable(place): classes.words},
            fix=f"train with the {CONFIG} that names the classes: the head is made from it, there is no second place",
        )


def record(path: Path, document: Mapping[str, object]) -> None:
    """How something was made, as JSON. Raises FileUnusable."""
    save(path, (json.dumps(document, indent=1) + "\n").encode())


def save(path: Path, data: bytes) -> None:
    """Old bytes or new ones. Raises FileUnusable."""
    from firmware_pkg import disk

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        disk.write_atomic(path, data)
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


def _sides(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "nothing"

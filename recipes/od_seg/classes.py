"""What a data set is labelled with: objects in boxes, and areas. `dataset.toml` says it; `labels.txt` is the bundle's list."""

from __future__ import annotations

from pathlib import Path

import msgspec
import tomlkit

from camagent.errors import FileUnusable, InputError, printable

CONFIG, LABELS = "dataset.toml", "labels.txt"
BACKGROUND = 255  # in a map of areas: what has no label


class Classes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names in class-id order: those of the boxes, then those of the areas; background has none."""

    boxes: tuple[str, ...]
    areas: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The one list that the model's outputs and the bundle's `labels` follow."""
        return self.boxes + self.areas


ROADS = Classes(("car", "truck", "bus", "person", "bicycle", "sign"), ("road", "sidewalk"))


def read_classes(folder: Path) -> Classes:
    """`folder/dataset.toml`. Raises InputError where it is missing, is no TOML, or names a class twice or none."""
    path = folder / CONFIG
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Classes)
    except OSError as exc:
        raise InputError(
            f"{printable(path)} cannot be read: {exc.strerror}",
            evidence={"expected": f"{CONFIG} with boxes = [..], areas = [..]"},
            fix=f"write {CONFIG} beside the pictures: it says which labels are boxes and which are areas",
        ) from exc  # fmt: skip
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InputError(
            f"{printable(path)} is no list of classes: {printable(exc)}",
            evidence={"expected": "boxes = [..] and areas = [..]"}, fix="mend the line that is named",
        ) from exc  # fmt: skip
    twice = sorted({name for name in found.labels if found.labels.count(name) > 1})
    if twice or not found.boxes:
        raise InputError(
            f"{printable(path)} names {printable(twice[0]) + ' twice' if twice else 'no boxes'}",
            evidence={"labels": ", ".join(found.labels) or "none"}, fix="name every class once, at least one of them a box",
        )  # fmt: skip
    return found


def write_classes(folder: Path, classes: Classes) -> None:
    """Writes both files. Raises FileUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes(tomlkit.dumps(msgspec.to_builtins(classes)).encode())
        (folder / LABELS).write_text("".join(f"{name}\n" for name in classes.labels), "utf-8")
    except OSError as exc:
        raise FileUnusable.of(exc, folder) from exc

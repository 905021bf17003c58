"""Pascal VOC: Annotations/*.xml, JPEGImages/, SegmentationClass/*.png and ImageSets/Main/<split>.txt, and dataset.toml."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable, InputError, printable
from recipes.od_seg import labelme, pictures
from recipes.od_seg.classes import Classes, read_classes, write_classes
from recipes.od_seg.scene import Sample

PICTURES, OBJECTS, AREAS, SETS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main"
VOID = 0  # in a map of areas: background; area i of the classes is i + 1


@dataclass(frozen=True, slots=True)
class Job:
    """One picture to convert."""

    split: str
    drawing: Path  # the Labelme file
    name: str  # without suffix, unique in the VOC folder


def jobs(folder: Path) -> list[Job]:
    """The Labelme files of a data set: those of its subfolders `train`, `val` .., or of itself, which is then `train`."""
    splits = [path for path in sorted(folder.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    found = [(path.name, one) for path in splits for one in sorted(path.glob("*.json"))]
    found += [("train", one) for one in sorted(folder.glob("*.json"))]
    names = [path.stem for _, path in found]
    return [Job(split, path, path.stem if names.count(path.stem) == 1 else f"{split}-{path.stem}") for split, path in found]


def convert(folder: Path, target: Path, tell: Callable[[int, int], None] = lambda *_: None) -> int:
    """Labelme -> VOC; how many pictures. `tell` hears how many of how many are done. Raises InputError, FileUnusable."""
    classes = read_classes(folder)
    todo = jobs(folder)
    if not todo:
        raise InputError(
            f"{printable(folder)} has no Labelme files", evidence={"expected": "train/*.json, val/*.json or *.json"},
            fix="label pictures with Labelme, or draw some with 'generate'",
        )  # fmt: skip
    if target.exists() and any(target.iterdir()):
        raise InputError(
            f"{printable(target)} is not empty", fix="name a new folder: old pictures would be mixed with new ones"
        )
    write_classes(target, classes)
    try:
        for part in (PICTURES, OBJECTS, AREAS, SETS):
            (target / part).mkdir(parents=True)
        for done, job in enumerate(todo, 1):
            _convert(job, target, classes)
            tell(done, len(todo))
        for split in sorted({job.split for job in todo}):
            lines = "".join(f"{job.name}\n" for job in todo if job.split == split)
            (target / SETS / f"{split}.txt").write_text(lines, "utf-8")
    except OSError as exc:
        raise FileUnusable.of(exc, target) from exc
    return len(todo)


def classes_of(folder: Path) -> Classes:
    """The classes of a VOC folder that `convert` wrote. Raises InputError."""
    return read_classes(folder)


def names(folder: Path, split: str) -> list[str]:
    """The pictures of a split. Raises InputError where there is none of that name."""
    path = folder / SETS / f"{split}.txt"
    there = ", ".join(sorted(one.stem for one in (folder / SETS).glob("*.txt"))) or "none"
    try:
        found = path.read_text("utf-8").split("\n")[:-1]
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(f"{printable(folder)} has no split {split!r}", evidence={"splits": there},
                         fix="give a folder that 'voc' wrote, and one of its splits") from exc  # fmt: skip
    if not found:
        raise InputError(f"{printable(folder)} has no pictures in {split!r}", evidence={"splits": there},
                         fix="label some, and convert the data set again")  # fmt: skip
    return found


def read(folder: Path, name: str, classes: Classes) -> Sample:
    """One picture with its boxes and areas. Raises InputError."""
    path = folder / OBJECTS / f"{name}.xml"
    try:
        root = ET.fromstring(path.read_bytes())  # noqa: S314  expat limits what entities may grow to since 2.4
    except (OSError, ET.ParseError) as exc:
        raise InputError(f"{printable(path)} is no annotation: {printable(exc)}", fix="convert the data set again") from exc
    picture = pictures.read(folder / PICTURES / (root.findtext("filename") or ""))
    found = [(_box(one, path), one.findtext("name") or "") for one in root.iter("object")]
    unknown = sorted({label for _, label in found if label not in classes.boxes})
    if unknown:
        raise InputError(f"{printable(path)} has the label {printable(unknown[0])!r}, which is no box class",
                         evidence={"classes": ", ".join(classes.boxes)}, fix="convert the data set again")  # fmt: skip
    boxes = np.array([box for box, _ in found], np.float32).reshape(-1, 4)
    ids = np.array([classes.boxes.index(label) for _, label in found], np.int64)
    return Sample(picture, boxes, ids, _areas(folder / AREAS / f"{name}.png", picture, classes))


def samples(folder: Path, split: str) -> Iterator[Sample]:
    """Every picture of a split. Raises InputError."""
    classes = classes_of(folder)
    for name in names(folder, split):
        yield read(folder, name, classes)


def _convert(job: Job, target: Path, classes: Classes) -> None:
    drawing = labelme.read(job.drawing)
    source = job.drawing.parent / drawing.picture.replace("\\", "/")  # as Windows writes it
    picture = pictures.read(source)
    height, width = picture.shape[:2]
    found = labelme.labels_of(drawing, classes, (width, height), job.drawing.name)
    name = job.name + source.suffix.lower()
    shutil.copyfile(source, target / PICTURES / name)
    (target / OBJECTS / f"{job.name}.xml").write_bytes(_xml(name, (width, height), found, classes))
    planes = found.areas.astype(np.int64) - len(classes.boxes) + 1
    planes[(planes < 1) | (planes > len(classes.areas))] = VOID
    pictures.write(target / AREAS / f"{job.name}.png", planes.astype(np.uint8))


def _xml(name: str, size: tuple[int, int], found: labelme.Labels, classes: Classes) -> bytes:
    root = ET.Element("annotation")
    ET.SubElement(root, "folder").text = PICTURES
    ET.SubElement(root, "filename").text = name
    shape = ET.SubElement(root, "size")
    for key, value in (("width", size[0]), ("height", size[1]), ("depth", 3)):
        ET.SubElement(shape, key).text = str(value)
    ET.SubElement(root, "segmented").text = str(int(bool(classes.areas)))
    for box, index in zip(found.boxes, found.class_ids, strict=True):
        one = ET.SubElement(root, "object")
        ET.SubElement(one, "name").text = classes.boxes[int(index)]
        for key, text in (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
            ET.SubElement(one, key).text = text
        place = ET.SubElement(one, "bndbox")
        x1, y1, x2, y2 = (float(value) for value in box)
        # VOC counts pixels from 1 and includes the last one
        for key, number in (("xmin", x1 + 1), ("ymin", y1 + 1), ("xmax", x2), ("ymax", y2)):
            ET.SubElement(place, key).text = f"{number:g}"
    ET.indent(root)
    made: bytes = ET.tostring(root, encoding="utf-8")
    return made


def _box(one: ET.Element, path: Path) -> tuple[float, float, float, float]:
    place = one.find("bndbox")
    try:
        x1, y1, x2, y2 = (
            float((place.findtext(key) if place is not None else "") or "") for key in ("xmin", "ymin", "xmax", "ymax")
        )
    except ValueError as exc:
        raise InputError(f"{printable(path)} has an object without a box", fix="convert the data set again") from exc
    return x1 - 1, y1 - 1, x2, y2


def _areas(path: Path, picture: NDArray[np.uint8], classes: Classes) -> NDArray[np.uint8]:
    found = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.exists() else None
    if found is None or found.shape != picture.shape[:2]:
        raise InputError(f"{printable(path)} is no map of the picture's size", evidence={"picture": picture.shape[:2]},
                         fix="convert the data set again")  # fmt: skip
    table = np.full(256, 255, np.uint8)
    table[1 : len(classes.areas) + 1] = np.arange(len(classes.boxes), len(classes.labels))
    made: NDArray[np.uint8] = table[found]
    return made

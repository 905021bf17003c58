"""What spoils a data set without an error message: stray files, classes that differ from place to place, pictures twice."""

from __future__ import annotations

import difflib
import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from camagent import labels as label_lists
from camagent.errors import InputError, printable
from recipes.od_seg import labelme, pictures
from recipes.od_seg.classes import CONFIG, LABELS, Classes, read_classes

CODES: Mapping[str, str] = MappingProxyType({
    "STRAY_FOLDER": "A folder that a tool left behind; whoever counts folders counts it as a class.",
    "STRAY_FILE": "A file that is neither picture nor annotation.",
    "CLASS_COUNT": "Folders, label list and configuration do not have the same classes.",
    "LABEL_UNKNOWN": "An annotation has a label that is no class.",
    "LABEL_UNUSED": "No annotation has this class.",
    "CONFIG_INVALID": "The list of classes cannot be read.",
    "PICTURE_UNREADABLE": "A picture cannot be decoded.",
    "PICTURE_DUPLICATE": "Two files hold the same picture.",
    "PICTURE_SIZE": "A picture has another size than its annotation says.",
    "PICTURE_UNLABELLED": "A picture has no annotation.",
    "ANNOTATION_ORPHAN": "An annotation has no picture.",
    "ANNOTATION_EMPTY": "An annotation has no shapes.",
    "ANNOTATION_INVALID": "An annotation is no Labelme file, or a shape has no inside or lies outside the picture.",
    "NOTHING": "There are no pictures.",
})  # fmt: skip

_CHECKPOINTS = (".ipynb_checkpoints", ".checkpoint", "checkpoints")
_STRAY_FOLDERS = frozenset({*_CHECKPOINTS, "__MACOSX", "__pycache__", "@eaDir", ".AppleDouble", ".Trashes"})
_KEPT_FILES = frozenset({CONFIG, LABELS, "README.md", "README.txt", "README", "LICENSE", "LICENSE.txt"})
_SHOWN = 6


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """One thing to mend: where, and in a sentence what."""

    code: str
    path: str  # relative to the data set
    sentence: str


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files of a data set by what they are, each relative to it."""

    root: Path
    pictures: tuple[Path, ...]
    drawings: tuple[Path, ...]
    strays: tuple[Path, ...]
    stray_folders: tuple[Path, ...]

    @property
    def class_folders(self) -> bool:
        """Whether this is a data set of classification: pictures in folders named for their class, and nothing drawn."""
        return not self.drawings and any(len(path.parts) > 1 for path in self.pictures)


def inventory(root: Path) -> Inventory:
    """Looks through `root`, which is only read. Raises InputError where it is no folder."""
    if not root.is_dir():
        raise InputError(f"{printable(root)} is no folder", fix="give the folder that holds the pictures")
    shots: list[Path] = []
    drawings: list[Path] = []
    strays: list[Path] = []
    folders: list[Path] = []
    for path in sorted(_walk(root, folders)):
        known = drawings if path.suffix.lower() == ".json" else shots if pictures.is_picture(path) else strays
        if path.name not in _KEPT_FILES:
            (strays if path.name.startswith(".") else known).append(path.relative_to(root))
    return Inventory(
        root, tuple(shots), tuple(drawings), tuple(strays), tuple(path.relative_to(root) for path in sorted(folders))
    )


def lint(root: Path, tell: Callable[[int, int], None] = lambda *_: None) -> list[Finding]:
    """Everything that is found, by code and place. `tell` hears how many of how many pictures are read. Raises InputError."""
    found = inventory(root)
    findings = [*_strays(found), *_pictures(found, tell)]
    if found.class_folders:
        findings += _folders(found)
    else:
        findings += _annotations(found)
    return sorted(findings)


def _walk(folder: Path, strays: list[Path]) -> Iterator[Path]:
    """Files below; folders that a tool left behind are collected and not entered."""
    for path in folder.iterdir():
        if not path.is_dir():
            yield path
        elif path.name in _STRAY_FOLDERS or path.name.startswith("."):
            strays.append(path)
        else:
            yield from _walk(path, strays)


def _strays(found: Inventory) -> Iterator[Finding]:
    for path in found.stray_folders:
        count = sum(1 for one in (found.root / path).rglob("*") if one.is_file())
        yield _finding("STRAY_FOLDER", path, f"was left by a tool ({count} files): delete it, or it is counted as a class")
    for path in found.strays:
        yield _finding("STRAY_FILE", path, "is neither picture nor annotation: delete it or move it elsewhere")
    if not found.pictures:
        yield Finding("NOTHING", ".", f"{printable(found.root)} has no pictures ({', '.join(sorted(pictures.SUFFIXES))})")


def _pictures(found: Inventory, tell: Callable[[int, int], None]) -> Iterator[Finding]:
    """Decodes each; the same pixels twice are a leak where they lie in two splits."""
    seen: dict[bytes, Path] = {}
    for done, path in enumerate(found.pictures, 1):
        try:
            picture = pictures.read(found.root / path)
        except InputError:
            yield _finding("PICTURE_UNREADABLE", path, "cannot be decoded: take it out or save it again")
        else:
            digest = hashlib.sha256(repr(picture.shape).encode() + picture.tobytes()).digest()
            first = seen.setdefault(digest, path)
            if first != path:
                apart = first.parts[0] != path.parts[0] and len(path.parts) > 1
                why = "a model is then tested on what it was trained on" if apart else "it counts twice"
                if found.class_folders and first.parent.name != path.parent.name:
                    why = f"is it {_quoted(first.parent.name)} or {_quoted(path.parent.name)}?"
                yield _finding("PICTURE_DUPLICATE", path, f"is the same picture as {_name(first)}: {why}")
            yield from _size(found, path, (picture.shape[1], picture.shape[0]))
        tell(done, len(found.pictures))


def _size(found: Inventory, path: Path, size: tuple[int, int]) -> Iterator[Finding]:
    drawing = path.with_suffix(".json")
    if drawing not in found.drawings:
        return
    try:
        said = labelme.read(found.root / drawing)
    except InputError:
        return  # told as ANNOTATION_INVALID
    if (said.width or size[0], said.height or size[1]) != size:
        yield _finding("PICTURE_SIZE", path, f"is {size[0]} x {size[1]}, its annotation says {said.width} x {said.height}: "
                       "it was scaled or turned after it was labelled")  # fmt: skip
        return
    for shape in said.shapes:
        try:
            left, top, right, bottom = labelme.bounds(shape, size, drawing.name)
        except InputError:
            continue  # told as ANNOTATION_INVALID
        if right - left < 1 or bottom - top < 1:
            yield _finding("ANNOTATION_INVALID", drawing, f"has a {_quoted(shape.label)} that lies outside the picture")


def _annotations(found: Inventory) -> Iterator[Finding]:
    paired = {path.with_suffix("") for path in found.pictures}
    drawn = {path.with_suffix("") for path in found.drawings}
    for path in found.pictures:
        if path.with_suffix("") not in drawn:
            yield _finding("PICTURE_UNLABELLED", path, "has no annotation: label it, or take it out")
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    first: dict[str, Path] = {}
    for path in found.drawings:
        if path.with_suffix("") not in paired:
            yield _finding("ANNOTATION_ORPHAN", path, "has no picture of its name: delete it, or bring the picture back")
        try:
            drawing = labelme.read(found.root / path)
            for shape in drawing.shapes:
                labelme.bounds(shape, (1 << 20, 1 << 20), path.name)
        except InputError as exc:
            yield _finding("ANNOTATION_INVALID", path, f"cannot be used: {exc.what}")
            continue
        if not drawing.shapes:
            yield _finding(
                "ANNOTATION_EMPTY", path, "has no shapes: label the picture, or take both out if nothing is on it by mistake"
            )
        for shape in drawing.shapes:
            labels[path.parts[0] if len(path.parts) > 1 else "."][shape.label] += 1
            first.setdefault(shape.label, path)
    yield from _classes(found.root, labels, first)


def _classes(root: Path, labels: Mapping[str, Counter[str]], first: Mapping[str, Path]) -> Iterator[Finding]:
    """The four places that say what classes there are: configuration, label list, annotations, each split of them."""
    classes: Classes | None = None
    if (root / CONFIG).exists():
        try:
            classes = read_classes(root)
        except InputError as exc:
            yield Finding("CONFIG_INVALID", CONFIG, exc.what)
    listed = _listed(root)
    if isinstance(listed, Finding):
        yield listed
        listed = None
    if classes and listed and listed != classes.labels:
        yield Finding("CLASS_COUNT", LABELS, _differ(f"{LABELS} has", listed, f"{CONFIG} has", classes.labels))
    wanted = classes.labels if classes else listed
    used = sorted(set().union(*labels.values())) if labels else []
    if wanted:
        for label in used:
            if label not in wanted:
                near = difflib.get_close_matches(label, wanted, 1)
                hint = f": is {_quoted(near[0])} meant?" if near else ""
                yield _finding("LABEL_UNKNOWN", first[label], f"has the label {_quoted(label)}, which is no class{hint}")
        for label in wanted:
            if labels and label not in used:
                yield Finding("LABEL_UNUSED", CONFIG if classes else LABELS, f"no annotation has the class {_quoted(label)}")
    yield from _splits({split: set(counts) & set(wanted or counts) for split, counts in labels.items()})


def _listed(root: Path) -> tuple[str, ...] | Finding | None:
    if not (root / LABELS).exists():
        return None
    try:
        return label_lists.read(str(root / LABELS))
    except InputError as exc:
        return Finding("CONFIG_INVALID", LABELS, exc.what)


def _folders(found: Inventory) -> Iterator[Finding]:
    """A data set of classification: the folders are the classes, in each split the same ones, and as many as are listed."""
    deep = any(len(path.parts) > 2 for path in found.pictures)
    splits: dict[str, set[str]] = defaultdict(set)
    for path in found.pictures:
        if len(path.parts) > (2 if deep else 1):
            splits[path.parts[0] if deep else "."].add(path.parts[1 if deep else 0])
    # an empty class folder and a stray one count for whoever lists folders
    yield from _splits(splits)
    listed = _listed(found.root)
    if isinstance(listed, Finding):
        yield listed
    elif listed:
        for split, classes in sorted(splits.items()):
            if set(listed) != classes:
                folders = f"the folders of {printable(split)} are" if deep else "the folders are"
                yield Finding("CLASS_COUNT", split, _differ(f"{LABELS} has", listed, folders, tuple(sorted(classes))))


def _splits(classes: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What one split has and another has not."""
    everything = set().union(*classes.values()) if classes else set()
    for split, mine in sorted(classes.items()):
        if len(classes) > 1 and mine != everything:
            missing = ", ".join(_quoted(name) for name in sorted(everything - mine)[:_SHOWN])
            yield Finding(
                "CLASS_COUNT", split, f"{printable(split)} has {len(mine)} classes of {len(everything)}: {missing} missing"
            )


def _differ(what: str, one: Iterable[str], other_what: str, other: Iterable[str]) -> str:
    mine, theirs = tuple(one), tuple(other)
    only = [_quoted(name) for name in (*mine, *theirs) if (name in mine) != (name in theirs)][:_SHOWN]
    why = f"only in one of them: {', '.join(only)}" if only else "the same ones in another order"
    return f"{what} {len(mine)} classes, {other_what} {len(theirs)}; {why}"


def _finding(code: str, path: Path, rest: str) -> Finding:
    return Finding(code, path.as_posix(), f"{_name(path)} {rest}")


def _name(path: Path) -> str:
    return printable(path.as_posix())


def _quoted(label: str) -> str:
    return f"'{printable(label, 64)}'"

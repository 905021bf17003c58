"""Which classes there are, in class-id order, and what each counts under. `dataset.toml` says it beside the pictures."""

from __future__ import annotations

from pathlib import Path

import msgspec
import tomlkit

from camagent.errors import FileUnusable, InputError, printable

CONFIG = "dataset.toml"
_SHOWN = 12


class Classes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Names in class-id order; `groups`: what a class counts under, where it does."""

    classes: tuple[str, ...]
    groups: dict[str, str] = {}

    @property
    def words(self) -> str:
        """For evidence: how many and which."""
        return words(self.classes)


NINE = Classes(
    ("apple core", "banana peel", "battery", "drink can", "glass bottle", "light bulb", "milk carton", "newspaper", "paper cup")
)
TWO = Classes(("cardboard box", "disposable box"), {"cardboard box": "recyclable", "disposable box": "other waste"})
SETS = {"nine": NINE, "two": TWO}


def words(names: tuple[str, ...]) -> str:
    """`2: cardboard box, disposable box`."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)}: {', '.join(printable(name, 64) for name in names[:_SHOWN])}{more}"


def read_classes(folder: Path) -> Classes:
    """`folder/dataset.toml`. Raises InputError where it is missing, is no TOML, or names a class twice or none."""
    path = folder / CONFIG
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Classes)
    except OSError as exc:
        raise InputError(
            f"{printable(path)} cannot be read: {exc.strerror}", evidence={"expected": f"{CONFIG} with classes = [..]"},
            fix=f"write {CONFIG} beside train/ and val/: classes = [..], the folders' names in class-id order",
        ) from exc  # fmt: skip
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise InputError(
            f"{printable(path)} is no list of classes: {printable(exc)}",
            evidence={"expected": "classes = [..] and, where classes count under others, [groups]"},
            fix="mend the line that is named",
        ) from exc
    names = found.classes
    wrong = [f"{name} twice" for name in names if names.count(name) > 1]
    wrong += [f"the group of {name}, which is no class" for name in found.groups if name not in names]
    if wrong or len(names) < 2:
        said = printable(wrong[0]) if wrong else "fewer than two classes"
        raise InputError(f"{printable(path)} names {said}", evidence={"classes": found.words},
                         fix="name every class once, at least two, and groups of these only")  # fmt: skip
    return found


def write_classes(folder: Path, classes: Classes) -> None:
    """Raises FileUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CONFIG).write_bytes(tomlkit.dumps(msgspec.to_builtins(classes)).encode())
    except OSError as exc:
        raise FileUnusable.of(exc, folder) from exc

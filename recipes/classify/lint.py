"""od_seg's lint, which knows folders named for their class, and beside it whether `dataset.toml` agrees with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from camagent.errors import InputError
from recipes.classify.classes import CONFIG, read_classes
from recipes.classify.dataset import folders
from recipes.od_seg.lint import Finding, inventory
from recipes.od_seg.lint import lint as usual


def lint(root: Path, tell: Callable[[int, int], None] = lambda *_: None) -> list[Finding]:
    """Everything that is found, by code and place. Raises InputError where `root` is no folder."""
    return sorted([*usual(root, tell), *_against_config(root)])


def _against_config(root: Path) -> list[Finding]:
    try:
        classes = read_classes(root)
    except InputError as exc:
        return [Finding("CONFIG_INVALID", CONFIG, f"{exc.what}: {exc.fix}")]
    strays = inventory(root).stray_folders
    found = []
    for split, counted in folders(root).items():
        names = {name for name in counted if Path(split, name) not in strays}
        wrong = [f"a folder {name!r} that is no class" for name in sorted(names - set(classes.classes))]
        wrong += [f"no folder {name!r}" for name in classes.classes if name not in names]
        if wrong:
            found.append(Finding("CLASS_COUNT", split, f"{CONFIG} has {len(classes.classes)} classes, {split} has {len(names)} "
                                 f"folders: {', '.join(wrong[:6])}"))  # fmt: skip
    return found

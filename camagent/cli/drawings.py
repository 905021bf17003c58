"""Where `infer` draws: one file per picture, one per video, and never one that it reads or has drawn already."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from pathlib import Path

from camagent.errors import InputError, printable


class Drawings:
    """Names the files of one output folder. A name that is taken gets a number: street.jpg, street-2.jpg .."""

    def __init__(self, folder: Path, inputs: Sequence[str]) -> None:
        """Makes the folder. Raises InputError where that is not possible."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise InputError(
                f"the folder {printable(folder)} cannot be made: {exc.strerror}", fix="name another --out folder"
            ) from exc
        self.folder = folder
        paths = [Path(text).resolve() for text in inputs if "://" not in text]
        self._files = {path for path in paths if path.is_file()}
        self._folders = {path for path in paths if path.is_dir()}
        self._drawn: set[Path] = set()

    def place(self, stem: str, suffix: str) -> Path:
        """The file to draw into."""
        for number in count(1):
            path = self.folder / (f"{stem}{suffix}" if number == 1 else f"{stem}-{number}{suffix}")
            if path not in self._drawn and not self._is_input(path):
                self._drawn.add(path)
                return path
        raise AssertionError("numbers do not end")

    def _is_input(self, path: Path) -> bool:
        real = path.resolve()
        return real in self._files or (real.parent in self._folders and real.exists())

"""Picture files of a data set: found, read, written."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from camagent.errors import FileUnusable, InputError, printable

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def is_picture(path: Path) -> bool:
    """By its name."""
    return path.suffix.lower() in SUFFIXES


def read(path: Path) -> NDArray[np.uint8]:
    """(height, width, 3), red first. Raises InputError where it is no picture."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise InputError(f"{printable(path)} cannot be read: {exc.strerror}", fix="check the path and its rights") from exc
    found = None
    if data:
        try:
            found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error as exc:
            raise _no_picture(path) from exc
    if found is None:
        raise _no_picture(path)
    return found.astype(np.uint8, copy=False)


def write(path: Path, picture: NDArray[np.uint8], quality: int = 92) -> None:
    """Writes red-first pixels, or a single channel, as the suffix says. Raises FileUnusable."""
    shown = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    options = [cv2.IMWRITE_JPEG_QUALITY, quality] if path.suffix.lower() in {".jpg", ".jpeg"} else []
    _, data = cv2.imencode(path.suffix, shown, options)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.tobytes())
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc


def _no_picture(path: Path) -> InputError:
    return InputError(f"{printable(path)} is no picture that can be decoded", fix="take the file out, or save it again")

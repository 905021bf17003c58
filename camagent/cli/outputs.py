"""Files that commands write for people: the old bytes or the new ones, never a mix."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile

from camagent.errors import FileUnusable


def write_file(path: Path, data: bytes) -> None:
    """Raises FileUnusable; nothing is left behind then, and a former file of that name is as it was."""
    try:
        with NamedTemporaryFile(dir=path.parent, prefix=".camagent-", delete=False) as file:
            try:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.replace(file.name, path)  # noqa: PTH105
            except BaseException:
                with suppress(OSError):  # the first error is the one to tell
                    Path(file.name).unlink()
                raise
    except OSError as exc:
        raise FileUnusable.of(exc, path) from exc

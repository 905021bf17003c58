"""A stranger's backends in the box's environment: those that fail in chosen ways."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.camera.box import Box
from tests.support.plugin import install_failing_backends

SITE_PACKAGES = "/usr/lib/camagent/lib/python3.11/site-packages"


def put_failing_backends(box: Box) -> None:
    """They count from the next start of the agent."""
    with tempfile.TemporaryDirectory() as name:
        made = Path(install_failing_backends(Path(name) / "made"))
        for path in made.rglob("*"):
            if path.is_file():
                box.put(f"{SITE_PACKAGES}/{path.relative_to(made)}", path.read_bytes())

"""The reference implementation, the package `model-signing`, in a virtual environment of its own, kept per machine."""

from __future__ import annotations

import fcntl
import subprocess
import tempfile
import venv
from pathlib import Path

import pytest

REQUIREMENTS = ["model-signing==1.1.1", "pyopenssl"]
HOME = Path(tempfile.gettempdir()) / "camagent-model-signing-1.1.1"


def reference_tool() -> Path:
    """Its environment. Installed once per machine; skips where there is no package index."""
    with (HOME.with_suffix(".lock")).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = HOME / "ready"
        if not ready.exists():
            venv.create(HOME, with_pip=True, clear=True)
            install: list[str | Path] = [HOME / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS]
            done = subprocess.run(install, capture_output=True, text=True, timeout=240)
            if done.returncode:
                pytest.skip(f"cannot install {REQUIREMENTS[0]}: {done.stderr.strip()[-200:]}")
            ready.touch()
    return HOME

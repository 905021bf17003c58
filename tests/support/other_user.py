"""A command as another user, without rights, even where the interpreter lies in a folder that only root may enter."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

UID = 24681  # nobody has it
_OPEN_THE_WAY = """
set -e
closed=$1 base=$2; shift 2
kept=$(mktemp -d)
mount --bind "$base" "$kept"
mount -t tmpfs -o mode=755,size=64k none "$closed"
mkdir -p "$base"
mount --bind "$kept" "$base"
exec "$@"
"""


def open_way() -> list[str]:
    """What to put before a command of root that becomes another user while it runs, and still imports then."""
    if os.geteuid() != 0 or not shutil.which("setpriv") or not shutil.which("unshare"):
        pytest.skip("only root can become another user, with setpriv and unshare")
    base = Path(sys.base_prefix).resolve()
    closed = next((path for path in reversed(base.parents) if not path.stat().st_mode & 0o001), None)
    if closed is None:
        return []
    return ["unshare", "--mount", "sh", "-c", _OPEN_THE_WAY, "sh", str(closed), str(base)]


def as_other_user() -> list[str]:
    """What to put before a command of user UID. Skips where that is barred."""
    prefix = [*open_way(), "setpriv", "--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs"]
    code = "import camagent, av, onnxruntime"
    tried = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    if tried.returncode:
        pytest.skip(f"another user cannot run this environment: {tried.stderr[-200:]}")
    return prefix


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own is root's."""
    with tempfile.TemporaryDirectory(prefix="camagent-open-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder

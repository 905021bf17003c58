"""Ctrl-C in tests: who starts them in the background has SIGINT ignored, and every child inherits that."""

from __future__ import annotations

import sys
from collections.abc import Sequence

_HEED = "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])"
_IGNORE = _HEED.replace("SIG_DFL", "SIG_IGN")


def heeding(command: Sequence[str]) -> list[str]:
    """The same command, which SIGINT ends whatever the tests themselves were started with."""
    return [sys.executable, "-c", _HEED, *command]


def ignoring(command: Sequence[str]) -> list[str]:
    """The same command as a script's `&` starts it."""
    return [sys.executable, "-c", _IGNORE, *command]

"""What only the extra `train` brings: torch, and the tools of a workstation."""

from __future__ import annotations

from importlib.util import find_spec

from camagent.errors import ExtraMissing


def require(*modules: str) -> None:
    """Raises ExtraMissing where this installation lacks one of them."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise ExtraMissing(
            f"this step needs {' and '.join(missing)}",
            evidence={"found": "camagent without the extra 'train'", "expected": ", ".join(modules)},
            fix="on a workstation: pip install 'camagent[train]'",
        )

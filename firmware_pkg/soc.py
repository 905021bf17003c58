"""Which SoCs are one and the same to a model file, a bundle's `compatible` and its targets."""

from __future__ import annotations

from collections.abc import Collection

ANY = "*"
_SAME = {"rk3568": "rk3566", "rk3588s": "rk3588", "rk3588f": "rk3588"}


def canonical(soc: str) -> str:
    """One name for all SoCs that run the same files: rk3568 is rk3566, rk3588s and rk3588f are rk3588."""
    name = soc.strip().lower()
    return _SAME.get(name, name)


def fits(device: str, listed: Collection[str]) -> bool:
    """True where `listed` (a bundle's `compatible`, an artifact's `targets`) names this device, one equal to it, or `*`."""
    return ANY in listed or canonical(device) in {canonical(entry) for entry in listed}

"""SoCs: which are one and the same to a model file, a bundle's `compatible` and its targets, and which have an NPU."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from types import MappingProxyType

ANY = "*"
_SAME = {"rk3568": "rk3566", "rk3588s": "rk3588", "rk3588f": "rk3588"}

# cores of the NPU that RKNNLite runs on, by the name that stands for all equal SoCs (canonical)
NPU_CORES: Mapping[str, int] = MappingProxyType({"rk3562": 1, "rk3566": 1, "rk3576": 2, "rk3588": 3, "rv1126b": 1})


def canonical(soc: str) -> str:
    """One name for all SoCs that run the same files: rk3568 is rk3566, rk3588s and rk3588f are rk3588."""
    name = soc.strip().lower()
    return _SAME.get(name, name)


def fits(device: str, listed: Collection[str]) -> bool:
    """True where `listed` (a bundle's `compatible`, an artifact's `targets`) names this device, one equal to it, or `*`."""
    return ANY in listed or canonical(device) in {canonical(entry) for entry in listed}


def named_in(compatible: Sequence[str]) -> str:
    """The SoC among the `vendor,name` entries of a device tree's `compatible`, most special first; "" where there is none.

    Boards put themselves first and their SoC anywhere behind, or nowhere: `rockchip,rk3588s-orangepi-5` alone names one too.
    Where no entry is a SoC with an NPU that is known here, it is the last one: by convention the most general.
    """
    names = [entry.partition(",")[2].strip().lower() for entry in compatible if "," in entry]
    known = (name for name in names if canonical(name) in NPU_CORES)
    boards = (name.partition("-")[0] for name in names if canonical(name.partition("-")[0]) in NPU_CORES)
    return next(known, None) or next(boards, None) or (names[-1] if names else "")

"""What is compared before a Rockchip model is loaded, and right after: SoC, device files, runtime, toolkit, driver. Pure.

A mismatch that keeps the model from running is an error; one that need not is a sentence. Both show both sides.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from camagent.backends.rknn_words import CANNOT_OPEN
from camagent.errors import (
    BackendError,
    ModelFileBad,
    NpuAbsent,
    NpuPermissionDenied,
    NpuRuntimeMissing,
    NpuSubmitFailed,
    RuntimeVersionMismatch,
)
from camagent.npu import RUNTIME, Npu
from firmware_pkg import soc
from firmware_pkg.rknn_file import RknnFacts

Version: TypeAlias = tuple[int, ...]

# format version of a file -> the oldest librknnrt that reads it, which is that of the toolkit that first wrote it
_READS: Mapping[int, Version] = MappingProxyType({4: (1, 5, 0), 6: (1, 5, 2)})
# librknnrt 1.5.2 and 1.6.0 themselves recommend this driver or a newer one; what later ones ask for they say by themselves
_DRIVER: Version = (0, 8, 8)
_LET_IN = "install the udev rule 70-camagent.rules, or give the device files to a group of the agent's user"


def require(facts: RknnFacts, npu: Npu) -> None:
    """Whether this model can run on this board at all.

    Raises:
        NpuAbsent: the SoC has no NPU that is known, the kernel does not drive it, or the device tree switches it off.
        ModelFileBad: the file was built for other SoCs.
        NpuPermissionDenied: this user may not open the NPU's device files.
        NpuRuntimeMissing: there is no librknnrt.so.
        RuntimeVersionMismatch: librknnrt.so is too old for the file's format.
    """
    if not npu.cores and not npu.files:
        raise NpuAbsent(
            "no NPU on this device",
            evidence={**npu.evidence(), "SoCs with one": ", ".join(sorted(soc.NPU_CORES))},
            fix='give the bundle an onnx artifact for this device, or set [[camera]] backend = "onnx"',
        )
    if not soc.fits(npu.soc, facts.targets):
        raise ModelFileBad(
            "the model was built for another SoC",
            evidence={"model is for": ", ".join(facts.targets) or "none that it names", "this device": npu.soc or "unknown"},
            fix=f"convert the model for {npu.soc or 'this SoC'}, and build the bundle with it",
        )
    _require_driver(npu)
    if not npu.runtime:
        raise _without_runtime(facts, npu)
    _require_format(facts, npu)


def _without_runtime(facts: RknnFacts, npu: Npu) -> NpuRuntimeMissing:
    if npu.misplaced:
        return NpuRuntimeMissing(
            "the NPU's runtime lies where RKNNLite does not look",
            evidence={"found": npu.misplaced, "looked for": f"/{RUNTIME}"},
            fix=f"ln -s {npu.misplaced} /{RUNTIME}",
        )
    return NpuRuntimeMissing(
        f"the NPU's runtime {RUNTIME.rpartition('/')[2]} is not installed",
        evidence={"looked for": f"/{RUNTIME}", "model's toolkit": facts.toolkit},
        fix=f"copy it, of version {_plain(facts.toolkit)} or newer, from Rockchip's rknn-toolkit2 to /{RUNTIME}",
    )


def _require_driver(npu: Npu) -> None:
    if not npu.files:
        off = npu.tree_status not in ("", "okay", "ok")
        raise NpuAbsent(
            "the NPU is switched off in the device tree" if off else "no NPU on this device: the kernel does not drive it",
            evidence=npu.evidence() | ({"NPU in the device tree": npu.tree_status} if npu.tree_status else {}),
            fix="switch the node npu on with the board's overlay and reboot" if off
            else "boot a kernel with Rockchip's RKNPU driver (the vendor's, 5.10 or 6.1: mainline's rocket driver is another)",
        )  # fmt: skip
    if not npu.reachable:
        raise NpuPermissionDenied("this user may not open the NPU", evidence=_rights(npu), fix=_LET_IN)


def refined(error: BackendError, npu: Npu) -> BackendError:
    """'need to insmod rknpu driver' is said of every failure to open it; where its files are there, it is another one."""
    if error.what != CANNOT_OPEN or not npu.files:
        return error
    if npu.closed:
        return NpuPermissionDenied("this user may not open the NPU", evidence={**error.evidence, **_rights(npu)}, fix=_LET_IN)
    what = "the NPU's driver is there, may be opened, and does not answer the runtime"
    fix = "restart the device; if it comes back, update kernel driver and librknnrt.so"
    return NpuSubmitFailed(what, evidence={**error.evidence, "device files": ", ".join(npu.files)}, fix=fix)


def _rights(npu: Npu) -> dict[str, object]:
    groups = " ".join(map(str, sorted({os.getegid(), *os.getgroups()})))
    return {"closed": ", ".join(npu.closed), "user": f"uid {os.geteuid()}, groups {groups}"}


def _require_format(facts: RknnFacts, npu: Npu) -> None:
    wanted, have = _READS.get(facts.format_version), version(npu.runtime_version)
    if wanted and have and have < wanted:
        raise RuntimeVersionMismatch(
            f"librknnrt {npu.runtime_version} cannot read models of format {facts.format_version}: {_dotted(wanted)} can",
            evidence={
                "model": f"format {facts.format_version}, toolkit {facts.toolkit}",
                "librknnrt": f"{npu.runtime_version} ({npu.runtime})",
            },
            fix=f"install librknnrt.so {_plain(facts.toolkit)} or newer: it says 'Invalid RKNN model version' otherwise",
        )


def doubts(facts: RknnFacts, runtime: str, lite: str) -> list[str]:
    """Version differences that need not matter, a sentence each: the model's toolkit, the Python package, librknnrt."""
    found = []
    model, have, python = version(facts.toolkit), version(runtime), version(lite)
    if have and model[:2] > have[:2]:
        found.append(
            f"the model was made by toolkit {facts.toolkit} and librknnrt is {runtime}: an older runtime may lack operators or "
            "calculate otherwise"
        )
    if have and python and python[:2] != have[:2]:
        found.append(f"rknn-toolkit-lite2 is {lite} and librknnrt is {runtime}: they are meant to be of one version")
    return found


def driver_doubts(driver: str, runtime: str) -> list[str]:
    """The same for the kernel's driver, which is known for certain once it is open."""
    have = version(driver)
    if have and have < _DRIVER:
        return [f"the NPU's driver is {driver} and librknnrt {runtime or '(unknown)'} recommends {_dotted(_DRIVER)} or newer"]
    return []


def version(text: str) -> Version:
    """`2.3.2 (429f97ae6b@2025-04-09)` or `1.6.0+81f21f4d` -> (2, 3, 2); empty where there is none."""
    found = re.search(r"(\d+)\.(\d+)\.(\d+)", text)
    return tuple(int(part) for part in found.groups()) if found else ()


def _plain(toolkit: str) -> str:
    return _dotted(version(toolkit)) or "2.3.2"


def _dotted(parts: Version) -> str:
    return ".".join(map(str, parts))

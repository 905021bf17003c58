"""What RKNNLite's failures mean. It returns -1 or None, whatever happened, and prints the reason: words -> error. Pure.

The words are those of librknnrt 1.3 to 2.3 and RKNNLite 2.x in public threads; the codes are of rknn_api.h.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from camagent.errors import (
    BackendError,
    MemoryExhausted,
    ModelFileBad,
    NpuAbsent,
    NpuHung,
    NpuRuntimeMissing,
    NpuSubmitFailed,
    RuntimeVersionMismatch,
)

_SHOWN = 3  # lines of the runtime's own words
# not failures: RKNNLite's W, I and D lines. One of them names RKNN_ERR_MODEL_INVALID at every start of a model of fixed size
_TALK = re.compile(r"^\s*[WID] ")
_CODE = re.compile(r"RKNN_ERR_[A-Z_]+")


@dataclass(frozen=True, slots=True)
class Meaning:
    """`what` follows the words 'the NPU's runtime', or stands alone."""

    error: type[BackendError]
    what: str
    fix: str


_UPDATE = "install librknnrt.so of the model's toolkit version or newer, and the kernel driver that goes with it"
_REBUILD = "convert the model for this SoC: 'camagent model inspect' shows what a file was built for"
_COPY = "copy the model again, or convert and sign it again"
_RESTART = "restart the device; if it comes back, update kernel driver and librknnrt.so"

_TOO_OLD = Meaning(RuntimeVersionMismatch, "librknnrt is too old for this model", _UPDATE)
_DRIVER = Meaning(
    RuntimeVersionMismatch, "the NPU's driver is too old for this librknnrt", "update the kernel, or take an older librknnrt"
)  # fmt: skip
_OTHER_SOC = Meaning(ModelFileBad, "the model was built for another SoC", _REBUILD)
_OPERATOR = Meaning(RuntimeVersionMismatch, "librknnrt does not know an operator of this model", _UPDATE)
_DAMAGED = Meaning(ModelFileBad, "the NPU's runtime cannot read this model", _COPY)
_LOCKED = Meaning(ModelFileBad, "the model is encrypted, or bound to another device", "convert it without encryption")
CANNOT_OPEN = "the NPU's driver cannot be opened"
_NO_DRIVER = Meaning(NpuAbsent, CANNOT_OPEN, "boot a kernel that has Rockchip's RKNPU driver")
_NO_BOARD = Meaning(
    NpuAbsent, "RKNNLite does not know this board", "let it read /proc/device-tree/compatible: containers often hide that file"
)  # fmt: skip
_NO_MEMORY = Meaning(MemoryExhausted, "the NPU's runtime got no memory", "run fewer or smaller models, or raise the CMA pool")
_LATE = Meaning(NpuHung, "the NPU did not come back in time", _RESTART)
_REFUSED = Meaning(NpuSubmitFailed, "the NPU's driver refused a job", _RESTART)
_NO_LIBRARY = Meaning(NpuRuntimeMissing, "librknnrt.so cannot be loaded", "install librknnrt.so into /usr/lib")
_USED_WRONG = Meaning(
    NpuSubmitFailed, "the NPU's runtime does not take this input", "compare the manifest's input with 'camagent model inspect'"
)  # fmt: skip
_FAILED = Meaning(NpuSubmitFailed, "the NPU's runtime failed and gave no reason that is known", _RESTART)

# the first that is found speaks: reasons before the codes that they end in
_WORDS: tuple[tuple[str, Meaning], ...] = (
    (r"invalid rknn model version", _TOO_OLD),
    (r"mismatch driver version", _DRIVER),
    (r"not match the rknpu|target_platform_unmatch|device_unmatch", _OTHER_SOC),
    (r"incompatile", _TOO_OLD),
    (r"unsupport cpu op|register custom op", _OPERATOR),
    (r"invalid rknn[ _](magic|form|from)", _DAMAGED),
    (r"decrypt_failed|key_invalid|soc_bind_failed", _LOCKED),
    (r"insmod rknpu|open rknpu|open rknn device|device_unavailable", _NO_DRIVER),
    (r"specify the target|unsupported run platform|unsupported target", _NO_BOARD),
    (r"malloc|failed to allocate|out of memory|cannot allocate", _NO_MEMORY),
    (r"timeout|timed out", _LATE),
    (r"failed to submit", _REFUSED),
    (r"cannot open shared object|can not find dynamic library|wrong elf class|invalid elf header", _NO_LIBRARY),
    (r"model_invalid|load model failed", _DAMAGED),
    (r"param_invalid|input_invalid|output_invalid|setting inputs|unsupport inputs|ctx_invalid", _USED_WRONG),
)

# rknn_api.h
_CODES: Mapping[int, str] = MappingProxyType({
    -1: "RKNN_ERR_FAIL", -2: "RKNN_ERR_TIMEOUT", -3: "RKNN_ERR_DEVICE_UNAVAILABLE", -4: "RKNN_ERR_MALLOC_FAIL",
    -5: "RKNN_ERR_PARAM_INVALID", -6: "RKNN_ERR_MODEL_INVALID", -7: "RKNN_ERR_CTX_INVALID", -8: "RKNN_ERR_INPUT_INVALID",
    -9: "RKNN_ERR_OUTPUT_INVALID", -10: "RKNN_ERR_DEVICE_UNMATCH", -11: "RKNN_ERR_INCOMPATILE_PRE_COMPILE_MODEL",
    -12: "RKNN_ERR_INCOMPATILE_OPTIMIZATION_LEVEL_VERSION", -13: "RKNN_ERR_TARGET_PLATFORM_UNMATCH",
})  # fmt: skip


def explained(call: str, returned: object, lines: Sequence[str], facts: Mapping[str, object]) -> BackendError:
    """The error that a failed call stands for.

    Args:
        call: RKNNLite's method.
        returned: what it gave instead of 0 or outputs; in words, what it raised.
        lines: what was printed meanwhile.
        facts: both sides, as far as they are known: the model's and the machine's.
    """
    said = [line for line in lines if not _TALK.match(line)]
    code = _code(returned, said)
    # of RKNN_ERR_FAIL nothing follows: it is every failure's
    heard = "\n".join([*said, code, returned if isinstance(returned, str) else ""]).lower()
    meaning = next((meaning for words, meaning in _WORDS if re.search(words, heard)), _FAILED)
    evidence: dict[str, object] = {"call": call, "returned": returned, "expected": "outputs" if call == "inference" else 0}
    evidence |= {"code": code} if code else {}
    evidence |= {"the runtime says": " | ".join(telling(said))} if said else {}
    return meaning.error(meaning.what, evidence={**evidence, **facts}, fix=meaning.fix)


def telling(lines: Iterable[str]) -> list[str]:
    """The lines that say most: errors of the runtime, without Python's tracebacks."""
    found = [line.strip() for line in lines if re.match(r"\s*E RKNN|.*(Exception|Error): ", line)]
    return (found or [line.strip() for line in lines])[:_SHOWN]


def _code(returned: object, said: Sequence[str]) -> str:
    """The code's name: of the number where RKNNLite hands it out, else as it is printed."""
    if isinstance(returned, int) and returned != -1 and returned in _CODES:
        return _CODES[returned]
    if printed := _CODE.findall("\n".join(said)):
        return str(printed[-1])
    return ""

"""Files that other profilers wrote, read by what is in them. A new form is one file and one line in READERS."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from camagent.errors import InputError, printable
from camagent.profiling import read_ascend, read_onnxruntime, read_rknn
from camagent.profiling.recording import Recording

LIMIT_BYTES, LIMIT_LINES = 128 << 20, 1_000_000
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))  # Windows' shell
# form -> (is it one?, what is in it)
READERS: Mapping[str, tuple[Callable[[str], bool], Callable[[str], Recording]]] = MappingProxyType({
    "ONNX Runtime profile (JSON)": (read_onnxruntime.looks_like, read_onnxruntime.read),
    "Rockchip eval_perf or perf_detail text": (read_rknn.looks_like, read_rknn.read),
    "Ascend op_summary or op_statistic (CSV)": (read_ascend.looks_like, read_ascend.read),
})  # fmt: skip


def read_file(path: Path) -> Recording:
    """A profiler's file. Raises InputError: it cannot be read, is too long, is none of the known forms, or has no times."""
    name = printable(path)
    try:
        with path.open("rb") as source:
            data = source.read(LIMIT_BYTES + 1)
    except OSError as exc:
        raise InputError(f"{name} cannot be read: {exc.strerror}", evidence={"file": name}, fix="check the path") from exc
    if len(data) > LIMIT_BYTES or data.count(b"\n") > LIMIT_LINES:
        raise InputError(
            f"{name} is too long to be read",
            evidence={"allowed": f"{LIMIT_BYTES >> 20} MiB, {LIMIT_LINES} lines"},
            fix="record fewer inferences: ten are plenty",
        )
    return read(data, name)


def read(data: bytes, name: str) -> Recording:
    """A profiler's file that is in memory; `name` is only told. Raises InputError."""
    text = _text(data)
    for looks_like, reader in READERS.values():
        if looks_like(text):
            recording = reader(text)
            return _checked(recording, name)
    raise InputError(
        f"{name} is no profile that camagent knows" if text.strip() else f"{name} is empty",
        evidence={"begins with": text.strip()[:60] or "nothing", "known": "; ".join(READERS)},
        fix="give the file as the profiler wrote it, with its line of column names",
    )


def _checked(recording: Recording, name: str) -> Recording:
    if not any(call.us > 0 for call in recording.calls):
        raise InputError(
            f"{name} has no operator with a time",
            evidence={"read as": recording.form, "operators": len(recording.calls), "lines not read": recording.skipped},
            fix="record again, for at least one whole inference",
        )
    return recording


def _text(data: bytes) -> str:
    encoding = next((found for bom, found in _BOMS if data.startswith(bom)), "utf-8")
    return data.decode(encoding, "replace")

"""What Rockchip's converter says when it fails, what that means, and the way round. A row is added per finding."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_BAR = re.compile(r"\d+%\|")
_NOISE = (
    "Traceback",
    "Unkown op target",
    "appears in graph inputs",
    "rknn-toolkit2 version",
    "Set temperate env",
    "Restore temperate env",
)
_TAIL = 3


@dataclass(frozen=True, slots=True)
class Complaint:
    """`says`: searched in the log; its groups fill `cause` and `fix` in."""

    says: re.Pattern[str]
    cause: str
    fix: str

    def met(self, log: str) -> tuple[str, str] | None:
        """Cause and way round; None where the log does not say this."""
        found = self.says.search(log)
        return (found.expand(self.cause), found.expand(self.fix)) if found else None


def _row(says: str, cause: str, fix: str) -> Complaint:
    return Complaint(re.compile(says), cause, fix)


# rknn-toolkit2 2.5.0's own words (tried), and those of earlier versions from public threads
COMPLAINTS: Sequence[Complaint] = (
    _row(
        r"_p_fuse_pad_into_\w+\n.*assignment destination is read-only|assignment destination is read-only",
        "it cannot fold a Pad with constant sizes into the layer behind it",
        "fold it first: camagent model optimize MODEL.onnx --passes fold-pad -o FOLDED.onnx, and convert that",
    ),
    _row(
        r"Unsupport onnx opset (\d+), need (?:<=|>=|==) ?(\d+)",
        r"the model has opset \1, and the converter takes \2 at most",
        r"export it again with opset 12 to \2: torch.onnx.export(.., opset_version=12)",
    ),
    _row(
        r"The input shape (\[[^\]]*\]) of '([^']*)' is not support",
        r"input \2 leaves sides of its shape open: \1",
        "export it with a fixed size and a batch of 1, or fix it: camagent model optimize MODEL.onnx --size WxH -o FIXED.onnx",
    ),
    _row(
        r"The (\w+)\('([^']*)'\) will cause the graph to be a dynamic graph",
        r"\1 (\2) chooses its way while it runs, and an NPU's graph is fixed",
        "export the model without it, or cut the graph before it: post-processing is the head's work here",
    ),
    _row(
        r"(\w+)\('([^']*)'\) need to be constant! It will cause the graph to be a dynamic graph",
        r"the size of what \1 (\2) gives depends on the picture, and an NPU's graph is fixed",
        "export the model without it, or cut the graph before it: post-processing is the head's work here",
    ),
    _row(
        r"Error No opset import for domain '([^']*)'|No Op registered for (\S+)",
        r"the model has an operator that the converter does not know, of domain or name \1\2",
        "export the model with standard operators only; 'camagent model inspect' lists what it has",
    ),
    _row(
        r"(?i)(?:unsupport(?:ed)?|not support(?:ed)?) (?:onnx )?op(?:erator)?[ :]+'?(\w+)",
        r"the converter does not support the operator \1",
        "export the model with other operators, or cut the graph before it",
    ),
    _row(
        r"Unsupport file (\S+)",
        r"a calibration picture cannot be read: \1",
        "take it out of the folder; JPEG and PNG are read",
    ),
    _row(
        r"The input num: \d+ in \S+ not match input num: (\d+) in model",
        r"the model has \1 inputs, and calibration fed another number",
        "make the others constants before the conversion: the agent gives one picture",
    ),
    _row(
        r"Invalid target_platform '([^']*)'",
        r"this version of the converter does not know the target \1",
        "name another --target, or take an environment with a newer rknn-toolkit2: --environment DIR",
    ),
    _row(
        r"(?:std::bad_alloc|MemoryError|Cannot allocate memory|[Oo]ut of memory)",
        "it ran out of memory",
        "free some, or calibrate with fewer pictures",
    ),
    _row(
        r"No space left on device",
        "the disk is full",
        "make room in the folder for temporary files (TMPDIR)",
    ),
    _row(
        r"Exception in thread",
        "a thread of it failed, and it went on without what that should have made",
        "calibrate with other pictures, or with --algorithm normal; the log has the thread's traceback",
    ),
)  # fmt: skip


def explained(log: str) -> tuple[str, str] | None:
    """Cause and way round of the first complaint that the log has; None where it is a new one."""
    text = plain(log)
    return next((met for one in COMPLAINTS if (met := one.met(text))), None)


def plain(log: str) -> str:
    """The log without colours and progress bars, a line each."""
    lines = _COLOUR.sub("", log).replace("\r", "\n").splitlines()
    return "\n".join(line for line in lines if line.strip() and not _BAR.search(line))


def tail(log: str) -> str:
    """Its last words that say something."""
    lines = [line.strip() for line in plain(log).splitlines() if not any(noise in line for noise in _NOISE)]
    said = [line for line in lines if re.match(r"(E |\w*(Error|Exception)\b)", line)]
    return " | ".join((said or lines)[-_TAIL:]) or "nothing"


def progress(log: str) -> str:
    """What it is at, of the last progress bar: `OpFusing 0 40%`; empty where there is none."""
    found = re.findall(r"I ([A-Za-z][\w ]{0,30}?)\s*:\s+(\d{1,3})%\|", _COLOUR.sub("", log))
    return f"{found[-1][0]} {found[-1][1]}%" if found else ""

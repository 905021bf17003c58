"""Errors of the agent. Codes are part of the contract: scripts read them, so they never change their meaning.

CodedError
+-- UsageError (exit 2)           wrong configuration, wrong arguments
|   +-- ConfigError
|   +-- InputError                an input file that is not there or cannot be read
|   +-- FileUnusable              a file that cannot be written: full, read-only, forbidden
|   +-- ExtraMissing              a workstation's tool that this installation does not have
+-- Unreachable (exit 3)          camera, broker or agent did not answer
|   +-- SourceError
|   +-- BrokerError
|   +-- ToolkitMissing            Rockchip's converter is not installed and cannot be fetched
|   +-- HawkbitUnreachable        the server that rolls bundles out
|       +-- HawkbitDenied, HawkbitBusy, HawkbitStrange
+-- Refusal (exit 1)              a finding that is the command's answer
|   +-- Busy, HeadMismatch, LabelCountMismatch
|   +-- ActionUnsupported, TrialEnded   an order of a roll-out server that ends without a bundle in force
|   +-- BackendError                the model cannot be loaded or run; where it is known why, the code is the self-test's cause:
|   |   +-- NpuAbsent, NpuPermissionDenied, NpuRuntimeMissing, RuntimeVersionMismatch, ModelFileBad
|   |   +-- NpuSubmitFailed, NpuHung, MemoryExhausted, QuantParamsIgnored
|   +-- ConversionFailed          Rockchip's converter does not take the model
|   +-- HeadUndecided (exit 3)    no head, or more than one, explains the golden pictures
+-- firmware_pkg.errors.Refused   a bundle is refused; ModelMismatch is its MANIFEST_INVALID
"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Self

from firmware_pkg.errors import ManifestInvalid, StateError, UnsignedNotAllowed
from signing.errors import CodedError, printable


class UsageError(CodedError):
    """The person who called can mend it by calling differently; commands exit with 2."""

    code = "USAGE"


class ConfigError(UsageError):
    """The configuration does not say something the agent can run with."""

    code = "CONFIG_INVALID"


class InputError(UsageError):
    """An input file is missing or is not what it should be."""

    code = "INPUT_UNREADABLE"


class FileUnusable(UsageError):
    """The system refuses a file: the disk is full, read-only or broken, or the rights do not allow it."""

    code = "FILE_UNUSABLE"

    @classmethod
    def of(cls, exc: OSError, path: Path | None = None) -> Self:
        """What the system said of `path`; without one, of the file that it names: it does not for one that is open already."""
        known = path or exc.filename
        name = "the output" if known is None else printable(known)
        return cls(
            f"{name} cannot be used: {exc.strerror}",
            evidence={"errno": errno.errorcode.get(exc.errno or 0, str(exc.errno))},
            fix="make room, or name another file or folder",
        )


class ExtraMissing(UsageError):
    """The command needs a library that only an extra brings: cameras do not carry it."""

    code = "EXTRA_MISSING"


class Unreachable(CodedError):
    """Somebody else did not answer; commands exit with 3."""

    code = "UNREACHABLE"


class SourceError(Unreachable):
    """A camera or file gives no frames. `reason` is the id under which `health` shows it."""

    code = "SOURCE_FAILED"
    reason = "no-frames"


class StreamUnreachable(SourceError):
    """The RTSP server refuses, denies or does not answer."""

    code = "STREAM_UNREACHABLE"
    reason = "stream-unreachable"


class StreamStalled(SourceError):
    """The session is up and no media comes."""

    code = "STREAM_STALLED"
    reason = "stream-stalled"


class BrokerError(Unreachable):
    """The MQTT broker cannot be reached or turns the agent away."""

    code = "MQTT_UNREACHABLE"


class ToolkitMissing(Unreachable):
    """rknn-toolkit2 has no environment here, and none can be made."""

    code = "TOOLKIT_MISSING"


class HawkbitUnreachable(Unreachable):
    """The hawkBit server cannot be reached, does not prove who it is, or fell silent."""

    code = "HAWKBIT_UNREACHABLE"


class HawkbitDenied(HawkbitUnreachable):
    """The hawkBit server does not know this device by its token, or there is no token to show."""

    code = "HAWKBIT_UNAUTHORISED"


class HawkbitBusy(HawkbitUnreachable):
    """The hawkBit server asks to come back later. `after_s`: in so many seconds, None where it does not say."""

    code = "HAWKBIT_BUSY"
    after_s: float | None = None


class HawkbitStrange(HawkbitUnreachable):
    """The hawkBit server's answer is none of its protocol, or leads to another server."""

    code = "HAWKBIT_ANSWER"
    status: int = 0  # of HTTP, 0 where that was right


class Refusal(CodedError):
    """The command's answer is no; commands exit with 1."""

    code = "REFUSED"


class Busy(Refusal):
    """Another bundle is being installed, activated or taken back at this moment."""

    code = "BUSY"


class BackendError(Refusal):
    """The model cannot be loaded or run. `reason` is what a camera says while it waits for that to change."""

    code = "BACKEND_FAILED"
    reason = "bundle-refused"


class NpuAbsent(BackendError):
    """There is no NPU here, or the kernel does not drive it."""

    code = "NPU_ABSENT"
    reason = "npu-absent"


class NpuPermissionDenied(BackendError):
    """The NPU is there and this user may not open it."""

    code = "NPU_PERMISSION_DENIED"
    reason = "npu-permission-denied"


class NpuRuntimeMissing(BackendError):
    """The library that drives the NPU, or its Python package, is not installed or cannot be loaded."""

    code = "NPU_RUNTIME_MISSING"
    reason = "npu-runtime-missing"


class RuntimeVersionMismatch(BackendError):
    """Model, toolkit, runtime library and driver do not fit together."""

    code = "RUNTIME_VERSION_MISMATCH"


class ModelFileBad(BackendError):
    """The runtime cannot read the model: damaged, encrypted, or built for another SoC."""

    code = "MODEL_FILE_BAD"


class NpuSubmitFailed(BackendError):
    """The NPU or its driver refused a job, or gave nothing back."""

    code = "NPU_SUBMIT_FAILED"


class NpuHung(BackendError):
    """The NPU took a job and did not come back in time; after two in a row only a reboot helps."""

    code = "NPU_HUNG"
    reason = "npu-hung"


class MemoryExhausted(BackendError):
    """The runtime got no memory."""

    code = "MEMORY_EXHAUSTED"


class QuantParamsIgnored(BackendError):
    """The runtime hands out integers, and nothing says what they stand for."""

    code = "QUANT_PARAMS_IGNORED"


class ConversionFailed(Refusal):
    """Rockchip's converter does not take the model, or the settings."""

    code = "CONVERSION_FAILED"


class ModelMismatch(ManifestInvalid):
    """What the manifest declares is not what the model has."""


class ActionUnsupported(Refusal):
    """What a roll-out server orders is nothing that this agent does: no bundle, or a download that must not be installed."""

    code = "ACTION_UNSUPPORTED"


class TrialEnded(Refusal):
    """A bundle that was rolled out was taken back, by hand or for another one, before its trial was over."""

    code = "TRIAL_ENDED"


class HeadMismatch(Refusal):
    """The model's outputs are not what the head decodes."""

    code = "HEAD_MISMATCH"


class LabelCountMismatch(Refusal):
    """The number of labels is not the number of classes in the model's output, `classes` where that is known."""

    code = "LABEL_COUNT_MISMATCH"
    classes: int | None = None


class HeadUndecided(Refusal):
    """The known pictures do not tell which head reads the model's outputs."""

    code = "HEAD_UNDECIDED"


__all__ = [
    "ActionUnsupported",
    "BackendError",
    "BrokerError",
    "Busy",
    "CodedError",
    "ConfigError",
    "ConversionFailed",
    "ExtraMissing",
    "FileUnusable",
    "HawkbitBusy",
    "HawkbitDenied",
    "HawkbitStrange",
    "HawkbitUnreachable",
    "HeadMismatch",
    "HeadUndecided",
    "InputError",
    "LabelCountMismatch",
    "MemoryExhausted",
    "ModelFileBad",
    "ModelMismatch",
    "NpuAbsent",
    "NpuHung",
    "NpuPermissionDenied",
    "NpuRuntimeMissing",
    "NpuSubmitFailed",
    "QuantParamsIgnored",
    "Refusal",
    "RuntimeVersionMismatch",
    "SourceError",
    "StateError",
    "StreamStalled",
    "StreamUnreachable",
    "ToolkitMissing",
    "TrialEnded",
    "Unreachable",
    "UnsignedNotAllowed",
    "UsageError",
    "printable",
]

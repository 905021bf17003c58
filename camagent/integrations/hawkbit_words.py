"""What is told to hawkBit: feedback as its limits and its taste want it. Pure.

A status has at most 50 messages, an action at most 1000 statuses; text with `<..>` in it is refused as markup (hawkbit#1321).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta

from camagent.errors import CodedError, printable

MESSAGES = 50  # hawkBit's limit per status
MESSAGE_CHARS = 500  # its column holds 512
ATTRIBUTES, ATTRIBUTE_CHARS = 100, 128
_MARKUP = re.compile(r"</?[A-Za-z!?][^<>]*>")
_ANGLES = str.maketrans("<>", "()")
_ON_TRIAL = re.compile(r"on trial: (\S{1,48}) (\S{1,64}), digest ([0-9a-f]{64})")

Execution: TypeAlias = Literal["proceeding", "closed", "rejected", "scheduled"]
Finished: TypeAlias = Literal["none", "success", "failure"]

# `status.code`, a number, for who filters actions by it; the words stand in the details. Numbers never change their meaning.
OTHER = 1
NUMBERS: Mapping[str, int] = MappingProxyType({
    "UNSAFE_PATH": 101, "SIZE_LIMIT": 102, "MANIFEST_INVALID": 103, "BUNDLE_TRUNCATED": 104, "FORMAT_UNSUPPORTED": 105,
    "SIGNATURE_MISSING": 201, "SIGNATURE_FORMAT": 202, "SIGNATURE_ENCODING": 203, "SIGNATURE_INVALID": 204,
    "UNTRUSTED_SIGNER": 205, "SIGNER_REVOKED": 206, "THRESHOLD_NOT_MET": 207, "UNSIGNED_NOT_ALLOWED": 208,
    "KEY_TYPE_UNSUPPORTED": 209, "TRUST_MISSING": 210, "TRUST_ROTATION": 211, "TRUST_EXPIRED": 212, "CLOCK_UNTRUSTED": 213,
    "FILE_MISSING": 301, "EXTRA_FILE": 302, "LINE_ENDINGS_CHANGED": 303, "PAYLOAD_DIGEST_MISMATCH": 304,
    "BUNDLE_EXPIRED": 401, "DEVICE_MISMATCH": 402, "ARTIFACT_TARGET": 403, "RUNTIME_TOO_OLD": 404, "ROLLBACK_REFUSED": 405,
    "GOLDEN_FAILED": 501, "HEAD_MISMATCH": 502, "LABEL_COUNT_MISMATCH": 503, "TRIAL_FAILED": 504, "TRIAL_ENDED": 505,
    "BACKEND_FAILED": 506,
    "NO_SPACE": 601, "STATE_UNUSABLE": 602, "DOWNLOAD_FAILED": 603, "ACTION_UNSUPPORTED": 604, "INTERNAL": 699,
})  # fmt: skip


class Progress(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Bundles that are here, of how many."""

    cnt: int
    of: int


class Report(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One status of an action. `details` are plain sentences; `body` makes them fit."""

    execution: Execution
    finished: Finished
    code: int = 0
    details: Annotated[tuple[str, ...], Meta(max_length=MESSAGES)] = ()
    progress: Progress | None = None

    @property
    def is_final(self) -> bool:
        """It ends the action."""
        return self.execution == "closed"


def told(*sentences: str) -> Report:
    """The action goes on."""
    return Report(execution="proceeding", finished="none", details=fitting(sentences))


def done(*sentences: str) -> Report:
    """What was ordered is in force."""
    return Report(execution="closed", finished="success", details=fitting(sentences))


def refused(code: str, what: str, fix: str, evidence: Mapping[str, object] = MappingProxyType({})) -> Report:
    """It is not, and why."""
    sides = ", ".join(f"{key} = {value}" for key, value in evidence.items())
    lines = [f"code: {code}", f"what: {what}", *([f"evidence: {sides}"] if sides else []), f"fix: {fix}"]
    return Report(execution="closed", finished="failure", code=NUMBERS.get(code, OTHER), details=fitting(lines))


def of_error(exc: CodedError) -> Report:
    """The same for an error."""
    said = exc.report()
    evidence = said["evidence"]
    assert isinstance(evidence, dict)
    return refused(exc.code, str(said["what"]), str(said["fix"]), evidence)


def on_trial(name: str, version: str, digest: str) -> str:
    """The sentence that says it, and by which `trial_of` finds it again in the action's history."""
    return f"on trial: {name} {version}, digest {digest}; the action stays open until it is confirmed or taken back"


def trial_of(messages: Iterable[str]) -> list[tuple[str, str, str]]:
    """(name, version, digest) of what an action's history says was put on trial. Not to be believed: to be looked up."""
    found = [match for message in messages if (match := _ON_TRIAL.search(message))]
    return list(dict.fromkeys((match[1], match[2], match[3]) for match in found))


def fitting(sentences: Iterable[str]) -> tuple[str, ...]:
    """Sentences as hawkBit takes them: printable, without markup, not too long and not too many."""
    return tuple(plain(sentence) for sentence in sentences if sentence)[:MESSAGES]


def plain(text: str) -> str:
    """One message: markup goes, single angles become parentheses."""
    return printable(_MARKUP.sub("", str(text)).translate(_ANGLES), MESSAGE_CHARS)


def body(report: Report, wall: float) -> bytes:
    """The JSON of a feedback. `wall`: seconds since 1970."""
    result: dict[str, Any] = {"finished": report.finished}
    if report.progress is not None:
        result["progress"] = report.progress
    status = {"execution": report.execution, "result": result, "code": report.code, "details": list(fitting(report.details))}
    return msgspec.json.encode({"timestamp": int(wall * 1000), "status": status})


def bare(report: Report) -> Report:
    """The same without a word, for a server that does not take the words."""
    return msgspec.structs.replace(report, details=())


def confirmation_body(word: Literal["confirmed", "denied"], sentence: str) -> bytes:
    """The JSON of a feedback on confirmationBase."""
    return msgspec.json.encode({"confirmation": word, "code": 0, "details": list(fitting([sentence]))})


def attributes_body(attributes: Mapping[str, str]) -> bytes:
    """The JSON of configData."""
    kept = list(attributes.items())[:ATTRIBUTES]
    data = {plain(key)[:ATTRIBUTE_CHARS]: printable(plain(value), ATTRIBUTE_CHARS) for key, value in kept}
    return msgspec.json.encode({"mode": "merge", "data": data})

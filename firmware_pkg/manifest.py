"""bundle.json: what a model expects, what it gives, and what it should see on its golden pictures. Frozen, strict, typed."""

from __future__ import annotations

import re
from datetime import datetime
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

from firmware_pkg import limits
from firmware_pkg.errors import ManifestInvalid

SCHEMA = 1
FILE_NAME = "bundle.json"

BundleName: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")]
RelativePath: TypeAlias = Annotated[str, Meta(min_length=1, max_length=limits.PATH_CHARS)]
Share: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]
Triple: TypeAlias = tuple[float, float, float]
Task: TypeAlias = Literal["detect", "segment", "classify", "detect-segment"]
Resize: TypeAlias = Literal["letterbox", "stretch", "crop"]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class InputSpec(_Strict, frozen=True, kw_only=True):
    """How a picture becomes the network's input: (pixel * scale - mean) / std, in `color` order."""

    width: Annotated[int, Meta(ge=1, le=limits.NETWORK_SIDE)]
    height: Annotated[int, Meta(ge=1, le=limits.NETWORK_SIDE)]
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    color: Literal["rgb", "bgr"] = "rgb"
    scale: float = 1.0  # applied first: 1/255 = 0.00392157 brings 0..255 to 0..1
    mean: Triple = (0.0, 0.0, 0.0)  # in units after scaling, in `color` order
    std: Triple = (1.0, 1.0, 1.0)
    resize: Resize = "letterbox"
    pad_value: Annotated[int, Meta(ge=0, le=255)] = 114
    placement: Literal["center", "top-left"] = "center"  # where a letterbox leaves its padding


class HeadSpec(_Strict, frozen=True, kw_only=True):
    """Which decoder reads the outputs; `params` are that decoder's own."""

    name: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,47}$")]
    params: dict[str, Any] = {}


class Thresholds(_Strict, frozen=True, kw_only=True):
    """Defaults that a camera's configuration may override."""

    min_score: Share = 0.4
    nms_iou: Share = 0.45


class Label(_Strict, frozen=True, kw_only=True):
    """A class with the group it counts under."""

    name: Annotated[str, Meta(min_length=1, max_length=limits.LABEL_CHARS)]
    group: Annotated[str, Meta(min_length=1, max_length=limits.LABEL_CHARS)] | None = None


class Artifact(_Strict, frozen=True, kw_only=True):
    """One model file of the bundle and where it runs."""

    path: RelativePath
    backend: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
    targets: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)] = ("*",)
    quantization: str = "none"
    toolkit: str | None = None


class Expectation(_Strict, frozen=True, kw_only=True):
    """One object that the float model saw on a golden picture; `box_norm` is x1 y1 x2 y2 in 0..1, absent without boxes."""

    label: str
    score: Share
    box_norm: tuple[float, float, float, float] | None = None
    share: Share | None = None  # of the picture's area: a class of a semantic map, or the mask of an object in its box


class Golden(_Strict, frozen=True, kw_only=True):
    """A picture with a known answer: what the user says is on it, and what the float model saw."""

    image: RelativePath
    declared: dict[str, Annotated[int, Meta(ge=1)]] = {}
    expect: Annotated[tuple[Expectation, ...], Meta(max_length=1000)] = ()
    reference: RelativePath | None = None  # .npz with `input`, `output0`, `output1` ..
    min_iou: Share = 0.5
    min_recall: Share = 0.8


class Requires(_Strict, frozen=True, kw_only=True):
    """What the agent must be."""

    camagent: Annotated[str, Meta(max_length=limits.SPECIFIER_CHARS)] = ">=0.1"  # PEP 440


class Manifest(_Strict, frozen=True, kw_only=True):
    """bundle.json. Construct it through `parse`, which checks what the types cannot say."""

    schema: Literal[1] = 1
    name: BundleName
    version: Annotated[str, Meta(max_length=limits.VERSION_CHARS)]  # PEP 440
    rollback_index: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 0
    created: str
    expires: str | None = None
    compatible: Annotated[tuple[str, ...], Meta(min_length=1, max_length=64)] = ("*",)
    requires: Requires = Requires()
    task: Task
    input: InputSpec
    head: HeadSpec
    thresholds: Thresholds = Thresholds()
    labels: Annotated[tuple[str | Label, ...], Meta(min_length=1, max_length=limits.LABELS)]
    artifacts: Annotated[tuple[Artifact, ...], Meta(min_length=1, max_length=32)]
    golden: Annotated[tuple[Golden, ...], Meta(max_length=32)] = ()
    files: Annotated[dict[RelativePath, Annotated[int, Meta(ge=0, le=limits.MEMBER_BYTES)]], Meta(max_length=limits.MEMBERS)]

    @property
    def label_names(self) -> tuple[str, ...]:
        """Class names in class-id order."""
        return tuple(label if isinstance(label, str) else label.name for label in self.labels)

    @property
    def label_groups(self) -> tuple[str | None, ...]:
        """The group of each class, None where it has none."""
        return tuple(None if isinstance(label, str) else label.group for label in self.labels)


# Built at import: msgspec builds a type's decoder at its first use, and two threads that do so at once crash (tried, 0.22).
_DECODER = msgspec.json.Decoder(Manifest)


def parse(data: bytes) -> Manifest:
    """bundle.json's bytes -> Manifest.

    Raises ManifestInvalid for anything that is not a manifest: not JSON, an unknown key, a wrong type, a path that leads out
    of the bundle, a version that is not PEP 440, an artifact or picture that `files` does not list.
    """
    if len(data) > limits.MANIFEST_BYTES:
        raise ManifestInvalid(
            f"{FILE_NAME} is too large",
            evidence={"bytes": len(data), "limit": limits.MANIFEST_BYTES},
            fix="build the bundle again with 'camagent bundle create'",
        )
    try:
        manifest = _DECODER.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        expected = f"a manifest of schema {SCHEMA}, as 'camagent bundle create' writes it"
        raise _invalid(f"{FILE_NAME} is no manifest: {exc}", str(exc), expected) from exc
    problem = _problem(manifest)
    if problem:
        what = f"{FILE_NAME} contradicts itself: {problem.found}, where this is expected: {problem.expected}"
        raise _invalid(what, problem.found, problem.expected)
    return manifest


def dump(manifest: Manifest) -> bytes:
    """Manifest -> bundle.json's bytes, indented, stable key order."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n"


def safe_path(path: str) -> bool:
    """True for a relative POSIX path that stays inside the bundle and is spelled in one way only."""
    if not path or len(path) > limits.PATH_CHARS or path.startswith("/") or "\\" in path:
        return False
    return all(part not in ("", ".", "..") for part in path.split("/")) and path.isprintable()


def _invalid(what: str, found: str, expected: str) -> ManifestInvalid:
    fix = "mend the named key, or build the bundle again with 'camagent bundle create'"
    return ManifestInvalid(what, evidence={"found": found, "expected": expected}, fix=fix)


class _Problem(NamedTuple):
    """Both sides of what is wrong."""

    found: str
    expected: str


def _problem(manifest: Manifest) -> _Problem | None:
    return _wrong_value(manifest) or _wrong_path(manifest)


def _wrong_value(manifest: Manifest) -> _Problem | None:
    try:
        Version(manifest.version)
    except InvalidVersion:
        return _Problem(f"version {manifest.version!r}", "a PEP 440 version such as 1.0.0")
    try:
        SpecifierSet(manifest.requires.camagent)
    except InvalidSpecifier:
        return _Problem(f"requires.camagent {manifest.requires.camagent!r}", "a PEP 440 specifier such as >=0.1,<2")
    for key in ("created", "expires"):
        value = getattr(manifest, key)
        if value is not None and not _is_time(value):
            return _Problem(f"{key} {value!r}", "a UTC time such as 2026-01-31T12:00:00Z")
    if any(value == 0 for value in manifest.input.std):
        return _Problem("a zero in input.std", "numbers that can be divided by")
    if "" in manifest.compatible:
        return _Problem("an empty device in compatible", 'device ids such as rk3568, or "*"')
    for name in manifest.label_names:
        if not name.isprintable() or not 0 < len(name) <= limits.LABEL_CHARS:
            return _Problem(f"label {name!r}", f"printable text of 1 to {limits.LABEL_CHARS} characters")
    return None


def _wrong_path(manifest: Manifest) -> _Problem | None:
    for path in manifest.files:
        if not safe_path(path):
            return _Problem(f"files names the path {path!r}", "a relative POSIX name that stays inside the bundle")
        if path.split("/")[0] in {FILE_NAME, "signatures"}:
            return _Problem(f"files names {path!r}", "only files of the model and its golden pictures")
        if folder := next((str(above) for above in PurePosixPath(path).parents if str(above) in manifest.files), None):
            return _Problem(f"files names {path!r} and also {folder!r}", "a name to be a file or a folder, never both")
    for path in _named_files(manifest):
        if path not in manifest.files:
            return _Problem(f"{path!r} is used", "it to be listed in files")
    return None


def _named_files(manifest: Manifest) -> list[str]:
    named = [artifact.path for artifact in manifest.artifacts]
    for golden in manifest.golden:
        named += [golden.image] + ([golden.reference] if golden.reference else [])
    return named


def _is_time(value: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True

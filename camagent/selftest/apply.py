"""A verified fix as new files beside the old ones: a bundle that is built anew and unsigned, a configuration with other values.

What is signed or in force is never touched: a person reads the difference, signs or moves the file, and decides.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
import tomlkit.exceptions
from packaging.version import Version
from tomlkit.items import AoT

from camagent.errors import FileUnusable, UsageError
from camagent.golden import answer
from camagent.pipeline import BackendOptions, FilterRule, Steps, picture_frame, usable
from camagent.selftest.report import Cause, Report, Value
from firmware_pkg import build
from firmware_pkg import manifest as manifests
from firmware_pkg import verify as verifier
from firmware_pkg.build import GoldenFile
from firmware_pkg.manifest import Manifest
from firmware_pkg.verify import Policy


def apply(report: Report, bundle: Path | None, config: Path | None) -> list[str]:
    """Writes every fix that was verified; lines that say what was written and what differs in it.

    Raises:
        UsageError: the report has no verified fix that a file could hold, or the file it belongs to was not named.
        CodedError: the bundle is damaged, or a file cannot be written.
    """
    fixes = [cause for cause in report.causes if cause.change is not None and cause.fix_verified]
    made = next((cause.change.manifest for cause in fixes if cause.change and cause.change.manifest is not None), None)
    settings = [cause for cause in fixes if cause.change is not None and cause.change.config]
    if made is None and not settings:
        raise UsageError(
            "there is nothing to apply: no fix of this report was verified, or none that a file can hold",
            evidence={"causes": ", ".join(cause.id for cause in report.causes) or "none"},
            fix="follow the fix that the report words, then run again",
        )
    lines: list[str] = []
    if made is not None:
        if bundle is None:
            raise UsageError(
                "the fix belongs into the bundle, which lies in the store and stays as it is",
                fix="run the self-test on the workstation that has the file: camagent selftest --bundle F --apply",
            )
        lines += rebuild(bundle, made)
    if settings:
        if config is None:
            raise UsageError("the fix belongs into the configuration", fix="name it with -c FILE")
        lines += reconfigure(config, settings, str(report.subject.get("camera", "")))
    return lines


def rebuild(path: Path, wanted: Manifest) -> list[str]:
    """The bundle under another contract, unsigned, its golden answers computed anew; the old file stays as it is."""
    with path.open("rb") as source:
        loaded = verifier.load(source, Policy(trusted=None, unsigned="allowed"), lambda manifest: list(manifest.files))
    old = loaded.verified.manifest
    models = {artifact.path: loaded.files[artifact.path] for artifact in old.artifacts}
    draft = msgspec.structs.replace(wanted, version=_next(old.version), created=build.now())
    target = path.with_name(f"{draft.name}-{draft.version}.cambundle")
    if target.exists():
        raise UsageError(f"{target.name} is there already", fix="move it away: nothing is overwritten")
    try:
        made = build.build(target, draft, models, list(_golden(draft, models, loaded.files)))
    except OSError as exc:
        raise FileUnusable.of(exc, target) from exc
    before, after = (_settings(manifest) for manifest in (old, made))
    words = f"wrote {target}: built anew and unsigned; sign it with 'camagent bundle sign {target.name} --key S.pem'"
    return [words, *_diff(before, after, path.name, target.name)]


def reconfigure(path: Path, causes: Sequence[Cause], only: str) -> list[str]:
    """The configuration with other values for its cameras, comments kept, as FILE.fixed.toml beside it."""
    old = path.read_text("utf-8")
    try:
        document = tomlkit.parse(old)
    except tomlkit.exceptions.ParseError as exc:
        raise UsageError(f"{path} is no TOML: {exc}", fix="mend it, see 'camagent config check'") from exc
    for cause in causes:
        assert cause.change is not None
        camera = _camera(document, str(cause.evidence.get("camera", only)))
        for key, value in cause.change.config.items():
            _set(camera, key.split("."), value)
    target = path.with_name(f"{path.stem}.fixed{path.suffix}")
    try:
        target.write_text(tomlkit.dumps(document), "utf-8")
    except OSError as exc:
        raise FileUnusable.of(exc, target) from exc
    words = f"wrote {target}; when you have read the difference: move it over {path.name} and send the agent SIGHUP"
    return [words, *_diff(old.splitlines(), tomlkit.dumps(document).splitlines(), path.name, target.name)]


def _golden(draft: Manifest, models: Mapping[str, bytes], files: Mapping[str, bytes]) -> Iterator[GoldenFile]:
    """What the float model sees under the new contract; the old answers stay where there is no float model."""
    onnx = next((artifact for artifact in draft.artifacts if artifact.backend == "onnx"), None)
    artifact = onnx or draft.artifacts[0]
    rule = FilterRule(draft.thresholds.min_score, draft.thresholds.nms_iou)
    steps = Steps(usable(draft, artifact, models[artifact.path]), rule, BackendOptions())
    try:
        for entry in draft.golden:
            said = answer(steps, picture_frame(files[entry.image], entry.image))
            reference = entry.reference or f"{entry.image.rpartition('.')[0]}.npz"
            fresh = msgspec.structs.replace(entry, expect=said.expect, reference=reference)
            yield GoldenFile(fresh, files[entry.image], said.reference)
    finally:
        steps.close()


def _next(version: str) -> str:
    """1.0.0 -> 1.0.0.post1 -> 1.0.0.post2: newer than what it mends, older than the next release."""
    old = Version(version)
    return f"{old.public.partition('.post')[0]}.post{(old.post or 0) + 1}"


def _settings(manifest: Manifest) -> list[str]:
    """bundle.json without what changes with every build."""
    plain = msgspec.structs.replace(manifest, created="", files={}, golden=())
    return manifests.dump(plain).decode().splitlines()


def _diff(old: Sequence[str], new: Sequence[str], before: str, after: str) -> list[str]:
    return list(difflib.unified_diff(old, new, before, after, lineterm="", n=1))


def _camera(document: tomlkit.TOMLDocument, name: str) -> Any:
    tables = document.get("camera", [])
    cameras = {str(table.get("name", "")): table for table in tables} if isinstance(tables, AoT | list) else {}
    if name in cameras:
        return cameras[name]
    if not name and len(cameras) == 1:
        return next(iter(cameras.values()))
    raise UsageError(
        f"the configuration has no camera {name!r}", evidence={"cameras": ", ".join(cameras)}, fix="name it with --camera"
    )


def _set(table: Any, keys: Sequence[str], value: Value) -> None:
    """A dotted key; `*` is every table of an array. A camera's sub-table that is not there is made."""
    first, rest = keys[0], keys[1:]
    if first == "*":
        for item in table:
            _set(item, rest, value)
    elif not rest:
        table[first] = list(value) if isinstance(value, tuple) else value
    else:
        if first not in table:
            table[first] = tomlkit.table()
        _set(table[first], rest, value)

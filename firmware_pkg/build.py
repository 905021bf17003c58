"""Manifest parts and bytes -> a bundle file. What a picture shows is handed in; nothing here sees a pixel."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import msgspec

from firmware_pkg import archive, disk, soc
from firmware_pkg import manifest as manifests
from firmware_pkg.errors import ArtifactTarget, ManifestInvalid, NoSpace
from firmware_pkg.manifest import Artifact, Golden, Manifest
from firmware_pkg.model_file import model_format
from firmware_pkg.rknn_file import RknnFacts, read_rknn

BACKEND_OF = {"onnx": "onnx", "rknn": "rknn", "rknn-sim": "rknn-sim"}
_EIGHT_BITS = frozenset({"int8", "uint8"})


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A model as named on the command line: MODEL[:BACKEND[:TARGET]]."""

    path: Path
    backend: str | None
    target: str


@dataclass(frozen=True, slots=True)
class GoldenFile:
    """A golden picture with its computed answer and reference tensors."""

    entry: Golden
    image: bytes
    reference: bytes


def artifact_for(model: ModelFile, data: bytes) -> Artifact:
    """The manifest entry of a model file; its backend is told by the content where none is named.

    Raises:
        ManifestInvalid: it is no model for that backend, or a damaged one.
        ArtifactTarget: a Rockchip model that was not built for the target that is named.
    """
    kind = model_format(data)
    backend = model.backend or BACKEND_OF.get(kind)
    if backend is None or (kind != "unknown" and model.backend in BACKEND_OF.values() and BACKEND_OF[kind] != model.backend):
        raise ManifestInvalid(
            f"{model.path.name} is not a model for {'any known backend' if model.backend is None else repr(model.backend)}",
            evidence={
                "content": f"{kind}, begins with {data[:8].hex(' ') or 'nothing'}",
                "expected": model.backend or " or ".join(BACKEND_OF),
            },
            fix="give an .onnx or .rknn file, or name the backend: MODEL:BACKEND[:TARGET]",
        )
    path = f"model{PurePosixPath(model.path.name).suffix or '.' + backend}"
    if kind == "rknn":
        return _rockchip(model, read_rknn(data), path)
    return Artifact(path=path, backend=backend, targets=(model.target,))


def _rockchip(model: ModelFile, facts: RknnFacts, path: str) -> Artifact:
    """A Rockchip model says itself what it is for; a target that it was not built for is refused here, not on the camera."""
    if model.target != soc.ANY and not soc.fits(model.target, facts.targets):
        raise ArtifactTarget(
            f"{model.path.name} was built for another SoC",
            evidence={"model is for": ", ".join(facts.targets) or "none that it names", "wanted": model.target},
            fix=f"convert the model for {model.target}, or leave the target out",
        )
    targets = (model.target,) if model.target != soc.ANY else facts.targets
    eight_bits = any(one.dtype in _EIGHT_BITS for one in (*facts.inputs, *facts.outputs))
    return Artifact(
        path=path, backend="rknn", targets=targets or (soc.ANY,), quantization="int8" if eight_bits else "none",
        toolkit=facts.toolkit or None,
    )  # fmt: skip


def unique_paths(artifacts: Sequence[Artifact]) -> list[Artifact]:
    """The same artifacts with member names that do not clash: model.rknn, model-2.rknn .."""
    taken: dict[str, int] = {}
    made = []
    for artifact in artifacts:
        count = taken[artifact.path] = taken.get(artifact.path, 0) + 1
        path = PurePosixPath(artifact.path)
        name = artifact.path if count == 1 else f"{path.stem}-{count}{path.suffix}"
        made.append(msgspec.structs.replace(artifact, path=name))
    return made


def now() -> str:
    """The present as a manifest writes it."""
    return datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")


def build(path: Path, draft: Manifest, models: Mapping[str, bytes], golden: Sequence[GoldenFile]) -> Manifest:
    """Writes the bundle: the draft with its golden pictures and every length filled in.

    Raises:
        ManifestInvalid: it contradicts itself.
        NoSpace: the disk is full; a former file of that name is untouched.
        OSError: the folder cannot be written.
    """
    files = dict(models)
    for item in golden:
        files[item.entry.image] = item.image
        if item.entry.reference:
            files[item.entry.reference] = item.reference
    full = msgspec.structs.replace(
        draft, golden=tuple(item.entry for item in golden), files={name: len(data) for name, data in files.items()}
    )
    checked = manifests.parse(manifests.dump(full))
    try:
        archive.write(path, checked, files)
    except OSError as exc:
        if exc.errno not in disk.FULL:
            raise
        needed = sum(checked.files.values())
        evidence = {"needed": f"{needed} bytes and more", "free": f"{shutil.disk_usage(path.parent).free} bytes"}
        fix = "make room there, or name a folder on another disk with -o"
        raise NoSpace(f"there is no room for the bundle in {path.parent}", evidence=evidence, fix=fix) from exc
    return checked

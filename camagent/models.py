"""Which bundle a camera runs: where it lies, whether it may run here, and which of its artifacts fits this machine."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from camagent.errors import InputError, UnsignedNotAllowed
from firmware_pkg import archive
from firmware_pkg.errors import ArtifactTarget, FileMissing
from firmware_pkg.manifest import Artifact, Manifest
from firmware_pkg.model_file import require_self_contained

BUNDLE_SUFFIX = ".cambundle"


@dataclass(frozen=True, slots=True, eq=False)
class UsableBundle:
    """A model that may run here: its manifest, the artifact chosen for this machine and that artifact's bytes."""

    manifest: Manifest
    artifact: Artifact
    model: bytes
    signature: Literal["verified", "unsigned"]


def is_path(bundle: str) -> bool:
    """True where a camera's `bundle` names a file rather than a name in the store."""
    return "/" in bundle or bundle.endswith(BUNDLE_SUFFIX)


def load(path: Path, *, allow_unsigned: bool, backends: Collection[str], backend: str, device: str) -> UsableBundle:
    """A bundle file -> what may run. Raises Refused, UnsignedNotAllowed; InputError for a missing file."""
    try:
        bundle = archive.read(path)
    except OSError as exc:
        raise InputError(
            f"the bundle {path} cannot be read: {exc.strerror}",
            evidence={"file": path},
            fix="name a .cambundle file that exists",
        ) from exc
    if not allow_unsigned:
        raise UnsignedNotAllowed(
            f"bundle {bundle.manifest.name} {bundle.manifest.version} has no verified signature",
            evidence={"signatures": len(bundle.signatures), "agent.allow_unsigned": "false"},
            fix="sign it, or set agent.allow_unsigned = true on a development machine",
        )
    artifact = choose_artifact(bundle.manifest, backends=backends, backend=backend, device=device)
    if artifact.path not in bundle.files:
        raise FileMissing(f"{artifact.path!r} is not in the bundle", fix="build the bundle again")
    return usable(bundle.manifest, artifact, bundle.files[artifact.path])


def usable(manifest: Manifest, artifact: Artifact, model: bytes) -> UsableBundle:
    """Wraps bytes that are at hand; an ONNX model must be self-contained. Raises ManifestInvalid."""
    if artifact.backend == "onnx":
        require_self_contained(model)
    return UsableBundle(manifest, artifact, model, "unsigned")


def choose_artifact(manifest: Manifest, *, backends: Collection[str], backend: str, device: str) -> Artifact:
    """The first artifact whose backend is installed (and wanted, unless "auto") and whose targets name this device or "*"."""
    for artifact in manifest.artifacts:
        wanted = backend in ("auto", artifact.backend)
        if wanted and artifact.backend in backends and ("*" in artifact.targets or device in artifact.targets):
            return artifact
    offered = ", ".join(f"{a.backend} for {'/'.join(a.targets)}" for a in manifest.artifacts)
    raise ArtifactTarget(
        f"bundle {manifest.name} {manifest.version} has no model for this machine",
        evidence={
            "bundle has": offered,
            "this machine": f"{device or 'unknown device'} with {', '.join(sorted(backends))}",
            "configured backend": backend,
        },
        fix='build the bundle with an artifact for this machine, or set the camera\'s backend = "auto"',
    )

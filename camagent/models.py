"""From a verified bundle to a model that may run here: which of its artifacts fits this machine, and its bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO, Literal

from camagent.trial import Trial
from firmware_pkg import soc
from firmware_pkg import verify as verifier
from firmware_pkg.errors import ArtifactTarget
from firmware_pkg.manifest import Artifact, Manifest
from firmware_pkg.model_file import require_self_contained
from firmware_pkg.rknn_file import read_rknn
from firmware_pkg.verify import Policy

BUNDLE_SUFFIX = ".cambundle"
SIMULATORS = frozenset({"rknn-sim"})  # run where they are asked for, or where there is nothing else
# what a runtime needs beside the weights while it opens them: a copy, the optimised graph, work space
_ROOM_FACTOR = 4
_ROOM_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class UsableBundle:
    """A model that may run here: its manifest, the artifact chosen for this machine and that artifact's bytes."""

    manifest: Manifest
    artifact: Artifact
    model: bytes
    signature: Literal["verified", "unsigned"]
    digest: str = ""  # identity of the bundle's content; "" for bytes that came out of no bundle
    golden: Mapping[str, bytes] = field(default_factory=dict)  # the golden pictures and tensors, where they were asked for
    trial: Trial | None = None


def is_path(bundle: str) -> bool:
    """True where a camera's `bundle` names a file rather than a name in the store."""
    return "/" in bundle or bundle.endswith(BUNDLE_SUFFIX)


def load(
    source: BinaryIO, policy: Policy, *, backends: Collection[str], backend: str, device: str, golden: bool = False,
    whole: bool = False,
) -> UsableBundle:  # fmt: skip
    """A bundle on disk -> what may run: exactly the bytes that were hashed. `whole`: every file of it is checked.

    Raises:
        Refused: as firmware_pkg.verify.load; ArtifactTarget where no model of it runs here, or a Rockchip model was built
            for another SoC than the manifest says; ManifestInvalid for an ONNX model that reaches for other files, or a
            damaged Rockchip model.
    """

    def wanted(manifest: Manifest) -> list[str]:
        names = [choose_artifact(manifest, backends=backends, backend=backend, device=device).path]
        for item in manifest.golden if golden else ():
            names += [item.image] + ([item.reference] if item.reference else [])
        return names

    loaded = verifier.load(source, policy, wanted, whole=whole)
    manifest = loaded.verified.manifest
    artifact = choose_artifact(manifest, backends=backends, backend=backend, device=device)
    if artifact.backend == "rknn":
        _require_target(manifest, loaded.files[artifact.path], device)
    rest = {name: data for name, data in loaded.files.items() if name != artifact.path}
    made = usable(manifest, artifact, loaded.files[artifact.path])
    signature: Literal["verified", "unsigned"] = "verified" if loaded.verified.signers else "unsigned"
    return replace(made, golden=rest, signature=signature, digest=loaded.verified.digest)


def usable(manifest: Manifest, artifact: Artifact, model: bytes) -> UsableBundle:
    """Wraps bytes that are at hand; an ONNX model must be self-contained. Raises ManifestInvalid."""
    if artifact.backend == "onnx":
        require_self_contained(model)
    return UsableBundle(manifest, artifact, model, "unsigned")


def choose_artifact(manifest: Manifest, *, backends: Collection[str], backend: str, device: str) -> Artifact:
    """The first artifact whose backend is installed (and wanted, unless "auto") and whose targets name this device or "*".

    A simulator's comes last: a camera has its name among the installed backends, and a workstation has better ones.
    """
    for artifact in sorted(manifest.artifacts, key=lambda artifact: artifact.backend in SIMULATORS):
        wanted = backend in ("auto", artifact.backend)
        if wanted and artifact.backend in backends and soc.fits(device, artifact.targets):
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


def _require_target(manifest: Manifest, model: bytes, device: str) -> None:
    """A Rockchip model says itself what it was built for, whatever the manifest says. Unknown devices are the backend's."""
    targets = read_rknn(model).targets
    if device and not soc.fits(device, targets):
        raise ArtifactTarget(
            f"the model of bundle {manifest.name} {manifest.version} was built for another SoC",
            evidence={"model is for": ", ".join(targets) or "none that it names", "this machine": device},
            fix=f"convert the model for {device}, and build the bundle with it",
        )


def both_fit(available: int, model_bytes: int) -> bool:
    """Whether a second model of that size can be opened beside the running one (bytes of memory that are free to use)."""
    return available >= model_bytes * _ROOM_FACTOR + _ROOM_BYTES

"""What a TUF repository says of the bundles in it, and which of them a camera wants. Pure: values in, values out.

Every bundle is a target `NAME/NAME-VERSION.cambundle`; what a camera must know to choose stands in the target's `custom`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from msgspec import Meta
from packaging.version import InvalidVersion, Version
from tuf.api.metadata import TargetFile  # type: ignore[attr-defined]  # public, but not re-exported in mypy's sense

from firmware_pkg import soc
from firmware_pkg.limits import VERSION_CHARS
from firmware_pkg.manifest import Manifest


class Custom(msgspec.Struct, frozen=True, kw_only=True):
    """A target's `custom`; unknown keys are for newer agents."""

    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,47}$")]
    version: Annotated[str, Meta(min_length=1, max_length=VERSION_CHARS)]
    compatible: tuple[str, ...]
    rollback_index: Annotated[int, Meta(ge=0)]
    digest: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]  # of the content, whoever signed it


_DECODER = msgspec.json.Decoder(Custom)  # built at import, see manifest.py


@dataclass(frozen=True, slots=True)
class Listed:
    """One bundle of a repository."""

    path: str  # the target's
    sha256: str
    size: int  # bytes
    about: Custom

    @property
    def version(self) -> Version:
        """For comparing."""
        return Version(self.about.version)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a camera may take of one name."""

    name: str
    device: str  # SoC; "" where it is unknown
    running: str | None = None  # the version that runs; only a higher one is wanted
    rollback_index: int = 0  # confirmed here; nothing below it runs any more
    refused: Collection[str] = ()  # digests of contents, or sha256 of files, that were turned away here


def target_path(name: str, version: str) -> str:
    """Where a bundle lies; the folder keeps `a` 1-0 and `a-1` 0 apart."""
    return f"{name}/{name}-{version}.cambundle"


def custom(manifest: Manifest, digest: str) -> dict[str, Any]:
    """What is said of a verified bundle."""
    return {
        "name": manifest.name, "version": manifest.version, "compatible": list(manifest.compatible),
        "rollback_index": manifest.rollback_index, "digest": digest,
    }  # fmt: skip


def listed(targets: Mapping[str, TargetFile]) -> tuple[Listed, ...]:
    """The bundles among a repository's targets, by name and version; what is none of ours is passed over."""
    found = [one for path, target in targets.items() if (one := _read(path, target)) is not None]
    return tuple(sorted(found, key=lambda one: (one.about.name, one.version, one.path)))


def _read(path: str, target: TargetFile) -> Listed | None:
    try:
        about = _DECODER.decode(json.dumps(target.custom))
        Version(about.version)
    except (msgspec.ValidationError, InvalidVersion):
        return None  # another kind of file: a repository may hold whatever its owner likes
    sha256 = target.hashes.get("sha256")
    return None if sha256 is None else Listed(path, sha256, target.length, about)


def choose(offered: Iterable[Listed], wish: Wish) -> Listed | None:
    """The highest version that fits the device, is newer than what runs and was not refused; None where there is none."""
    fitting = [one for one in offered if one.about.name == wish.name and _fits(one, wish)]
    return max(fitting, key=lambda one: one.version, default=None)


def _fits(one: Listed, wish: Wish) -> bool:
    return (
        soc.fits(wish.device, one.about.compatible)
        and one.about.rollback_index >= wish.rollback_index
        and (wish.running is None or one.version > Version(wish.running))
        and not {one.sha256, one.about.digest} & set(wish.refused)
    )

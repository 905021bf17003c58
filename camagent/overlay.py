"""What the page may change of a camera: zones, masks, labels, least score. Pure: documents in, documents out.

It lies in `state_dir/overlay.toml`, over the configuration, which the page never touches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Annotated, Any, TypeAlias

import msgspec
import tomlkit
from msgspec import UNSET, Meta, UnsetType

from camagent.config import Camera, Mask, Share, Zone
from camagent.config_file import Loaded
from camagent.errors import Refusal, printable

MOST = 64  # zones or masks of one camera
BYTES = 512 * 1024  # of a change as JSON
_HEAD = "Written by the agent's page. It lies over camagent.toml: what stands here is in force, whatever stands there."

Label: TypeAlias = Annotated[str, Meta(min_length=1, max_length=64)]


class ChangeInvalid(Refusal):
    """What is to be saved is no list of zones, masks or labels."""

    code = "CHANGE_INVALID"


class OverlayChanged(Refusal):
    """Somebody else has saved meanwhile."""

    code = "OVERLAY_CHANGED"


class FilterChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A key that is left out stays as it is; null gives it back to camagent.toml."""

    labels: Annotated[tuple[Label, ...], Meta(max_length=1000)] | UnsetType | None = UNSET
    min_score: Share | UnsetType | None = UNSET


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same of a camera's zones and masks. `base`: the configuration's digest that was looked at before."""

    base: Annotated[str, Meta(max_length=64)] | None = None
    zone: Annotated[tuple[Zone, ...], Meta(max_length=MOST)] | UnsetType | None = UNSET
    mask: Annotated[tuple[Mask, ...], Meta(max_length=MOST)] | UnsetType | None = UNSET
    filter: FilterChange | UnsetType = UNSET


_CHANGE, _PLAIN = msgspec.json.Decoder(Change), msgspec.json.Decoder()


def read_change(data: bytes) -> Change:
    """JSON -> Change. Raises ChangeInvalid."""
    try:
        return _CHANGE.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise ChangeInvalid(
            f"this cannot be saved: {exc}",
            evidence={"bytes": len(data), "allowed": "zone, mask, filter.labels, filter.min_score; points 0..1 of the picture"},
            fix='send {"zone": [{"name": "gate", "polygon": [[0.1, 0.2], [0.9, 0.2], [0.9, 0.9]]}]}',
        ) from exc


def check_labels(change: Change, known: Sequence[str]) -> None:
    """Raises ChangeInvalid for a label that the model does not have; where no model runs, none is known and any will do."""
    wanted = None if isinstance(change.filter, UnsetType) else change.filter.labels
    strange = [label for label in wanted or () if label not in known] if known and not isinstance(wanted, UnsetType) else []
    if strange:
        near = get_close_matches(strange[0], known, 3, 0.5)
        raise ChangeInvalid(
            f"the camera's model has no label {printable(strange[0])!r}: it would let nothing through",
            evidence={"wanted": printable(", ".join(strange), 300), "the model has": printable(", ".join(known), 600)},
            fix=f"take {printable(' or '.join(near or known[:3]))}, or leave the label out",
        )


def with_change(overlay: Mapping[str, Any], camera: str, change: Change) -> dict[str, Any]:
    """The overlay with this camera's entry changed; an entry that says nothing any more is left out."""
    entries = {entry.get("name"): dict(entry) for entry in overlay.get("camera", ())}
    entry = entries.pop(camera, {"name": camera})
    own_filter = dict(entry.pop("filter", {}))
    wanted = _PLAIN.decode(msgspec.json.encode(change))  # lists, as TOML and JSON have them; what is left out stays out
    _take(entry, wanted, ("zone", "mask"))
    _take(own_filter, wanted.get("filter", {}), ("labels", "min_score"))
    made = {**entry, **({"filter": own_filter} if own_filter else {})}
    cameras = [*entries.values(), *([made] if len(made) > 1 else [])]
    rest = {key: value for key, value in overlay.items() if key != "camera"}
    return {**rest, **({"camera": cameras} if cameras else {})}


def dump(overlay: Mapping[str, Any]) -> bytes:
    """As TOML."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEAD))
    for key, value in overlay.items():
        document[key] = value
    return tomlkit.dumps(document).encode()


def describe(loaded: Loaded, camera: Camera) -> dict[str, Any]:
    """What is in force for a camera, and which of it the overlay says. `base` belongs into the next change."""
    own: Mapping[str, Any] = next((entry for entry in loaded.overlay.get("camera", ()) if entry.get("name") == camera.name), {})
    return {
        "camera": camera.name,
        "base": loaded.digest,
        "zone": msgspec.to_builtins(camera.zone),
        "mask": msgspec.to_builtins(camera.mask),
        "filter": {"labels": list(camera.filter.labels), "min_score": camera.filter.min_score},
        "overlay": sorted(
            [*(key for key in ("zone", "mask") if key in own), *(f"filter.{key}" for key in own.get("filter", {}))]
        ),
    }


def _take(into: dict[str, Any], change: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys:
        if key not in change:
            continue
        if change[key] is None:
            into.pop(key, None)
        else:
            into[key] = change[key]

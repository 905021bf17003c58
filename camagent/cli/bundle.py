"""camagent bundle ..: what builds, signs, verifies, shows and moves bundles. A command is imported when it is called."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import click

from camagent.cli.lazy import LazyGroup, Place
from camagent.errors import InputError, printable
from firmware_pkg.manifest import Golden, Manifest, dump

COMMANDS: Mapping[str, Place] = MappingProxyType({
    "activate": Place("camagent.cli.bundle_store", "Put a stored version on trial.", "activate"),
    "create": Place("camagent.cli.bundle_create", "Build a bundle from a model and golden pictures.", "create"),
    "inspect": Place("camagent.cli.bundle", "Show a bundle's manifest, unverified.", "inspect"),
    "install": Place("camagent.cli.bundle_store", "Verify, store, test and put on trial, on this machine.", "install"),
    "list": Place("camagent.cli.bundle_store", "Show which bundles are stored and which run.", "list_bundles"),
    "publish": Place("camagent.cli.bundle_publish", "Make a TUF repository of bundles, for any web server.", "publish"),
    "push": Place("camagent.cli.bundle_push", "Upload a bundle to a camera.", "push"),
    "rollback": Place("camagent.cli.bundle_store", "Go back to the last confirmed version.", "rollback"),
    "sign": Place("camagent.cli.bundle_sign", "Add a signature.", "sign"),
    "verify": Place("camagent.cli.bundle_verify", "Check a bundle and show how far it came.", "verify"),
})  # fmt: skip


@click.group(
    cls=LazyGroup, places=COMMANDS, epilog="Example: camagent bundle verify fastestdet-1.0.0.cambundle --trust root.json"
)
def command() -> None:
    """Build, sign, verify, show and move model bundles."""


@click.command(epilog="Example: camagent bundle inspect fastestdet-1.0.0.cambundle --json")
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show a bundle's manifest. It is not verified here, and only bundle.json is read."""
    from firmware_pkg import archive

    try:
        manifest, _ = archive.read_manifest(bundle)
    except OSError as exc:
        raise InputError(f"the bundle {bundle} cannot be read: {exc.strerror}", fix="check the path") from exc
    if as_json:
        shown = {"schema": "camagent.bundle/1", "verified": False, "manifest": json.loads(dump(manifest))}
        click.echo(json.dumps(shown))
        return
    for key, value in _rows(manifest):
        click.echo(f"{key:<10} {printable(value, 400)}")


def _rows(manifest: Manifest) -> list[tuple[str, str]]:
    spec, names = manifest.input, manifest.label_names
    labels = ", ".join(names[:8]) + (f" .. ({len(names)} in all)" if len(names) > 8 else "")
    mean, std = (",".join(f"{value:g}" for value in triple) for triple in (spec.mean, spec.std))
    made_from = f"(x*{spec.scale:g} - {mean}) / {std}"
    return [
        ("UNVERIFIED", "this is what the file says of itself; 'camagent bundle verify' says whether that is true"),
        ("bundle", f"{manifest.name} {manifest.version}, index {manifest.rollback_index}, created {manifest.created}"),
        ("for", f"{', '.join(manifest.compatible)}; camagent {manifest.requires.camagent}"),
        ("input", f"{spec.width}x{spec.height} {spec.color} {spec.layout} {spec.dtype}, {spec.resize}, {made_from}"),
        ("head", f"{manifest.head.name} ({manifest.task}), min score {manifest.thresholds.min_score:g}"),
        ("labels", labels),
        *(
            ("model", f"{artifact.path}: {artifact.backend} for {', '.join(artifact.targets)}")
            for artifact in manifest.artifacts
        ),
        *(("golden", f"{golden.image}: sees {_seen(golden)}") for golden in manifest.golden),
        ("files", ", ".join(f"{name} ({size:,} bytes)" for name, size in manifest.files.items())),
    ]


def _seen(golden: Golden) -> str:
    return ", ".join(f"{item.label} {item.score:.2f}" for item in golden.expect) or "nothing"

"""camagent bundle ..: what builds, shows and moves model bundles."""

from __future__ import annotations

import json
from pathlib import Path

import click

from camagent.cli.bundle_create import create
from camagent.errors import printable
from firmware_pkg import archive
from firmware_pkg.manifest import Golden, Manifest, dump


@click.group(epilog="Example: camagent bundle inspect fastestdet-1.0.0.cambundle")
def command() -> None:
    """Build and inspect model bundles."""


command.add_command(create)


@command.command(epilog="Example: camagent bundle inspect fastestdet-1.0.0.cambundle --json")
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def inspect(bundle: Path, as_json: bool) -> None:
    """Show a bundle's manifest. It is not verified here, and only bundle.json is read."""
    manifest, _ = archive.read_manifest(bundle)
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

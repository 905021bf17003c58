"""camagent config check | show | schema."""

from __future__ import annotations

import json
from pathlib import Path

import click

from camagent import config_file
from camagent.cli.options import config_option


@click.group(epilog="Example: camagent config check -c camagent.toml")
def command() -> None:
    """Check, show and document the configuration."""


@command.command(epilog="Example: camagent config check -c camagent.toml")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(path: Path, as_json: bool) -> None:
    """Read the configuration as the daemon would; exit 2 and name the key when it would not start."""
    loaded = config_file.load(path)
    from camagent import pipeline
    from camagent.cli.serve import require_web

    pipeline.check(loaded.config)
    require_web(loaded.config)
    cameras = [camera.name for camera in loaded.config.camera]
    if as_json:
        click.echo(json.dumps({"ok": True, "file": str(path), "digest": loaded.digest, "cameras": cameras}))
        return
    click.echo(f"{path}: sound, {len(cameras)} camera{'s' * (len(cameras) != 1)}: {', '.join(cameras) or 'none'}")


@command.command(epilog="Example: camagent config show -c camagent.toml")
@config_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(path: Path, as_json: bool) -> None:
    """Every key in force and where it comes from (file, overlay, default); credentials are never shown."""
    loaded = config_file.load(path)
    rows = list(config_file.origins(loaded))
    if as_json:
        click.echo(json.dumps([{"key": key, "value": value, "from": origin} for key, value, origin in rows], default=str))
        return
    width = max(len(key) for key, _, _ in rows)
    for key, value, origin in rows:
        click.echo(f"{key:<{width}} = {json.dumps(value, default=str, ensure_ascii=False)}  # {origin}")


@command.command(epilog="Example: camagent config schema > camagent.schema.json")
def schema() -> None:
    """JSON Schema of camagent.toml, for editors."""
    click.echo(json.dumps(config_file.schema(), indent=2))

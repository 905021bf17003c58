"""Options that several commands share, so that they are spelled and explained in one way."""

from __future__ import annotations

from pathlib import Path

import click

from camagent import config_file

config_option = click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path),
    default=config_file.DEFAULT_PATH,
    show_default=True,
    help="The file.",
)

trace_option = click.option(
    "--trace",
    "trace_path",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="F.json",
    help="Write where every frame's time goes; open it in ui.perfetto.dev.",
)


def read_size(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """WIDTHxHEIGHT as two numbers, for `--size`. Raises BadParameter."""
    del ctx
    if value is None:
        return None
    try:
        width, height = (int(part) for part in value.lower().split("x"))
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is not WIDTHxHEIGHT such as 640x384", param=param) from exc
    if min(width, height) < 1:
        raise click.BadParameter(f"{value!r} is no size", param=param)
    return width, height

"""--size WxH, as several commands take it."""

from __future__ import annotations

import click


def size_of(ctx: click.Context, param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    """The callback of such an option: width and height in pixels. Raises click.BadParameter."""
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

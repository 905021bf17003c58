"""--scale, --mean and --std, as several commands take them."""

from __future__ import annotations

import math

import click


def triple_of(ctx: click.Context, param: click.Parameter, value: str) -> tuple[float, float, float]:
    """The callback of an option with three numbers. Raises click.BadParameter."""
    del ctx
    try:
        a, b, c = (float(part) for part in value.split(","))
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} is not three numbers such as 0.485,0.456,0.406", param=param) from exc
    if not all(map(math.isfinite, (a, b, c))) or (param.name == "std" and 0.0 in {a, b, c}):
        raise click.BadParameter(f"{value!r} has a part that nothing can be calculated with", param=param)
    return a, b, c


def scale_of(ctx: click.Context, param: click.Parameter, value: float) -> float:
    """The callback of such an option. Raises click.BadParameter."""
    del ctx
    if not math.isfinite(value) or value == 0:
        raise click.BadParameter(f"{value:g} leaves nothing of a picture", param=param)
    return value

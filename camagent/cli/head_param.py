"""--head-param KEY=VALUE: how a head reads outputs that are not its family's usual ones."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

import click

from camagent.errors import printable


def head_params(ctx: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, Any]:
    """The callback of such an option: a value is JSON where it is any, else a word. Raises click.BadParameter."""
    del ctx
    found: dict[str, Any] = {}
    for text in values:
        key, equals, value = text.partition("=")
        if not (key and equals):
            raise click.BadParameter(f"{printable(text)!r} is not KEY=VALUE such as scores=logits", param=param)
        if key in found:
            raise click.BadParameter(f"{printable(key)!r} is given twice", param=param)
        found[key] = _value(value)
    return found


def as_options(params: Mapping[str, Any]) -> list[str]:
    """The same as it would be typed."""
    return [f"--head-param {shlex.quote(f'{key}={_text(value)}')}" for key, value in params.items()]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError):  # a word, such as pixels
        return text


def _text(value: Any) -> str:
    """A word as it is, unless it would be read as something else."""
    return value if isinstance(value, str) and _value(value) == value else json.dumps(value, separators=(",", ":"))

"""Passphrases of key files: from a file or asked for, never from the command line, where every process can read them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from camagent.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])


def passphrase_options(function: F) -> F:
    """`--passphrase-file F` and `--ask-passphrase`."""
    asked = click.option("--ask-passphrase", is_flag=True, help="Ask for the private key's passphrase.")
    given = click.option(
        "--passphrase-file", type=click.Path(path_type=Path), help="File whose first line is the private key's passphrase."
    )
    return given(asked(function))


def ask_or_read(path: Path | None, *, ask: bool, twice: bool = False) -> bytes | None:
    """The passphrase; None where neither option was given. Raises InputError for a file that cannot be read."""
    if path is not None:
        try:
            return path.read_bytes().split(b"\n", 1)[0].rstrip(b"\r")
        except OSError as exc:
            raise InputError(f"the passphrase file {path} cannot be read: {exc.strerror}", fix="check the path") from exc
    if ask:
        return str(click.prompt("Passphrase", hide_input=True, confirmation_prompt=twice, err=True)).encode()
    return None

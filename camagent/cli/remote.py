"""What commands share that speak to a camera over HTTP: the options, the token, and errors as exit codes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from camagent.cli import EXIT_FINDING, EXIT_UNDECIDED, EXIT_USAGE, telling
from camagent.errors import CodedError, InputError, UsageError, printable

F = TypeVar("F", bound=Callable[..., Any])
TOKEN_BYTES = 4096
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def proof_options(function: F) -> F:
    """--token-file, --ca and --fingerprint."""
    for option in (
        click.option("--fingerprint", metavar="SHA256", help="Trust the one certificate with this fingerprint."),
        click.option("--ca", type=_FILE, metavar="F", help="PEM of the authority that signed the camera's certificate."),
        click.option("--token-file", type=_FILE, metavar="F", help="What the camera's web.token_file holds."),
    ):
        function = option(function)
    return function


def read_token(path: Path | None) -> str | None:
    """The token, without the line's end. Raises InputError."""
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            token = file.read(TOKEN_BYTES + 1).decode().strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise InputError(
            f"the token file {printable(path)} cannot be read: {getattr(exc, 'strerror', None) or 'it is no text'}",
            evidence={"file": path}, fix="name the file that holds the camera's token",
        ) from exc  # fmt: skip
    if not token or len(token) > TOKEN_BYTES:
        raise InputError(
            f"the token file {printable(path)} holds no token",
            evidence={"characters": len(token)},
            fix="write the token into it",
        )
    return token


def warn(warning: Mapping[str, Any]) -> None:
    """A warning, as errors are worded: on stderr."""
    telling.warn(*(printable(warning.get(key, ""), 1000) for key in ("code", "what", "fix")))


def end_with(exc: CodedError) -> int:
    """Tells an error and gives the command's exit code: 1 refused there, 2 wrong usage, 3 not reached."""
    from firmware_pkg.push import NotReached, WrongTarget

    if isinstance(exc, UsageError):
        raise exc
    telling.tell(exc)
    if isinstance(exc, WrongTarget):
        return EXIT_USAGE
    return EXIT_UNDECIDED if isinstance(exc, NotReached) else EXIT_FINDING

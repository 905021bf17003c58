"""Errors and warnings on stderr, in the language of whoever reads them there."""

from __future__ import annotations

import sys

import click

from camagent import language
from camagent.errors import CodedError


def tell(exc: CodedError) -> None:
    """An error: its code, what happened, evidence and fix."""
    click.echo(language.of(sys.stderr).error(exc), err=True)


def warn(code: str, what: str, fix: str = "") -> None:
    """A warning, in the form of errors."""
    click.echo(language.of(sys.stderr).warning(code, what, fix), err=True)


def warn_unsigned(path: object, how: str = "'camagent bundle verify' does that") -> None:
    """A workstation's tool uses a bundle that nobody has verified."""
    warn("UNSIGNED", f"{path} was not verified; {how}")


__all__ = ["tell", "warn", "warn_unsigned"]

"""What the recipes' command lines share: errors become a sentence on stderr and an exit code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

import click

from camagent.cli import EXIT_DONE, EXIT_FINDING, EXIT_USAGE, INTERRUPTED, exit_code
from camagent.errors import CodedError, FileUnusable, printable


def run(app: click.Group, name: str, arguments: Sequence[str] | None = None) -> int:
    """Runs a command of `app`, which is called `name`; every error becomes a sentence on stderr and an exit code."""
    try:
        answer = app.main(None if arguments is None else list(arguments), prog_name=name, standalone_mode=False)
    except CodedError as exc:
        return _refuse(exc)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.format_message(), err=True)
        return EXIT_USAGE
    except click.ClickException as exc:
        path = exc.ctx.command_path if isinstance(exc, click.UsageError) and exc.ctx else name
        click.echo(f"error[USAGE]: {printable(exc.format_message(), 1000)}\n  fix: see '{path} --help'", err=True)
        return EXIT_USAGE
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except OSError as exc:
        return _refuse(FileUnusable.of(exc))
    except Exception as exc:  # noqa: BLE001  the last line: a traceback is never a user's answer
        return _internal(exc)
    return answer if isinstance(answer, int) else EXIT_DONE


def _internal(exc: Exception) -> int:
    if os.environ.get("CAMAGENT_DEBUG"):
        traceback.print_exc()
    fix = "this is a defect in the recipe; run again with CAMAGENT_DEBUG=1 and report what it prints"
    click.echo(f"error[INTERNAL]: {type(exc).__name__}: {printable(exc)}\n  fix: {fix}", err=True)
    return EXIT_FINDING


def _refuse(exc: CodedError) -> int:
    click.echo(exc.render(), err=True)
    return exit_code(exc)

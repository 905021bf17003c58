"""The command line. One module per command, imported when it is called; the one place where errors become exit codes."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

from camagent import __version__
from camagent.cli.lazy import LazyGroup, Place
from camagent.errors import CodedError, FileUnusable, HeadUndecided, Unreachable, UsageError, printable

EXIT_DONE, EXIT_FINDING, EXIT_USAGE, EXIT_UNDECIDED = 0, 1, 2, 3
INTERRUPTED = 130
KEY_UNAVAILABLE = "KEY_UNAVAILABLE"  # by its code: importing signing.refusals costs cryptography
# a disk or a folder that the caller named; every other OSError that comes this far is ours to explain
_FOR_THE_CALLER = frozenset({
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EIO, errno.ENAMETOOLONG,
    errno.EISDIR, errno.ENOTDIR,
})  # fmt: skip

COMMANDS: Mapping[str, Place] = MappingProxyType({
    "bundle": Place("camagent.cli.bundle", "Build, sign, verify, install and send model bundles."),
    "config": Place("camagent.cli.config", "Check, show and document the configuration."),
    "demo": Place("camagent.cli.demo", "See the whole thing work: camera, model, broker and page, with nothing to install."),
    "fleet": Place("camagent.cli.fleet", "Look at many cameras at once."),
    "infer": Place("camagent.cli.infer", "Run a bundle on pictures, videos or an RTSP stream."),
    "key": Place("camagent.cli.key", "Make and show signing keys."),
    "model": Place("camagent.cli.model", "Look into model files, make them faster, convert and compare them."),
    "run": Place("camagent.cli.daemon", "The daemon: cameras in, detections out over MQTT."),
    "selftest": Place("camagent.cli.selftest", "Say why nothing is seen."),
    "service": Place("camagent.cli.service", "The agent as a systemd service: install, uninstall, status."),
    "support": Place("camagent.cli.support", "Pack what a helper needs to see, without secrets."),
    "trust": Place("camagent.cli.trust", "Make, change and show the trust root."),
    "watch": Place("camagent.cli.watch", "Live view of what an agent publishes."),
})  # fmt: skip


@click.group(
    cls=LazyGroup,
    places=COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Example: camagent infer fastestdet-1.0.0.cambundle street.jpg --out seen/",
)
@click.version_option(__version__, "--version", prog_name="camagent")
def app() -> None:
    """An agent for IP cameras: RTSP in, detections out over MQTT, and a reason whenever there are none.

    Exit codes: 0 did it, 1 a finding or refusal is the answer, 2 wrong usage or configuration, 3 could not reach or decide.
    """


def main(arguments: Sequence[str] | None = None, group: click.Group = app, name: str = "camagent") -> None:
    """Runs a command and ends the process with its exit code. `group` and `name` are of another program, as recipes have."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr: what its encoding does not have is no defect
    _leave(run(arguments, group, name))


def _leave(code: int) -> None:
    """Ends the process; without taking the interpreter down where a thread was left behind in a library's call.

    That thread would be unwound when it comes back, and C++ code answers this with SIGABRT: tried with ONNX Runtime.
    """
    if any(thread.daemon for thread in threading.enumerate()):
        logging.shutdown()
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                stream.flush()
        os._exit(code)
    sys.exit(code)


def run(arguments: Sequence[str] | None = None, group: click.Group = app, name: str = "camagent") -> int:
    """Runs a command; every error becomes a sentence on stderr and an exit code."""
    try:
        answer = group.main(None if arguments is None else list(arguments), prog_name=name, standalone_mode=False)
        sys.stdout.flush()
    except CodedError as exc:
        return _refuse(exc)
    except click.exceptions.NoArgsIsHelpError as exc:  # its message is the whole help, made to be read
        click.echo(exc.format_message(), err=True)
        return EXIT_USAGE
    except click.ClickException as exc:
        path = exc.ctx.command_path if isinstance(exc, click.UsageError) and exc.ctx else name
        return _refuse(UsageError(exc.format_message(), fix=f"see '{path} --help'"))
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _end_stdout()  # the reader has what it wanted
        return EXIT_DONE
    except OSError as exc:
        if exc.errno not in _FOR_THE_CALLER:
            return _internal(exc)
        _end_stdout()
        return _refuse(FileUnusable.of(exc))
    except Exception as exc:  # noqa: BLE001  the last line: a traceback is never a user's answer
        return _internal(exc)
    return answer if isinstance(answer, int) else EXIT_DONE


def exit_code(exc: CodedError) -> int:
    """2 for wrong usage, 3 for somebody who does not answer and what cannot be decided, 1 for every refusal."""
    if isinstance(exc, UsageError) or exc.code == KEY_UNAVAILABLE:
        return EXIT_USAGE
    return EXIT_UNDECIDED if isinstance(exc, Unreachable | HeadUndecided) else EXIT_FINDING


def _refuse(exc: CodedError) -> int:
    from camagent.cli.telling import tell

    tell(exc)
    return exit_code(exc)


def _end_stdout() -> None:
    """Writes what still waits, or lets it go, so that the interpreter's end does not complain a second time."""
    try:
        sys.stdout.flush()
    except OSError:  # told already, or the reader has left
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _internal(exc: Exception) -> int:
    if os.environ.get("CAMAGENT_DEBUG"):
        traceback.print_exc()
    where = traceback.extract_tb(exc.__traceback__)[-1]
    at = f"{os.path.basename(where.filename)}:{where.lineno}"  # noqa: PTH119
    defect = CodedError(
        f"{type(exc).__name__}: {printable(exc)}",
        evidence={"at": at, "camagent": __version__},
        fix="this is a defect in camagent; run again with CAMAGENT_DEBUG=1 and report what it prints",
    )
    return _refuse(defect)

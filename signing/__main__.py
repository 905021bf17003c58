"""`python -m signing`: sign and verify a model in OpenSSF Model Signing v1.0, as its conformance suite calls it."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from signing import folder, limits
from signing.errors import CodedError, printable
from signing.key_files import load_private
from signing.keys import load_public
from signing.refusals import FormatUnsupported

EXIT_DONE, EXIT_REFUSED, EXIT_USAGE, INTERRUPTED = 0, 1, 2, 130
_FROM_FILE = "SIGNING_PASSPHRASE_FILE"
_KEY, _OTHER_METHODS = "key", ("certificate", "sigstore")
_EXAMPLES = """examples:
  python -m signing sign-model --method key --model-path model/ --output-bundle model.sig --private-key S.pem
  python -m signing verify-model --method key --model-path model/ --bundle model.sig --public-key S.pub.pem

The public tool takes the same files:
  model_signing verify key model/ --public_key S.pub.pem --signature model.sig

Exit codes: 0 did it, 1 did not (the reason is on stderr), 2 the command line is wrong. Git's own files at the top of the
folder are not signed and do no harm, as the specification says. An encrypted private key is opened with the first line of
the file that the environment variable SIGNING_PASSPHRASE_FILE names."""


class _Parser(argparse.ArgumentParser):
    """argparse, with our form of errors."""

    def error(self, message: str) -> None:  # type: ignore[override]
        sys.stderr.write(f"error[USAGE]: {printable(message, 1000)}\n  fix: see '{self.prog} --help'\n")
        raise SystemExit(EXIT_USAGE)


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = _Parser(
        prog="python -m signing", description=__doc__, epilog=_EXAMPLES, formatter_class=layout, allow_abbrev=False
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text, run in (
        ("sign-model", "sign a folder or one file", _sign),
        ("verify-model", "verify a folder or one file", _verify),
    ):
        command = commands.add_parser(
            name, help=text, description=text, epilog=_EXAMPLES, formatter_class=layout, allow_abbrev=False
        )
        command.set_defaults(run=run)
        command.add_argument("--method", required=True, type=_method, metavar="key", help="how it is signed")
        command.add_argument("--model-path", required=True, type=Path, metavar="DIR|FILE", help="what is signed")
        ignored = "not signed; absolute, or relative to DIR; may be repeated"
        command.add_argument("--ignore-paths", action="append", default=[], metavar="P", help=ignored)
        if run is _sign:
            command.add_argument("--output-bundle", required=True, type=Path, metavar="F", help="the signature file to write")
            command.add_argument("--private-key", required=True, type=Path, metavar="PEM", help="ECDSA P-256, P-384 or P-521")
        else:
            command.add_argument("--bundle", required=True, type=Path, metavar="F", help="the signature file")
            command.add_argument("--public-key", required=True, type=Path, metavar="PEM", help="the signer's public key")
            unsigned = "look at signed files only; others may lie beside them"
            command.add_argument("--ignore-unsigned-files", action="store_true", help=unsigned)
    return parser


def _method(name: str) -> str:
    """The specification's other methods are refused by name: asking for one is no slip of the keyboard."""
    if name == _KEY:
        return name
    if name in _OTHER_METHODS:
        evidence = {"found": f"method {name}", "known here": f"method {_KEY}"}
        raise FormatUnsupported(
            f"method {name} is not supported", evidence=evidence, fix=f"sign and verify with --method {_KEY}"
        )
    raise argparse.ArgumentTypeError(f"invalid choice: {name!r} (choose from '{_KEY}')")


def _sign(given: argparse.Namespace) -> None:
    signer = load_private(given.private_key, _passphrase())
    signature = folder.sign_model(given.model_path, signer, ignore=given.ignore_paths, output=given.output_bundle)
    staging = given.output_bundle.with_name(given.output_bundle.name + ".part")
    try:
        staging.write_bytes(signature)
        staging.replace(given.output_bundle)  # the old file or the new one, never half of one
    finally:
        staging.unlink(missing_ok=True)
    sys.stdout.write(f"signed with key {signer.public.id}\n")


def _verify(given: argparse.Namespace) -> None:
    with given.bundle.open("rb") as stream:
        signature = stream.read(limits.FOLDER_SIGNATURE_BYTES + 1)
    key = load_public(given.public_key)
    signed = folder.verify_model(
        given.model_path,
        signature,
        key,
        ignore=given.ignore_paths,
        signature_path=given.bundle,
        ignore_unsigned=given.ignore_unsigned_files,
    )
    sys.stdout.write(f"verified {len(signed.names)} files, signed with key {key.id}\n")


def _passphrase() -> bytes | None:
    """Never from the command line, where every user of the machine can read it."""
    named = os.environ.get(_FROM_FILE)
    return Path(named).read_bytes().split(b"\n", 1)[0].removesuffix(b"\r") if named else None


def _require_model(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(2, os.strerror(2), str(path))


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the answer is its exit code."""
    try:
        given = _parser().parse_args(arguments)
        run: Callable[[argparse.Namespace], None] = given.run
        _require_model(given.model_path)
        run(given)
    except SystemExit as exc:  # argparse's way to end after --help or a wrong option
        return exc.code if isinstance(exc.code, int) else EXIT_USAGE
    except CodedError as exc:
        sys.stderr.write(exc.render() + "\n")
        return EXIT_REFUSED
    except OSError as exc:
        where = printable(exc.filename if exc.filename is not None else "a file")
        sys.stderr.write(
            f"error[INPUT_UNREADABLE]: cannot use {where}\n"
            f"  evidence: found = {printable(exc.strerror or type(exc).__name__)}, expected = a path that can be used\n"
            "  fix: check the path and its permissions\n"
        )
        return EXIT_REFUSED
    except KeyboardInterrupt:
        return INTERRUPTED
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())

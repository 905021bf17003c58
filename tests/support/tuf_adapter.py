"""Our repository client under the command line of the public tuf-conformance suite (theupdateframework/tuf-conformance).

    pytest tuf_conformance --entrypoint "/path/to/.venv/bin/python -I /path/to/tests/support/tuf_adapter.py"

(-I: this folder holds a module `http`, which is not to be found in the place of Python's.)
It is thin: files in a folder, firmware_pkg.tuf_client, an exit code. Two things differ from a camera, as the suite is about
TUF in general: any kind of key that TUF knows may be in a root (a camera takes ECDSA P-256 and Ed25519), and the clock has no
floor (the suite sets it back). What is asked of every root on a camera besides is tested in tests/tuf/test_roots.py.
"""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from firmware_pkg import disk
from firmware_pkg.addresses import Prefix, Url, parse_url
from firmware_pkg.order import Limits, Rules
from firmware_pkg.tuf_client import Anchor, Kept, Network, Site, View, When, looking
from signing.errors import CodedError
from signing.trust_time import Clock

LIMITS = Limits(connect_s=5, read_s=5, first_tries=1, resumes=1, backoff_s=0.1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """0: it went well. 1: it was refused, and stderr says why."""
    given = _parser().parse_args(arguments)
    try:
        if given.command == "init":
            disk.write_atomic(given.metadata_dir / "root.json", given.trusted_root.read_bytes())
        elif given.command == "refresh":
            _look(given, lambda view: True)
        else:
            return 0 if _look(given, lambda view: _download(view, given.target_name, given.target_dir)) else 1
    except CodedError as exc:
        print(exc.render(), file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--metadata-dir", "--target-dir"):
        parser.add_argument(option, type=Path)
    for option in ("--metadata-url", "--target-name", "--target-base-url"):
        parser.add_argument(option)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("init").add_argument("trusted_root", type=Path)
    commands.add_parser("refresh")
    commands.add_parser("download")
    return parser


def _look(given: argparse.Namespace, use: object) -> bool:
    metadata = _folder(given.metadata_url)
    targets = _folder(given.target_base_url) if given.target_base_url else metadata
    rules = Rules(allowed=(Prefix(metadata), Prefix(targets)), setting="the command line", limits=LIMITS)
    anchor = Anchor((given.metadata_dir / "root.json").read_bytes())
    when = When(Clock(datetime.now(UTC), LONG_AGO))
    assert callable(use)
    with looking(Site(metadata, targets), Kept(given.metadata_dir), anchor, when, Network(rules, threading.Event())) as view:
        return bool(use(view))


def _folder(url: str) -> Url:
    """The suite names folders after its tests, with characters that a camera's configuration may not have."""
    parts = urlsplit(url)
    server = parse_url(f"{parts.scheme}://{parts.netloc}/")
    return replace(server, segments=tuple(unquote(part) for part in parts.path.strip("/").split("/")))


def _download(view: View, path: str, folder: Path) -> bool:
    target = view.find(path)
    if target is None:
        print(f"{path} is not listed", file=sys.stderr)
        return False
    final = folder / quote(path, "")
    if view.updater.find_cached_target(target, str(final)) is None:
        with view.open(target) as source:
            disk.write_atomic(final, source.read())
    return True


if __name__ == "__main__":
    sys.exit(main())

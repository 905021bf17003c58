"""camagent bundle verify: the checklist, step by step, and what differs where a bundle is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from camagent import BUILD_TIME, __version__, vitals
from camagent.cli import EXIT_DONE, EXIT_FINDING, exit_code
from camagent.cli.steps_view import StepsView, WorkView
from camagent.errors import CodedError, InputError, UsageError, printable
from camagent.language import Tongue
from firmware_pkg.checklist import Checklist
from firmware_pkg.errors import ArtifactTarget

if TYPE_CHECKING:
    from firmware_pkg.verify import Policy, VerifiedBundle

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog="Example: camagent bundle verify fastestdet-1.0.0.cambundle --trust root.json --device rk3568")
@click.argument("bundle", type=_FILE)
@click.option("--trust", type=_FILE, multiple=True, metavar="root.json", help="Trust root; repeat for a chain of them.")
@click.option("--public-key", type=_FILE, metavar="K.pub.pem", help="Trust this one key instead.")
@click.option("--device", metavar="ID", help="Would it run on this device (rk3568 ..)?")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(bundle: Path, trust: tuple[Path, ...], public_key: Path | None, device: str | None, as_json: bool) -> int:
    """Check a bundle as a camera would, and show how far it came.

    Exit code 0: accepted. 1: refused, with both sides of the difference and what to do. 2: wrong usage.
    """
    if bool(trust) == (public_key is not None):
        raise UsageError("whom do you trust?", fix="give --trust root.json (repeat it for a chain), or --public-key K.pub.pem")
    checklist = Checklist()
    try:
        policy = _policy(trust, public_key, device)
        verified = _verify(bundle, policy, checklist, silent=as_json)
        _golden(bundle, policy, verified, checklist)
    except CodedError as exc:
        if exit_code(exc) != EXIT_FINDING:
            raise
        if checklist.refusal is None:  # the root or key that was given is at fault
            checklist.refused(exc)
        refusal = exc.code
        _show(checklist, lambda tongue: tongue.say("refused: {code}", code=refusal), as_json=as_json)
        raise
    _show(checklist, lambda tongue: _accepted(verified, tongue), as_json=as_json)
    return EXIT_DONE


def _policy(trust: tuple[Path, ...], public_key: Path | None, device: str | None) -> Policy:
    """Raises CodedError for a root or key that cannot be used."""
    from firmware_pkg.verify import Policy
    from signing import keys
    from signing import trust as trusts
    from signing.trust_time import Clock
    from signing.verify import trust_key

    offered = [trusts.read_root(_read_root(path), path.name) for path in trust]
    roots = trusts.chain((), offered, first=True) if offered else ()
    trusted = trusts.trusted_keys(roots) if public_key is None else trust_key(keys.load_public(public_key))
    clock = Clock(datetime.now(UTC), BUILD_TIME, vitals.clock_synchronised())
    return Policy(trusted=trusted, roots=roots, clock=clock, device=device, runtime=__version__)


def _read_root(path: Path) -> bytes:
    from signing import limits

    try:
        with path.open("rb") as file:
            return file.read(limits.ROOT_BYTES + 1)
    except OSError as exc:
        raise InputError(f"{path} cannot be read: {exc.strerror}", evidence={"file": path}, fix="check the path") from exc


def _verify(bundle: Path, policy: Policy, checklist: Checklist, *, silent: bool) -> VerifiedBundle:
    from firmware_pkg.verify import verify as judge

    try:
        with bundle.open("rb", buffering=0) as source, WorkView("verifying", silent=silent) as view:
            size = bundle.stat().st_size
            return judge(source, policy, checklist, progress=lambda done: view.tell({"progress": {"done": done, "of": size}}))
    except OSError as exc:
        evidence = {"file": bundle}
        raise InputError(f"the bundle {bundle} cannot be read: {exc.strerror}", evidence=evidence, fix="check it") from exc


def _golden(bundle: Path, policy: Policy, verified: VerifiedBundle, checklist: Checklist) -> None:
    """Whether the model sees on its golden pictures what it should, where one of its artifacts runs on this machine.

    Raises:
        CodedError: GoldenFailed, BackendError, HeadMismatch ..: a camera would refuse it too.
    """
    if not verified.manifest.golden:
        checklist.skipped("golden", "the bundle has no golden picture")
        return
    from camagent import golden
    from camagent.pipeline import BackendOptions, installed, load_model

    device = policy.device or vitals.device()
    try:
        with bundle.open("rb") as source:
            made = load_model(source, policy, backends=installed(), backend="auto", device=device, golden=True)
    except ArtifactTarget as exc:
        checklist.skipped("golden", f"tested where it is installed: {exc.what}")
        return
    checklist.passed("golden", **golden.test(made, BackendOptions()))


def _show(checklist: Checklist, verdict: Callable[[Tongue], str], *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(checklist.report()))
        return
    view = StepsView()
    for step in checklist.steps:
        view.show(step.report())
    view.close()
    click.echo(printable(verdict(view.tongue), 1000))


def _accepted(verified: VerifiedBundle, tongue: Tongue) -> str:
    name, version = verified.manifest.name, verified.manifest.version
    signers = " ".join(key_id[:16] for key_id in verified.signers)
    return tongue.say("accepted: {name} {version}, signed by {signers}", name=name, version=version, signers=signers)

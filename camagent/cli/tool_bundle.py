"""A bundle for a workstation's tool: verified with --trust or -c, otherwise used as it is, with one line that says so."""

from __future__ import annotations

from pathlib import Path

import click

from camagent import vitals
from camagent.cli.telling import warn_unsigned
from camagent.clock import SystemClock
from camagent.config import Config
from camagent.errors import InputError, printable
from camagent.pipeline import TrustDesk, UsableBundle, installed, load_model
from firmware_pkg.verify import Policy
from signing import trust as trusting

trust_option = click.option(
    "--trust", "trust", type=click.Path(exists=True, dir_okay=False, path_type=Path), multiple=True, metavar="root.json",
    help="Verify the bundle against this trust root; repeat for a chain.",
)  # fmt: skip


def load_bundle(
    path: Path, roots: tuple[Path, ...], config: Config | None, *, golden: bool = False, backend: str = "auto"
) -> UsableBundle:
    """The model that fits this machine. Raises Refused for a bundle that is damaged or, where it is asked, not trusted."""
    policy, asked = _policy(roots, config)
    try:
        with path.open("rb") as source:
            device = (config.agent.device if config else "") or vitals.device()
            made = load_model(source, policy, backends=installed(), backend=backend, device=device, golden=golden, whole=True)
    except OSError as exc:
        raise InputError(f"the bundle {path} cannot be read: {exc.strerror}", fix="name a .cambundle file that exists") from exc
    if not asked or made.signature == "unsigned":
        how = "verify it with --trust root.json or -c camagent.toml" if not asked else "agent.allow_unsigned lets it pass"
        warn_unsigned(printable(path), how)
    return made


def _policy(roots: tuple[Path, ...], config: Config | None) -> tuple[Policy, bool]:
    if roots:
        chain = trusting.chain([], [trusting.read_root(path.read_bytes(), path.name) for path in roots], first=True)
        return Policy(trusted=trusting.trusted_keys(chain), roots=chain, unsigned="missing"), True
    if config is not None:
        return TrustDesk(config, SystemClock()).to_load(), True
    return Policy(trusted=None, unsigned="allowed"), False

"""camagent bundle push: a bundle to a camera over its HTTP API, with the camera's checklist as it goes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from camagent.cli import EXIT_DONE
from camagent.cli.bundle_store import install_body, show_result
from camagent.cli.remote import end_with, proof_options, read_token, warn
from camagent.cli.steps_view import WorkView
from camagent.errors import CodedError, printable


@click.command(
    epilog="Example: camagent bundle push fastestdet-1.0.0.cambundle --to https://camera:8420 --token-file token --ca ca.pem"
)
@click.argument("bundle", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--to", "url", required=True, metavar="URL", help="The camera's API: http(s)://camera:8420.")
@proof_options
@click.option("--force", is_flag=True, help="Also a bundle that has failed on that camera before.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def push(
    bundle: Path, url: str, token_file: Path | None, ca: Path | None, fingerprint: str | None, force: bool, as_json: bool
) -> int:
    """Upload a bundle to a camera, which verifies it, stores it and puts it on trial.

    Exit code 0: the camera took it. 1: it refused. 3: not reached, or what became of it is not known.
    """
    from firmware_pkg.push import push as send

    token, size = read_token(token_file), bundle.stat().st_size
    result: dict[str, Any] | None = None
    refusal: CodedError | None = None
    with WorkView(f"sending {printable(bundle.name, 48)}", silent=as_json) as view:

        def sent(done: int) -> None:
            view.tell({"progress": {"done": done, "of": size}})

        try:
            for event in send(bundle, url, token=token, ca=ca, fingerprint=fingerprint, progress=sent, force=force):
                if "warning" in event:
                    warn(event["warning"])
                elif "result" in event:
                    result = dict(event["result"])
                elif "progress" not in event:  # how far the camera has read is how much was sent
                    view.tell(event)
        except CodedError as exc:
            refusal = exc
    if as_json:
        click.echo(json.dumps(install_body("camagent.push/1", view.steps, result, refusal)))
    if refusal:
        return end_with(refusal)
    if not as_json:
        show_result(result or {})
    return EXIT_DONE

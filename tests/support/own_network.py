"""Downloads in a network namespace of its own, where addresses other than loopback are real. Run as `unshare -rn python -m ..`.

A name server that changes its mind is played by `getaddrinfo`: whoever resolves the name a second time lands in the trap,
which listens on the same port of 127.0.0.1. Prints what happened as JSON.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from firmware_pkg.addresses import Prefix
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Limits, Listener, Order, Rules
from firmware_pkg.transfer import download
from tests.support.http_server import Files, serving, sha256, trap
from tests.support.tls import Authority

GOOD, PORT, NAME = "203.0.113.10", 8443, "updates.example"
CONTENT = Random(1).randbytes(300_000)
LIMITS = Limits(connect_s=2, read_s=2, total_s=10, backoff_s=0.01)


def changing_its_mind(asked: list[str]) -> Callable[..., Any]:
    """The first answer for the name is the good address, every later one is loopback."""
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, *rest: Any, **options: Any) -> Any:
        if host != NAME:
            return real(host, *rest, **options)
        asked.append(host)
        return real(GOOD if len(asked) == 1 else "127.0.0.1", *rest, **options)

    return getaddrinfo


def attempt(url: str, **rules: Any) -> str:
    order = Order(url=url, sha256=sha256(CONTENT), size=len(CONTENT))
    try:
        with download(order, Rules(allowed=(Prefix.parse(url),), limits=LIMITS, **rules)) as source:
            return "whole" if source.read() == CONTENT else "wrong"
    except DownloadFailed as exc:
        return exc.evidence["reason"]


def main() -> None:
    subprocess.run("ip link set lo up && ip address add 203.0.113.10/32 dev lo", shell=True, check=True)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        authority = Authority(Path(folder))
        right, wrong = authority.issue(NAME), authority.issue("other.example")
        for scheme, tls in (("http", None), ("https", right.server()), ("https-wrong-name", wrong.server())):
            asked: list[str] = []
            socket.getaddrinfo = changing_its_mind(asked)
            with (
                serving(Files(CONTENT, cuts=[100_000, 100_000]), host=GOOD, port=PORT, tls=tls) as server,
                serving(trap, port=PORT) as trapped,
            ):
                outcome = attempt(f"{scheme[:5].rstrip('-')}://{NAME}:{PORT}/models/x", ca_file=authority.file)
            found[scheme] = {
                "outcome": outcome, "asked": len(asked), "requests": len(server.requests), "trap": trapped.connections,
                "hosts": sorted({request.headers["host"] for request in server.requests}),
            }  # fmt: skip
        socket.getaddrinfo = changing_its_mind([])
        with serving(Files(CONTENT), host="0.0.0.0", port=PORT) as agent:
            outcome = attempt(f"http://{NAME}:{PORT}/models/x", listener=Listener("0.0.0.0", PORT))
        found["own-listener"] = {"outcome": outcome, "requests": agent.connections}
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()

"""A real nginx on a free port, with the blocks of a `server` that a test needs. It ends with the process that started it."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.support.broker import free_port, wait_for
from tests.support.tls import Identity


def _executable() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed")
    return found


class Nginx:
    """One nginx in `folder`. It keeps its port over `kill` and `start`; `http` are lines beside the server's."""

    def __init__(self, folder: Path, server: str, *, http: str = "", identity: Identity | None = None) -> None:
        self.folder, self.port = folder, free_port()
        folder.mkdir(parents=True)
        tls = f"ssl_certificate {identity.cert}; ssl_certificate_key {identity.key};" if identity else ""
        temporary = " ".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        self.url = f"{'https' if identity else 'http'}://127.0.0.1:{self.port}"
        (folder / "nginx.conf").write_text(f"""
master_process off; daemon off; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    {temporary}
    log_format told '$status $request_method $uri $http_range';
    access_log {folder}/access.log told;
    {http}
    server {{
        listen 127.0.0.1:{self.port} {"ssl" if identity else ""};
        {tls}
        {server}
    }}
}}
""")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def told(self) -> list[str]:
        """Status, method, path and range of every request so far."""
        log = self.folder / "access.log"
        return log.read_text("utf-8").splitlines() if log.exists() else []

    def start(self) -> None:
        """Returns once it accepts connections."""
        bind = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        command = [*bind, _executable(), "-p", str(self.folder), "-e", str(self.folder / "error.log"), "-c", "nginx.conf"]
        with (self.folder / "output").open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=output)
        wait_for(self._is_up, 10, f"nginx in {self.folder} does not listen")

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "output").read_text() + (self.folder / "error.log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except ConnectionRefusedError:
            return False
        return True

    def kill(self) -> None:
        """At once, in the middle of whatever it sends."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None) -> None:
        self.kill()

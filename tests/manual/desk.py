"""Where a page's blocks are played: a folder of its own, the commands on PATH, ports of our own instead of the usual ones."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.manual.blocks import ROOT, Block
from tests.support.broker import Broker, free_port, running, wait_for

TOOLS = ("curl", "jq", "mosquitto_sub", "openssl", "ssh")  # Debian's: .ci/debian-packages
SUDO = '#!/bin/sh\nexec "$@"\n'  # the desk is the reader's own


class Desk:
    """`swaps`: what stands on the page -> what stands for it here, in the order in which they are made."""

    def __init__(self, folder: Path, broker: Broker | None = None, swaps: Mapping[str, str] | None = None) -> None:
        self.folder, self.broker, self.page = folder, broker, free_port()
        self.swaps = dict(swaps or {})
        self.environment = {"COLUMNS": "100"}
        self.agent: subprocess.Popen[bytes] | None = None
        self.until_the_end = contextlib.ExitStack()
        self.kept: dict[str, Any] = {}  # what one block leaves for a later one
        (folder / "bin").mkdir()
        (folder / "bin" / "sudo").write_text(SUDO)
        (folder / "bin" / "sudo").chmod(0o755)
        for name in ("recipes", "camagent"):
            (folder / name).symlink_to(ROOT / name)

    def play(self, block: Block, swaps: Mapping[str, str], *, code: int = 0) -> str:
        """The block as it stands, but for what is swapped; with `code` 0 each of its commands has to succeed."""
        done = self.run(self.ours(block.text, swaps), strict=not code)
        assert done.returncode == code, f"{block} ends with {done.returncode}\n{block.text}\n{done.stdout}"
        return done.stdout

    def run(self, script: str, *, strict: bool = True, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """stdout and stderr come together, as in a terminal."""
        missing = [tool for tool in TOOLS if re.search(rf"(?<![\w/.]){tool} ", script) and shutil.which(tool) is None]
        if missing:
            pytest.skip(f"not installed: {', '.join(missing)}")
        command = ["bash", "-euo" if strict else "-uo", "pipefail", "-c", script]
        return subprocess.run(
            command, cwd=self.folder, env=self._environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip

    def stay(self, script: str) -> None:
        """As `beside`, until the page's last block was played."""
        self.until_the_end.enter_context(self.beside(script))

    @contextmanager
    def beside(self, script: str) -> Iterator[None]:
        """An agent that goes on until it is stopped; its page answers. Its log is agent.log."""
        words = shlex.split(self.ours(script), comments=True)
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = subprocess.Popen(words, cwd=self.folder, env=self._environment(), stdout=log, stderr=log)
        try:
            wait_for(lambda: self._listens() or not self._runs(), 60, "the agent's page is not there")
            assert self._runs(), (self.folder / "agent.log").read_text()
            yield
        finally:
            self.agent.send_signal(signal.SIGTERM)
            self.agent.wait(30)
            self.agent = None

    def ours(self, script: str, swaps: Mapping[str, str] | None = None) -> str:
        for shown, here in {**(swaps or {}), **self.swaps}.items():
            script = script.replace(shown, here)
        script = script.replace(":8420", f":{self.page}").replace("/etc/camagent/", "etc/")
        own = f'[web]\nlisten = "127.0.0.1:{self.page}"\n[[camera]]'
        script = re.sub(r"^\[\[camera\]\]$", own, script, count=1, flags=re.MULTILINE)
        if self.broker is None:
            return script
        script = script.replace(":1883", f":{self.broker.port}")
        script = script.replace("mosquitto_sub ", f"mosquitto_sub -W 30 -p {self.broker.port} ")
        return re.sub(r"camagent watch\b", f"camagent watch --url mqtt://127.0.0.1:{self.broker.port}", script)

    @property
    def broker_port(self) -> int:
        assert self.broker is not None
        return self.broker.port

    def _runs(self) -> bool:
        return self.agent is not None and self.agent.poll() is None

    def _listens(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.page), 1.0):
            return True
        return False

    def _environment(self) -> dict[str, str]:
        path = f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, **self.environment}


@contextmanager
def bare(folder: Path) -> Iterator[Desk]:
    here = Desk(folder)
    with here.until_the_end:
        yield here


@contextmanager
def with_broker(folder: Path) -> Iterator[Desk]:
    (folder / "mosquitto").mkdir()
    with running(folder / "mosquitto") as broker:
        here = Desk(folder, broker)
        with here.until_the_end:
            yield here

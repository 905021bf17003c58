"""A broker for who has none at hand: amqtt, in a process of its own, for it neither ends by itself nor keeps its errors.

python -m camagent.demo.broker PORT yes|no: whether clients without a user name are let in. Extra `demo`.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from camagent.errors import BrokerError, ExtraMissing, printable

START_S, STOP_S = 20.0, 5.0
_POLL_S = 0.05
_MQTT_5, _HEAD = 5, 16
_SPEAK_3_1_1 = b"\x20\x02\x00\x01"  # CONNACK of 3.1.1: unacceptable protocol version
_PLUGIN = "amqtt.plugins.authentication.AnonymousAuthPlugin"


@contextmanager
def embedded(port: int, log: Path, *, anonymous: bool) -> Iterator[str]:
    """MQTT 3.1.1 on this port of the loopback; its url. Raises ExtraMissing, BrokerError."""
    if importlib.util.find_spec("amqtt") is None:
        raise ExtraMissing(
            "the demo's broker is not installed", evidence={"missing": "amqtt"},
            fix="pip install 'camagent[demo]', or name a broker of yours: camagent demo --url mqtt://HOST",
        )  # fmt: skip
    command = [sys.executable, "-m", "camagent.demo.broker", str(port), "yes" if anonymous else "no"]
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)  # noqa: S603  a list, no shell
    try:
        _wait(process, port, log)
        yield f"mqtt://127.0.0.1:{port}"
    finally:
        process.kill()  # it holds nothing that has to be put away
        process.wait(STOP_S)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end = time.monotonic() + START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError as exc:
            if process.poll() is not None or time.monotonic() > end:
                said = log.read_text("utf-8", "replace").strip().splitlines()[-1:]
                raise BrokerError(
                    "the demo's broker cannot be started", evidence={"it said last": printable(" ".join(said), 300)},
                    fix="name one of yours: camagent demo --url mqtt://HOST",
                ) from exc  # fmt: skip
            time.sleep(_POLL_S)
        else:
            return


async def _serve(port: int, *, anonymous: bool) -> None:
    from amqtt.broker import Broker  # noqa: PLC0415  an extra

    broker = Broker({
        "listeners": {"default": {"type": "external"}}, "plugins": {_PLUGIN: {"allow_anonymous": anonymous}},
    })  # fmt: skip
    await broker.start()
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(0)
        welcomes = set()
        while True:
            client, _ = await asyncio.get_running_loop().sock_accept(server)
            welcomes.add(task := asyncio.create_task(_welcome(broker, client)))
            task.add_done_callback(welcomes.discard)


async def _welcome(broker: Any, client: socket.socket) -> None:
    """Of a broker that reads MQTT 5 as 3.1.1 and waits for what never comes: who speaks 5 is told so here."""
    from amqtt.adapters import StreamReaderAdapter, StreamWriterAdapter  # noqa: PLC0415

    client.settimeout(0)
    try:
        if await _version(client) == _MQTT_5:
            with client:
                await asyncio.get_running_loop().sock_sendall(client, _SPEAK_3_1_1)
            return
        reader, writer = await asyncio.open_connection(sock=client)
        await broker.external_connected(StreamReaderAdapter(reader), StreamWriterAdapter(writer), "default")
    except Exception as exc:  # noqa: BLE001  one client's end; the others go on
        sys.stderr.write(f"a client was lost: {exc!r}\n")


async def _version(client: socket.socket) -> int:
    """The protocol level of CONNECT, left where it is; 0 where the client has gone or sends something else."""
    seen = 0
    while True:
        await _readable(client)
        head = client.recv(_HEAD, socket.MSG_PEEK)
        at = head.find(b"\x00\x04MQTT")
        if at > 0 and len(head) > at + 6:
            return head[at + 6]
        if len(head) in {seen, _HEAD}:
            return 0
        seen = len(head)


async def _readable(client: socket.socket) -> None:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(client, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(client)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), anonymous=sys.argv[2] == "yes"))

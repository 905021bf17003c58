"""The agent's end of the control socket. A client that is silent, slow or gone costs a thread for some seconds, no more."""

from __future__ import annotations

import grp
import json
import logging
import os
import select
import socket
import struct
import threading
import time
from pathlib import Path
from typing import Any

from camagent.control import protocol
from camagent.control.protocol import Request, RequestInvalid, Silent
from camagent.errors import Busy, CodedError, printable
from camagent.jobs import as_refusal, thinned
from camagent.pulse import Pulse
from camagent.service import Event, Origin, SelfTestWish, Service

log = logging.getLogger("camagent.control")

GROUP = "camagent"
CONVERSATIONS = 8
REQUEST_S = 10.0  # from connecting to the end of the request's line
PLACE_S = 0.2  # for a place among them: a client that only looks whether somebody is there is gone at once
SEND_S = 10.0  # a client that does not read is let go, its work goes on
RETRY_S = 10.0
TURN_S = 60.0
LOOK_S = 5.0  # how often somebody may have removed the socket before it is put back


class ControlServer:
    """Listens on `control.sock` in `run_dir` from `start` to `stop`. Only the owner of the state directory may make one."""

    def __init__(self, run_dir: Path, service: Service, *, request_s: float = REQUEST_S, look_s: float = LOOK_S) -> None:
        self.path = run_dir / protocol.SOCKET_NAME
        self.problem: str | None = None  # why nobody can connect; tried again every 10 s
        self.pulse = Pulse("control")
        self._service, self._request_s, self._look_s = service, request_s, look_s
        self._stop = threading.Event()
        self._wake, self._woken = socket.socketpair()  # closing a listener does not wake who waits for it
        self._slots = threading.BoundedSemaphore(CONVERSATIONS)
        self._lock = threading.Lock()
        self._open: dict[socket.socket, threading.Thread] = {}
        self._listener: socket.socket | None = None
        self._inode = 0
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)

    def start(self) -> None:
        """The socket is there when this returns, or `problem` says why not. A socket left by a killed agent is replaced."""
        self._bind()
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Removes the socket and lets everybody go; returns in time, whatever the conversations do."""
        deadline = time.monotonic() + timeout_s
        self._stop.set()
        self._wake.close()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        with self._lock:
            talking = dict(self._open)
        for conn in talking:
            _shut(conn)
        for thread in talking.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._is_ours():
            self.path.unlink(missing_ok=True)
        if self._listener:
            self._listener.close()
        self._woken.close()

    def _serve(self) -> None:
        while not self._stop.is_set():
            if self._listener is None:
                self.pulse.beat(TURN_S, "waiting for the next try")
                self._stop.wait(RETRY_S)
                self._bind()
                continue
            self._accept(self._listener)
            if not self._stop.is_set():
                self._listener.close()
                self._bind()
        self.pulse.rest()

    def _bind(self) -> None:
        """Makes the socket under another name, gives it its rights, and only then lets it be found."""
        if self._stop.is_set():
            return
        self._listener = None
        fresh = self.path.with_name("control.new")
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            fresh.unlink(missing_ok=True)
            listener.bind(str(fresh))
            fresh.chmod(0o660)
            _give_to_group(fresh)
            listener.listen(CONVERSATIONS * 2)
            listener.settimeout(0)
            self._inode = fresh.stat().st_ino
            fresh.replace(self.path)
        except OSError as exc:
            listener.close()
            if self.problem is None:
                log.error("%s cannot be made: %s; tried again every %g s", self.path, exc.strerror or exc, RETRY_S)  # noqa: TRY400
            self.problem = f"{self.path}: {exc.strerror or exc}"
            return
        self.problem, self._listener = None, listener

    def _is_ours(self) -> bool:
        try:
            return self.path.stat().st_ino == self._inode
        except OSError:
            return False

    def _accept(self, listener: socket.socket) -> None:
        """Until the stop, or until somebody has taken the socket's name away."""
        while not self._stop.is_set():
            self.pulse.beat(TURN_S, "waiting for somebody who asks")
            ready, _, _ = select.select([listener, self._woken], [], [], self._look_s)
            if not ready and not self._is_ours():
                log.warning("%s was removed by somebody and is made again", self.path)
                return
            if listener in ready:
                self._welcome(listener)

    def _welcome(self, listener: socket.socket) -> None:
        try:
            conn, _ = listener.accept()
        except BlockingIOError:
            return  # it has gone again
        except OSError as exc:  # no descriptors left
            log.error("control socket: %s", exc.strerror or exc)  # noqa: TRY400
            self._stop.wait(1.0)
            return
        if not self._slots.acquire(timeout=PLACE_S):
            busy = Busy(f"{CONVERSATIONS} conversations are going on", fix="ask again in a few seconds")
            with conn:
                _Answer(conn).send({"refusal": busy.report()})
            return
        thread = threading.Thread(target=self._converse, args=(conn,), name="control-client", daemon=True)
        with self._lock:
            self._open[conn] = thread
        try:
            thread.start()
        except RuntimeError:  # no more threads to be had
            self._end(conn)
            log.exception("control socket: no thread for a client")

    def _converse(self, conn: socket.socket) -> None:
        descriptors: list[int] = []
        answer = _Answer(conn)
        try:
            try:
                request = protocol.read_request(protocol.receive(conn, descriptors, self._request_s))
                last: Event = {"result": self._do(request, descriptors, _origin(conn), answer)}
            except Silent as exc:
                log.debug("control socket: %s", exc)
                return
            except BaseException as exc:  # noqa: BLE001  told to whoever asked, and logged where it is a defect
                last = {"refusal": as_refusal(exc).report()}
            answer.send(last)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
            self._end(conn)

    def _do(self, request: Request, descriptors: list[int], origin: Origin, answer: _Answer) -> dict[str, Any]:
        service, tell = self._service, thinned(answer.send)
        match request.op:
            case "status":
                return service.status()
            case "bundles":
                return service.bundles()
            case "install":
                with protocol.handed(descriptors) as source:
                    return service.install(source, origin, tell, force=request.force)
            case "fetch":
                return service.fetch(request.name, request.url, origin, tell, force=request.force)
            case "activate":
                return service.activate(request.name, request.version, origin, tell, force=request.force)
            case "rollback":
                return service.rollback(request.name, origin, tell)
            case "selftest":
                wish = SelfTestWish(request.camera, request.whole, request.config_path, request.config_digest)
                return service.selftest(wish, origin, tell)
            case "trust":
                with protocol.handed(descriptors) as source:
                    data = source.read(protocol.TRUST_BYTES + 1)
                if len(data) > protocol.TRUST_BYTES:
                    raise RequestInvalid(
                        "the chain of roots is too long", evidence={"limit": protocol.TRUST_BYTES}, fix="send fewer roots"
                    )
                return service.install_trust(protocol.read_trust_body(data).roots, origin, dry_run=request.dry_run)

    def _end(self, conn: socket.socket) -> None:
        with self._lock:
            self._open.pop(conn, None)
        conn.close()
        self._slots.release()


class _Answer:
    """Lines to a client. One that does not read or is gone is not waited for again; the work goes on."""

    def __init__(self, conn: socket.socket) -> None:
        self._conn, self._is_gone = conn, False

    def send(self, event: Event) -> None:
        if self._is_gone:
            return
        try:
            self._conn.settimeout(SEND_S)
            self._conn.sendall(json.dumps(event, default=printable).encode() + b"\n")
        except OSError as exc:
            self._is_gone = True
            log.info("control socket: the client is gone (%s); what it asked for goes on", exc.strerror or exc)


def _origin(conn: socket.socket) -> Origin:
    """The kernel's word for who is at the other end."""
    packed = conn.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", packed)
    return Origin("local", f"uid {uid}, pid {pid}")


def _give_to_group(path: Path) -> None:
    try:
        group = grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return  # a machine without that group: the owner alone
    if path.stat().st_gid == group:
        return  # and under systemd's hardening nobody may call chown
    try:
        os.chown(path, -1, group)
    except OSError as exc:
        log.warning("%s cannot be given to group %s: %s; only this user can ask", path, GROUP, exc.strerror)


def _shut(conn: socket.socket) -> None:
    try:
        conn.shutdown(socket.SHUT_RDWR)
    except OSError as exc:
        log.debug("control socket: already closed: %s", exc.strerror)


__all__ = ["CONVERSATIONS", "CodedError", "ControlServer"]

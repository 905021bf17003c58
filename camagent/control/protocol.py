"""What goes over the control socket: the request, its limits, and files that travel as open descriptors."""

from __future__ import annotations

import io
import os
import socket
import stat
import time
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import msgspec
from msgspec import Meta

from camagent.errors import Refusal
from signing.limits import ROOT_BYTES, ROOT_CHAIN

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SOCKET_NAME = "control.sock"
REQUEST_BYTES = 64 * 1024
ANSWER_BYTES = 4 * 1024 * 1024  # one line of an answer
TRUST_BYTES = 4 * 1024 * 1024  # a whole chain of roots as JSON
DESCRIPTORS = 1  # a bundle, or a chain of roots

Op: TypeAlias = Literal["status", "bundles", "install", "fetch", "activate", "rollback", "trust", "selftest"]


class Request(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question. `install` and `trust` come with an open file: a bundle, or a TrustBody as JSON."""

    op: Op
    name: Annotated[str, Meta(max_length=48)] = ""
    version: Annotated[str, Meta(max_length=200)] | None = None
    url: Annotated[str, Meta(max_length=2000)] = ""
    force: bool = False
    dry_run: bool = False
    camera: Annotated[str, Meta(max_length=48)] = ""
    whole: bool = False
    config_path: Annotated[str, Meta(max_length=4096)] = ""
    config_digest: Annotated[str, Meta(max_length=64)] = ""


class TrustBody(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A chain of root.json files, each as base64; `PUT /api/trust` takes the same."""

    roots: Annotated[tuple[Annotated[bytes, Meta(max_length=ROOT_BYTES)], ...], Meta(min_length=1, max_length=ROOT_CHAIN)]


_REQUEST = msgspec.json.Decoder(Request)
_TRUST = msgspec.json.Decoder(TrustBody)


class RequestInvalid(Refusal):
    """What was asked is not a question that this agent knows, or it lacks something."""

    code = "REQUEST_INVALID"


class Silent(Exception):
    """The other side has gone, or said nothing in time."""


def read_request(data: bytes) -> Request:
    """One line -> Request. Raises RequestInvalid."""
    try:
        return _REQUEST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestInvalid(
            f"this is no request: {exc}",
            evidence={"bytes": len(data)},
            fix="ask with the camagent command line of the version that the agent runs",
        ) from exc


def read_trust_body(data: bytes) -> TrustBody:
    """`{"roots": [base64 ..]}` -> TrustBody. Raises RequestInvalid."""
    try:
        return _TRUST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise RequestInvalid(
            f"this is no chain of roots: {exc}",
            evidence={"bytes": len(data), "allowed": f"1 to {ROOT_CHAIN} roots of at most {ROOT_BYTES} bytes"},
            fix='send {"roots": ["<base64 of root.json>", ..]}',
        ) from exc


def receive(conn: socket.socket, descriptors: list[int], timeout_s: float) -> bytes:
    """The request's line, without its end. Every descriptor that came goes to `descriptors`, also when this raises.

    Raises:
        Silent: gone, or no whole line within `timeout_s`.
        RequestInvalid: too long, or more descriptors than one.
    """
    deadline, data = time.monotonic() + timeout_s, b""
    while b"\n" not in data:
        left = deadline - time.monotonic()
        if left <= 0:
            raise Silent(f"no request within {timeout_s:g} s")
        conn.settimeout(left)
        try:
            # one more than is allowed, so that a second one is seen; a third is closed by the kernel
            part, files, flags, _ = socket.recv_fds(conn, REQUEST_BYTES, DESCRIPTORS + 1, socket.MSG_CMSG_CLOEXEC)
        except TimeoutError as exc:
            raise Silent(f"no request within {timeout_s:g} s") from exc
        except OSError as exc:
            raise Silent(exc.strerror or str(exc)) from exc
        descriptors.extend(files)
        if len(descriptors) > DESCRIPTORS or flags & socket.MSG_CTRUNC:
            raise RequestInvalid("more than one open file came with the request", fix="send one bundle per request")
        data += part
        if not part:
            raise Silent("the other side has closed")
        if len(data) > REQUEST_BYTES:
            raise RequestInvalid(
                "the request is too long", evidence={"limit": REQUEST_BYTES}, fix="hand large things over as an open file"
            )
    return data.partition(b"\n")[0]


class Handed(io.RawIOBase):
    """A file that somebody else has opened, read from its front. Its offset, which both sides share, is left alone."""

    def __init__(self, descriptor: int) -> None:
        """Takes the descriptor over. Raises RequestInvalid, with it closed, for what is no regular file open for reading."""
        super().__init__()
        self._descriptor, self._at = descriptor, 0
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            if regular:
                os.pread(descriptor, 1, 0)
        except OSError as exc:
            self.close()
            raise RequestInvalid(
                f"the file that was handed over cannot be read: {exc.strerror}", fix="open it for reading"
            ) from exc
        if not regular:  # a pipe or a socket could keep the agent waiting for ever
            self.close()
            raise RequestInvalid(
                "what was handed over is no regular file", fix="save it to a file first: pipes and devices are not taken"
            )

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """The next bytes."""
        count = os.preadv(self._descriptor, [buffer], self._at)
        self._at += count
        return count

    def fileno(self) -> int:
        """The descriptor."""
        return self._descriptor

    def close(self) -> None:
        """Closes the descriptor, once."""
        if not self.closed:
            os.close(self._descriptor)
        super().close()


def handed(descriptors: list[int]) -> io.BufferedReader:
    """The file that came with a request, taken out of `descriptors`. Raises RequestInvalid where there is none."""
    if not descriptors:
        raise RequestInvalid("no open file came with the request", fix="send the bundle's descriptor with it (SCM_RIGHTS)")
    return io.BufferedReader(Handed(descriptors.pop()), 256 * 1024)

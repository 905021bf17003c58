"""What a failed RTSP session means: FFmpeg's error and the server's own word, turned into a sentence and a next step."""

from __future__ import annotations

import errno
import re
import socket

import av
import av.error

from camagent.errors import SourceError, StreamStalled, StreamUnreachable, printable
from camagent.sources.errors import StreamClientLimit, StreamDown, StreamEnded, StreamRefused, TransportRefused
from camagent.sources.ffmpeg import said
from camagent.sources.urls import Address

ASK_TIMEOUT_S = 2.0
_NOBODY = frozenset({errno.ECONNREFUSED, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EHOSTDOWN})
_NO_NAME = "resolve hostname"  # FFmpeg reports a name that does not exist as an I/O error with these words
_NO_MEDIA = "speaks RTSP and sends no media"
_NO_MEDIA_FIX = "close another client of the camera or raise its limit; try the other transport"
_STATUS = re.compile(r"failed: (?P<code>[45]\d\d)\b")
_REFUSALS = {
    "401": (
        "the camera refuses the user name or the password",
        "correct the credentials in url, user_file or password_file; some cameras have RTSP users of their own",
    ),
    "403": (
        "the camera forbids this user to see the stream",
        "give the user the right to view the stream in the camera's user settings",
    ),
    "404": (
        "the camera has no stream under this path",
        "look the RTSP path up in the camera's manual or its ONVIF profile",
    ),
    "453": ("the camera serves no further client", "close another client of the camera or raise its limit"),
    "461": ("the camera does not offer this transport", "set transport to tcp, udp or auto"),
}


def refused(exc: av.FFmpegError, heard: list[str], address: Address, timeout_s: float, took_s: float) -> SourceError:
    """Why a session did not come about, after `took_s` seconds of the `timeout_s` it may take."""
    words = address.scrub(said(exc, heard))
    evidence = {"url": address.shown, "server": words}
    status = _STATUS.search(words)
    if status or isinstance(exc, av.error.HTTPError):
        what, fix = _REFUSALS.get(
            status["code"] if status else "", ("the camera refuses the session", "look at the camera's log")
        )
        kind = TransportRefused if status and status["code"] == "461" else StreamRefused
        return kind(f"{what}: {words}", fix=fix, evidence=evidence)
    if took_s >= timeout_s:  # FFmpeg tells an interrupted handshake as "invalid data"
        return _silent(address, timeout_s)
    if exc.errno in _NOBODY or _NO_NAME in words:
        return StreamDown(
            f"{address.shown} cannot be reached: {words}",
            fix="check the camera's power, network, host name and RTSP port",
            evidence=evidence,
        )
    return StreamUnreachable(
        f"{address.shown} cannot be opened: {words}",
        fix="see whether ffplay can play this address; a camera that is still starting answers later",
        evidence=evidence,
    )


def silent_session(address: Address, *, packets: int, limit_s: float) -> SourceError:
    """An open session that stopped sending after so many packets, or never began to."""
    evidence = {"url": address.shown, "packets of the session": packets}
    if not packets:
        return StreamClientLimit(f"{address.shown} {_NO_MEDIA}", fix=_NO_MEDIA_FIX, evidence=evidence)
    return StreamStalled(
        f"{address.shown} sent no picture for {limit_s:g} s",
        fix="check the network between camera and agent, and whether the camera's encoder hangs",
        evidence=evidence,
    )


def ended(exc: av.FFmpegError | None, address: Address) -> SourceError:
    """A session that the server or the network ended; `exc` is None where FFmpeg only saw the end of the stream."""
    evidence = {"url": address.shown}
    if exc is not None:
        evidence["cause"] = address.scrub(exc.strerror or type(exc).__name__)
    return StreamEnded(
        f"{address.shown} ended the session",
        fix="none if the camera was restarted; else look at its log and its client limit",
        evidence=evidence,
    )


def _silent(address: Address, timeout_s: float) -> SourceError:
    """Opening timed out: asks the server itself whether it is away, deaf, or speaks RTSP and holds its media back."""
    evidence = {"url": address.shown}
    try:
        answer = ask(address.host, address.port)
    except OSError as exc:
        return StreamDown(
            f"{address.shown} cannot be reached: no answer for {timeout_s:g} s",
            fix="check the camera's power, network and RTSP port",
            evidence={**evidence, "connect": exc.strerror or type(exc).__name__},
        )
    if not answer:
        return StreamRefused(
            f"{address.shown} accepts the connection and gives no RTSP answer for {timeout_s:g} s",
            fix="check that this is the RTSP port, and restart the camera if it is",
            evidence=evidence,
        )
    return StreamClientLimit(f"{address.shown} {_NO_MEDIA}", fix=_NO_MEDIA_FIX, evidence={**evidence, "server": answer})


def ask(host: str, port: int) -> str:
    """The first line of the server's answer to OPTIONS, "" where there is none or it is not RTSP.

    Raises:
        OSError: nobody accepts connections there.
    """
    with socket.create_connection((host, port), timeout=ASK_TIMEOUT_S) as line:
        try:
            line.sendall(b"OPTIONS * RTSP/1.0\r\nCSeq: 1\r\n\r\n")
            answer = line.recv(256)
        except OSError:  # deaf, or it hung up: no RTSP, which is what the caller wants to know
            return ""
    first = printable(answer.split(b"\r\n", 1)[0].decode("ascii", "replace"))
    return first if first.startswith("RTSP/") else ""


def accepts(host: str, port: int, timeout_s: float) -> bool:
    """Whether a bare TCP connect succeeds."""
    try:
        socket.create_connection((host, port), timeout=timeout_s).close()
    except OSError:  # the answer is no
        return False
    return True

"""systemd's notification protocol: one datagram per message, nothing where nobody asked for it (sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
from dataclasses import dataclass

log = logging.getLogger("camagent")

SEND_S = 2.0  # systemd that is frozen must not freeze the agent
_MICRO = 1_000_000


@dataclass(slots=True)
class _Trouble:
    """Datagrams that did not arrive; the first one is told."""

    lost: int = 0


_trouble = _Trouble()


def notify(**fields: str) -> bool:
    """Sends READY="1", STATUS="..", STOPPING="1" and the like; False when nobody listens."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            sender.settimeout(SEND_S)
            sender.connect("\0" + address[1:] if address.startswith("@") else address)
            sender.sendall(message.encode(errors="replace"))
    except OSError as exc:
        _trouble.lost += 1
        if _trouble.lost == 1:
            log.error("systemd was not told %s: %s", ", ".join(fields), exc.strerror or exc)  # noqa: TRY400
        return False
    return True


def microseconds(seconds: float) -> str:
    """As systemd counts."""
    return str(round(seconds * _MICRO))


def watchdog_s() -> float | None:
    """How often systemd wants to hear from this very process; None where it does not (sd_watchdog_enabled(3))."""
    told, pid = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID", "")
    if not told.isdecimal() or int(told) == 0 or (pid and pid != str(os.getpid())):
        return None
    return int(told) / _MICRO


def is_supervised() -> bool:
    """Whether somebody starts this process anew when it ends."""
    return bool(os.environ.get("NOTIFY_SOCKET"))

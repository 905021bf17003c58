"""systemd's notification protocol: one datagram per message, nothing where nobody asked for it (sd_notify(3))."""

from __future__ import annotations

import os
import socket


def notify(**fields: str) -> bool:
    """Sends READY="1", STATUS="..", STOPPING="1" and the like; False when the process was not started by systemd."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    message = "\n".join(f"{name}={value}" for name, value in fields.items())
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
        sender.connect("\0" + address[1:] if address.startswith("@") else address)
        sender.sendall(message.encode())
    return True

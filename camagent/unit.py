"""The systemd service as files: what goes where, for which command, and whether the service could start it. Pure but `data`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import PurePosixPath

NAME = "camagent.service"
MARK = "# Written by 'camagent service install', which writes it anew; 'camagent service uninstall' removes it.\n"
COMMAND = "@CAMAGENT@"  # in the unit, where the command's path belongs
EXAMPLE = "camagent.example.toml"
CONFIG = PurePosixPath("/etc/camagent/camagent.toml")
PACKAGED = PurePosixPath("/usr/lib/systemd/system") / NAME  # a Debian package's own unit
_PLAIN = re.compile(r"[A-Za-z0-9/._@+-]+")
# folders that the unit's hardening hides from the service, and the setting that does
_HIDDEN = (
    ("/home", "ProtectHome"), ("/root", "ProtectHome"), ("/run/user", "ProtectHome"), ("/tmp", "PrivateTmp"),  # noqa: S108
    ("/var/tmp", "PrivateTmp"),  # noqa: S108
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """A file of `systemd/` and where it belongs on the machine."""

    source: str
    target: PurePosixPath
    mode: int = 0o644


PLACES = (
    Place(NAME, PurePosixPath("/etc/systemd/system") / NAME),
    Place("sysusers.d/camagent.conf", PurePosixPath("/etc/sysusers.d/camagent.conf")),
    Place("tmpfiles.d/camagent.conf", PurePosixPath("/etc/tmpfiles.d/camagent.conf")),
    Place("70-camagent.rules", PurePosixPath("/etc/udev/rules.d/70-camagent.rules")),
)


def data(name: str) -> str:
    """A file of `systemd/`, as it ships with the package."""
    return resources.files("camagent").joinpath("systemd", name).read_text("utf-8")


def rendered(place: Place, command: PurePosixPath) -> str:
    """The file as it is written: marked, and with the command's path."""
    return MARK + data(place.source).replace(COMMAND, exec_word(command))


def is_ours(text: str) -> bool:
    """Whether `service install` has written a file that begins so."""
    return text.startswith(MARK)


def exec_word(path: PurePosixPath) -> str:
    """A path as one word of ExecStart= (systemd.service(5), "Command lines"); as it is where nothing needs quoting."""
    word = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return word if _PLAIN.fullmatch(word) else f'"{word}"'


def hidden_by(path: PurePosixPath) -> str:
    """The setting of the unit that hides this path from the service; "" where none does."""
    return next((setting for folder, setting in _HIDDEN if path.is_relative_to(folder)), "")


def inside(path: PurePosixPath, root: PurePosixPath) -> PurePosixPath:
    """A path as a system sees it whose root is `root`: an image is often filled from outside."""
    return PurePosixPath("/") / path.relative_to(root) if path.is_relative_to(root) else path

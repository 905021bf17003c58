"""Where an agent stands, in the one line that `systemctl status` shows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from camagent.errors import printable

LONGEST = 300  # characters


@dataclass(frozen=True, slots=True)
class Standing:
    """What of a camera is worth telling at once when it changes."""

    state: str
    reason: str | None
    online: bool
    code: str = ""  # of the refusal that keeps its bundle from running


def refusal_code(detail: str) -> str:
    """A finding's `CODE: sentence` -> CODE."""
    code, colon, _ = detail.partition(":")
    return code if colon and code.isupper() else ""


def status_line(cameras: Mapping[str, Standing], *, broker: str | None, root: bool, config_error: str | None) -> str:
    """`broker`: what is wrong with it, None while nothing is. `root`: there is a trust root, or none is needed."""
    words = [_cameras(cameras)]
    words += [_waiting(name, standing) for name, standing in cameras.items() if standing.reason]
    words += [] if root else ["no trust root: camagent trust install root.json"]
    words += [f"MQTT: {broker}"] if broker else []
    words += [f"configuration not followed: {printable(config_error, 120)}"] if config_error else []
    line = "; ".join(words)
    return line if len(line) <= LONGEST else line[: LONGEST - 2] + ".."


def _cameras(cameras: Mapping[str, Standing]) -> str:
    if not cameras:
        return "no camera is configured"
    states = Counter(standing.state for standing in cameras.values())
    counted = ", ".join(f"{number} {state}" for state, number in sorted(states.items()))
    return f"{len(cameras)} camera{'s' * (len(cameras) != 1)}: {counted}"


def _waiting(name: str, standing: Standing) -> str:
    return f"{name}: {standing.reason}{f' ({standing.code})' if standing.code else ''}"

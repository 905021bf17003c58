"""Lives for the power-cut harness, see histories.py: what Home Assistant and hawkBit are remembered by."""

from __future__ import annotations

from pathlib import Path

import msgspec

from camagent import announced
from camagent.announced import Announced
from camagent.integrations import hawkbit_memory
from camagent.integrations.hawkbit_memory import Doing, Memory
from firmware_pkg import disk

# -- what Home Assistant was told -------------------------------------------------------------------------------------

HOME_STEPS = ("start", "announced", "another camera", "taken back")
_TOPIC = "homeassistant/device/cam-01/config"
TOLD = (
    Announced(),
    Announced(topic=_TOPIC, platforms={"front_person": "sensor"}),
    Announced(topic=_TOPIC, platforms={"front_person": "sensor", "side_person": "sensor"}),
    Announced(withdrawn=(_TOPIC,)),
)
BY_HAND = Announced(topic="homeassistant/device/other/config")


class HomeSession:
    """Announces, announces more, and takes it back; to the end that it is known which topics must be cleared."""

    def __init__(self, root: Path, _material: Path) -> None:
        disk.make_folder(root / "state")
        self._path = root / "state" / "home_assistant.json"

    def do(self, step: int) -> None:
        announced.write(self._path, TOLD[step])

    def told(self) -> object:
        return None

    def act(self) -> None:
        announced.write(self._path, BY_HAND)

    def seen(self) -> object:
        try:
            return announced.read(self._path)
        except FileNotFoundError:
            return Announced()
        except msgspec.MsgspecError as exc:
            raise AssertionError(f"what was announced is lost: {exc}") from exc

    def follows(self, seen: object) -> None:
        assert self.seen() == seen

    def check(self, done: int, *, begun: bool) -> int | None:
        may = [TOLD[max(done, 0)], *([TOLD[done + 1]] if begun else [])]
        assert self.seen() in may, f"{self.seen()!r} is none of {may}"
        return None

    def close(self) -> None:
        pass


# -- what hawkBit asked for -------------------------------------------------------------------------------------------

HAWKBIT_STEPS = ("start", "an action", "fetching", "over")
_SERVER = "https://updates.example/DEFAULT/cam-01"
MEMORIES = (
    Memory(server=_SERVER),
    Memory(server=_SERVER, doing=Doing(action="7", phase="ready")),
    Memory(server=_SERVER, doing=Doing(action="7", phase="fetching", tries=1)),
    Memory(server=_SERVER, doing=Doing(action="7", phase="over", tries=1, told=1)),
)
OTHER = Memory(server=_SERVER, answered="8 confirmed")


class HawkbitSession:
    """An action from its assignment to its end: what was begun is known, and no end is told twice."""

    def __init__(self, root: Path, _material: Path) -> None:
        self._state = root / "state"
        disk.make_folder(self._state)

    def do(self, step: int) -> None:
        hawkbit_memory.save(self._state, MEMORIES[step])

    def told(self) -> object:
        return None

    def act(self) -> None:
        hawkbit_memory.save(self._state, OTHER)

    def seen(self) -> object:
        return hawkbit_memory.load(self._state, _SERVER)

    def follows(self, seen: object) -> None:
        assert self.seen() == seen

    def check(self, done: int, *, begun: bool) -> int | None:
        may = [MEMORIES[max(done, 0)], *([MEMORIES[done + 1]] if begun else [])]
        assert self.seen() in may, f"{self.seen()!r} is none of {may}"
        return None

    def close(self) -> None:
        pass

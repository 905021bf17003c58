"""The cable between the box and the world: two addresses that nothing else can reach, and a link that can be pulled."""

from __future__ import annotations

import contextlib
from pathlib import Path

from tests.camera.host import BoxError, call

_INSIDE = "eth0"


class Cable:
    """A pair of interfaces, one of them in the network namespace of process `keeper`. Gone with that namespace.

    Addresses are taken from 198.18.0.0/15, which RFC 2544 sets aside for tests: no route leads there.
    """

    def __init__(self, keeper: int) -> None:
        self._keeper = keeper
        self._name, number = self._lay(keeper)
        self.outside, self.inside = f"198.18.{number}.1", f"198.18.{number}.2"
        call("ip", "address", "add", f"{self.outside}/30", "dev", self._name)
        call("ip", "link", "set", self._name, "up")
        self._within("address", "add", f"{self.inside}/30", "dev", _INSIDE)
        self._within("link", "set", "lo", "up")
        self.plug()

    @staticmethod
    def _lay(keeper: int) -> tuple[str, int]:
        """Name of the outer end, and a number that no other box on this machine has."""
        for number in range(1, 255):
            name = f"camagent-box{number}"
            if not Path("/sys/class/net", name).exists():
                with contextlib.suppress(BoxError):  # another box was faster
                    call("ip", "link", "add", name, "type", "veth", "peer", "name", _INSIDE, "netns", str(keeper))
                    return name, number
        raise BoxError("no cable can be laid: veth is not to be had, or 254 boxes are running")

    def pull(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._within("link", "set", _INSIDE, "down")

    def plug(self) -> None:
        self._within("link", "set", _INSIDE, "up")

    def remove(self) -> None:
        call("ip", "link", "delete", self._name, check=False)

    def _within(self, *words: str) -> None:
        call("nsenter", "--target", str(self._keeper), "--net", "ip", *words)

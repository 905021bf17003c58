"""Which message makes the broker hang up? Without a word, as MQTT 3.1.1 does it: for instance when a packet is too big.

What was in flight when the broker hung up is suspected, and from then on sent alone. Only a message that was sent alone, over
a connection that had proved itself, and after which the broker hung up at once, is blamed. Before it is sent again, the
connection must stand for a while without it: a broker that dies for reasons of its own dies then too, and the message is
acquitted. Blamed twice, it is set aside. So a broker that is restarted, however often, costs no message. Pure: no clock.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["state", "live", "lane"]
Token: TypeAlias = tuple[Kind, str | int]  # the same for the same message, also over another connection

STRIKES = 2
_MOST = 256  # suspects that are remembered


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the client waits for what; tests are less patient."""

    first_s: float = 1.0  # between two attempts to connect
    most_s: float = 30.0
    settle_s: float = 3.0  # so long a connection must stand before a message goes out again that was blamed once

    def wait_s(self, failures: int) -> float:
        """Doubles with every failure; jitter, so that a fleet does not come back in one instant."""
        return min(self.most_s, self.first_s * 2.0 ** min(failures, 16)) * random.uniform(0.75, 1.0)  # noqa: S311


@dataclass(frozen=True, slots=True)
class Sent:
    """A message that was sent and not proved to have passed."""

    token: Token
    size: int  # bytes of the packet


class Suspects:
    """The suspicion over all connections, and the packet size that it amounts to."""

    def __init__(self) -> None:
        self._strikes: dict[Token, int] = {}
        self._largest_passed = 0
        self._fatal: list[int] = []  # sizes of messages that were set aside, all larger than any that passed
        self.packet_limit: int | None = None  # learnt: the broker hangs up on what is this large

    def __contains__(self, token: Token) -> bool:
        """True where this message must be sent alone."""
        return token in self._strikes

    def strikes(self, token: Token) -> int:
        """How often this message was blamed."""
        return self._strikes.get(token, 0)

    def acquit(self, token: Token) -> None:
        """The broker hung up while this message was kept back: it was not the cause."""
        if token in self._strikes:
            self._strikes[token] = 0

    def forget(self, kind: Kind) -> None:
        """Nothing of this kind is left to be sent."""
        self._strikes = {token: strikes for token, strikes in self._strikes.items() if token[0] != kind}

    @property
    def any(self) -> bool:
        """True while a message is suspected."""
        return bool(self._strikes)

    def passed(self, sent: Sent) -> None:
        """The broker has answered for it."""
        self._strikes.pop(sent.token, None)
        self._largest_passed = max(self._largest_passed, sent.size)
        self._fatal = [size for size in self._fatal if size > self._largest_passed]

    def hung_up(self, in_flight: Iterable[Sent], blamed: Sent | None) -> bool:
        """The broker ended the connection; `blamed` was sent alone and at once before that. True: set it aside."""
        for sent in in_flight:
            self._strikes.setdefault(sent.token, 0)
        while len(self._strikes) > _MOST:
            del self._strikes[next(iter(self._strikes))]
        if blamed is None:
            return False
        self._strikes[blamed.token] = self._strikes.get(blamed.token, 0) + 1
        if self._strikes[blamed.token] < STRIKES:
            return False
        del self._strikes[blamed.token]
        self._learn(blamed.size)
        return True

    def too_big(self, size: int) -> bool:
        """True where everything says that its size was what a message of this size was set aside for."""
        return size > self._largest_passed

    def _learn(self, size: int) -> None:
        """Two messages that were set aside, both larger than all that passed: it is the size."""
        if size <= self._largest_passed:
            return
        self._fatal.append(size)
        if len(self._fatal) >= 2:
            self.packet_limit = min(self._fatal)

    def forget_limit(self) -> None:
        """The broker may have been given another limit: the next large message tries it."""
        self.packet_limit = None
        self._fatal.clear()

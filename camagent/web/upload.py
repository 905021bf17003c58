"""A body on its way from the event loop into a job's thread: a bounded pipe, a pace to keep, and an end in every case."""

from __future__ import annotations

import asyncio
import contextlib
import io
import threading
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from starlette.responses import JSONResponse
from starlette.types import Message, Receive, Scope, Send

from camagent.web.guard import Pace
from camagent.web.refusals import UploadTooSlow

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HELD_BYTES = 512 * 1024  # between network and job; the rest waits at the sender's
DRAIN_S, DRAIN_IDLE_S = 60.0, 5.0

End: TypeAlias = Literal["whole", "gone", "refused", "slow"]


class Pipe(io.RawIOBase):
    """Written by the event loop, read by one other thread. A body that breaks off simply ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._parts: deque[memoryview] = deque()
        self._held, self._is_over = 0, False
        self._more = threading.Condition()
        self._room = asyncio.Event()
        self._is_left = asyncio.Event()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """The next bytes; waits for them. 0 at the end, whole or not."""
        target = memoryview(buffer).cast("B")
        with self._more:
            self._more.wait_for(lambda: self._parts or self._is_over)
            if not self._parts:
                return 0
            part = self._parts.popleft()
            count = min(len(part), len(target))
            target[:count] = part[:count]
            if count < len(part):
                self._parts.appendleft(part[count:])
            self._held -= count
        self._wake_writer()
        return count

    def close(self) -> None:
        """The reader has what it wanted: what still comes is thrown away."""
        if not self.closed:
            with self._more:
                self._parts.clear()
                self._held, self._is_over = 0, True
            super().close()
            self._wake_writer()
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._is_left.set)

    async def put(self, data: bytes) -> bool:
        """Hands bytes over and waits until there is room for more. False: nobody reads any more."""
        with self._more:
            if self.closed:
                return False
            self._parts.append(memoryview(data))
            self._held += len(data)
            self._more.notify()
        while self._held >= HELD_BYTES and not self.closed:
            self._room.clear()
            if self._held >= HELD_BYTES and not self.closed:
                await self._room.wait()
        return not self.closed

    async def left(self) -> None:
        """Waits until nobody reads any more."""
        await self._is_left.wait()

    def end(self) -> None:
        """There is no more, whatever was announced."""
        with self._more:
            self._is_over = True
            self._more.notify()

    def _wake_writer(self) -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped, its loop is closed: nobody waits there
            self._loop.call_soon_threadsafe(self._room.set)


async def pump(receive: Receive, pipe: Pipe, pace: Pace) -> End:
    """Moves a request's body into the pipe, which is ended in every case; how it ended is the answer."""
    left = asyncio.ensure_future(pipe.left())
    try:
        while True:
            message, waited_s = await _next(receive, pace.window_s, left)
            if left.done():
                return "refused"
            if message is None:
                return "slow"
            if message["type"] == "http.disconnect":
                return "gone"
            data: bytes = message.get("body", b"")
            if pace.too_slow(waited_s, len(data)):
                return "slow"
            if data and not await pipe.put(data):
                return "refused"
            if not message.get("more_body", False):
                return "whole"
    finally:
        left.cancel()
        pipe.end()


async def read_whole(receive: Receive, pace: Pace) -> bytes | None:
    """A small body, whose length was judged before; None when the other side has gone. Raises UploadTooSlow."""
    data = bytearray()
    while True:
        message, waited_s = await _next(receive, pace.window_s)
        if message is None or pace.too_slow(waited_s, len(message.get("body", b""))):
            raise too_slow(pace)
        if message["type"] == "http.disconnect":
            return None
        data += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(data)


def too_slow(pace: Pace) -> UploadTooSlow:
    """The refusal of a body that hardly moves."""
    return UploadTooSlow(
        "the upload hardly moves and was ended, so that others can have their turn",
        evidence={"least": f"{pace.least} bytes in {pace.window_s:g} s"},
        fix="try again over a better connection, or copy the file to the camera and run 'camagent bundle install' there",
    )


class EarlyAnswer(JSONResponse):
    """Goes out before the request has come to its end; what still comes is read and thrown away for a while.

    A connection closed over unread bytes is reset, and the client would see that instead of the answer.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers, drains, ends."""
        del scope
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": True})
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await _drain(receive)
        await send({"type": "http.response.body", "body": b""})


async def _drain(receive: Receive) -> None:
    while True:
        message, _ = await _next(receive, DRAIN_IDLE_S)
        if message is None or message["type"] == "http.disconnect" or not message.get("more_body", False):
            return


async def _next(receive: Receive, idle_s: float, unless: asyncio.Future[None] | None = None) -> tuple[Message | None, float]:
    """What comes next and the seconds waited for it; None when nothing came in time, or `unless` came first."""
    loop = asyncio.get_running_loop()
    started, coming = loop.time(), asyncio.ensure_future(receive())
    either: list[asyncio.Future[Any]] = [coming, unless] if unless else [coming]
    await asyncio.wait(either, timeout=idle_s, return_when=asyncio.FIRST_COMPLETED)
    if coming.done():
        return coming.result(), loop.time() - started
    coming.cancel()
    return None, loop.time() - started

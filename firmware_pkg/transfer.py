"""Downloads a bundle as a stream: bytes go on as they come, never more than announced, the last of them only when all is right.

    with download(order, rules) as source:
        service.install(source, origin, tell)

order.py says what is wanted and under which rules, addresses.py which URL and address are allowed, response.py what an answer
means, answer.py and pinned.py speak HTTP to one address, watch.py cuts what takes too long. Uploads are in push.py.
"""

from __future__ import annotations

import hashlib
import io
import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO, Final

from firmware_pkg import limits as sizes
from firmware_pkg.addresses import UnusableUrl, Url, forbidden, join_url, literal
from firmware_pkg.answer import Answer
from firmware_pkg.errors import DownloadFailed
from firmware_pkg.order import Limits, Order, Rules, permitted
from firmware_pkg.response import Body, Broken, Moved, Validator, Want, changed, failed
from firmware_pkg.watch import Watch

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK: Final = 64 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")


def download(
    order: Order, rules: Rules, *, progress: Callable[[int], None] | None = None, stop: threading.Event | None = None
) -> BinaryIO:
    """The ordered file as a readable stream, in constant memory. Nothing is connected before the first read; close it.

    Args:
        order: what is wanted.
        rules: from where it may come, and how long it may take.
        progress: called with the bytes that have come so far.
        stop: ends the download when set.

    Raises:
        DownloadFailed: the URL is not allowed; and from every read, for everything else.
    """
    return io.BufferedReader(Download(order, rules, progress=progress, stop=stop), CHUNK)


def checked_addresses(url: Url, rules: Rules) -> tuple[str, ...]:
    """The addresses of an allowed URL's host, each of them judged. The only place where a name is resolved.

    A literal address that got so far stands in the allow-list itself, so it is taken as it is.

    Raises:
        Broken: the name cannot be resolved now.
        DownloadFailed: one of the addresses may not be connected to.
    """
    if literal(url.host) is not None:
        return (url.host,)
    try:
        found = tuple(rules.resolve(url.host, url.port))
    except OSError as exc:
        raise Broken("its name cannot be resolved") from exc
    if not found:
        raise Broken("its name has no address")
    for text in found:
        address = literal(text)
        word = "no address" if address is None else forbidden(address)
        own = rules.listener is not None and rules.listener.port == url.port
        if word is None and own and rules.listener and (text == rules.listener.host or rules.is_own(text)):
            word = "the agent's own listener"
        if word is not None:
            raise failed(
                "address-not-allowed",
                f"{url.host} leads to an address from which no bundle is fetched: {word}",
                expected="an address of another machine",
                found=f"{text} ({word})",
                fix=f"mend the name's DNS entry; where this is meant, put the literal address into {rules.setting}",
            )
    return found


class Download(io.RawIOBase):
    """One file on its way. Reads block; a failed download fails again at every further read. Belongs to one thread."""

    def __init__(
        self,
        order: Order,
        rules: Rules,
        *,
        progress: Callable[[int], None] | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        """Judges the URL; connects to nothing yet.

        Raises:
            DownloadFailed: the order cannot be carried out under these rules.
        """
        super().__init__()
        self._order, self._rules = order, rules
        self._progress = progress or (lambda _: None)
        self._stop = stop or threading.Event()
        self._sha = hashlib.sha256()
        self._got = self._attempts = 0
        self._addresses: tuple[str, ...] = ()
        self._validator: Validator | None = None
        self._watch: Watch | None = None
        self._answer: Answer | None = None
        self._failed: DownloadFailed | None = None
        self._url = permitted(order.url, rules.allowed, rules.setting)
        _require_sound(order)

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next bytes; 0 at the end, which is reached only when size and digest are right.

        Raises:
            DownloadFailed: with `reason` in its evidence.
        """
        if self._failed is not None:
            raise self._failed
        view = memoryview(buffer).cast("B")
        if self._got == self._order.size or not view:
            return 0
        try:
            data = self._next(min(len(view), CHUNK, self._order.size - self._got))
        except DownloadFailed as exc:
            self._failed = exc
            self._end()
            raise
        view[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Gives the connection up. Safe at any time, from the reading thread."""
        if not self.closed:
            self._end()
        super().close()

    # -- one read -----------------------------------------------------------------------------------------------------

    def _next(self, most: int) -> bytes:
        self._watch = self._watch or Watch(self._rules.limits, self._order.size, self._stop)
        while True:
            self._obey(self._watch)
            try:
                self._answer = self._answer or self._open(self._watch)
                data = self._answer.read(most)
                break
            except Broken as exc:
                self._recover(self._watch, exc)
        self._sha.update(data)
        self._got += len(data)
        if self._got == self._order.size:
            self._finish(self._answer)
        self._progress(self._got)
        return data

    def _finish(self, answer: Answer) -> None:
        """The last bytes are here and nobody has them yet: size and digest decide whether anybody gets them."""
        if answer.goes_on():
            raise failed(
                "too-large",
                "the server sends more than was announced",
                expected=f"{self._order.size} bytes",
                found=f"more than {self._order.size} bytes",
                fix="order it with the size of the file that lies on the server",
            )
        if self._order.sha256 not in {None, self._sha.hexdigest()}:
            raise failed(
                "digest",
                "the file on the server is not the one that was ordered",
                expected=self._order.sha256,
                found=self._sha.hexdigest(),
                fix="order it with the sha256 of the file that lies on the server, or put the right file there",
            )
        self._end()

    def _open(self, watch: Watch) -> Answer:
        """Asks for what is missing, follows redirects within the server, and skips what is here already."""
        self._addresses = self._addresses or checked_addresses(self._url, self._rules)
        address = self._addresses[self._attempts % len(self._addresses)]
        url, token = self._url, self._order.token
        for _ in range(self._rules.limits.redirects + 1):
            answer = Answer(url, address, self._rules, watch)
            try:
                found = answer.ask(self._headers(token), Want(self._order.size, self._got, self._validator))
                if isinstance(found, Body):
                    self._skip(answer, found.skip)
                    self._validator = self._validator or found.validator
                    return answer
                url, token = redirected(url, found, self._rules), None
            except BaseException:
                answer.close()
                raise
            answer.close()
        raise elsewhere("one that leads to the file", f"more than {self._rules.limits.redirects} redirects")

    def _headers(self, token: str | None) -> dict[str, str]:
        headers = {"Accept-Encoding": "identity", "Accept": "*/*"}
        if token is not None:
            headers["Authorization"] = f"{self._order.scheme} {token}"
        if self._got:
            headers["Range"] = f"bytes={self._got}-"
            condition = self._validator.if_range if self._validator else None
            if condition:
                headers["If-Range"] = condition
        return headers

    def _skip(self, answer: Answer, number: int) -> None:
        """The server sends from the beginning again: what is here already must be what comes."""
        again, left = hashlib.sha256(), number
        while left:
            data = answer.read(min(left, CHUNK))
            again.update(data)
            left -= len(data)
        if number and again.digest() != self._sha.digest():
            raise changed(f"{number} bytes with sha256 {self._sha.hexdigest()}", f"sha256 {again.hexdigest()}")

    # -- what goes wrong ----------------------------------------------------------------------------------------------

    def _recover(self, watch: Watch, broken: Broken) -> None:
        """Waits before the next attempt, or gives up."""
        self._drop()
        self._obey(watch)
        limits = self._rules.limits
        self._attempts += 1
        if self._attempts > (limits.resumes if self._got else limits.first_tries):
            raise failed(
                "broken" if self._got else "unreachable",
                f"the file cannot be fetched from {self._url.authority}: {broken}",
                expected=f"{self._order.size} bytes",
                found=f"{self._got} bytes after {self._attempts} attempts",
                fix="check from this device's network that the server answers, and order it again",
            ) from broken
        watch.pause(min(limits.backoff_s * 2 ** (self._attempts - 1), limits.backoff_max_s))

    def _obey(self, watch: Watch) -> None:
        """Raises what the watch has found."""
        obey(watch, self._rules.limits, f"{self._got} of {self._order.size} bytes")

    def _drop(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def _end(self) -> None:
        self._drop()
        if self._watch is not None:
            self._watch.close()
            self._watch = None


def obey(watch: Watch, limits: Limits, found: str) -> None:
    """Raises what the watch has found as DownloadFailed; `found`: how far it came."""
    verdict = watch.look()
    if verdict is None:
        return
    expected, what = {
        "stopped": ("a finished download", "the download was stopped"),
        "deadline": (f"all of it within {watch.total_s:.0f} s", "the download took too long"),
        "too-slow": (f"{limits.rate} bytes per second over {limits.window_s:.0f} s", "the server is too slow"),
    }[verdict]
    raise failed(
        verdict,
        what,
        expected=expected,
        found=found,
        fix="order it again when server and network are faster, or push the bundle to the device",
    )


def _require_sound(order: Order) -> None:
    if not 0 < order.size <= sizes.BUNDLE_BYTES:
        raise failed(
            "too-large", "no bundle has the announced size", expected=f"1 to {sizes.BUNDLE_BYTES} bytes",
            found=f"{order.size} bytes", fix="order it with the size of the file that lies on the server",
        )  # fmt: skip
    if order.sha256 is not None and not _SHA256.fullmatch(order.sha256):
        raise failed(
            "digest", "the announced sha256 is none", expected="64 lower-case hex digits", found=order.sha256,
            fix="order it with what sha256sum prints for the file",
        )  # fmt: skip


def redirected(url: Url, moved: Moved, rules: Rules) -> Url:
    """Where a redirect leads. Raises DownloadFailed where that is another server, or outside what is allowed."""
    try:
        target = join_url(url, moved.location)
    except UnusableUrl as exc:
        raise elsewhere("an address on the same server", "one that cannot be used") from exc
    if target.origin != url.origin:
        raise elsewhere(f"an address on {url.scheme}://{url.authority}", "one on another server")
    if not any(entry.covers(target) for entry in rules.allowed):
        raise elsewhere(f"an address below an entry of {rules.setting}", "one outside")
    return target


def elsewhere(expected: str, found: str) -> DownloadFailed:
    """The refusal of a redirect."""
    return failed(
        "redirected",
        "the server sends the download elsewhere",
        expected=expected,
        found=found,
        fix="order it from the address at which the file lies; redirects are followed on the same server only",
    )


__all__ = ["Download", "Order", "Rules", "checked_addresses", "download", "elsewhere", "obey", "redirected"]

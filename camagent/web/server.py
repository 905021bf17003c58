"""The API's thread: one event loop with uvicorn in it. A port that is taken is said and tried again; the agent runs on."""

from __future__ import annotations

import logging
import ssl
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from camagent.clock import Clock, SystemClock
from camagent.config import Web
from camagent.errors import CodedError, printable
from camagent.jobs import Jobs
from camagent.pulse import Pulse
from camagent.service import Service
from camagent.web import address
from camagent.web.desk import CameraDesk, NoCameras

if TYPE_CHECKING:
    import uvicorn

    from camagent.web.connections import Listener

log = logging.getLogger("camagent.web")

RETRY_S = 10.0
STOP_S = 3.0
LOADING_S = 120.0  # the first start imports what the API is made of, on a slow card
TURN_S = 60.0  # the loop turns ten times a second; what takes its time is done in other threads
TOKEN_BYTES = 4096


class Server:
    """Serves `service` and `jobs` over HTTP from `start` to `stop`, as the [web] section says; `listen = ""` is off."""

    def __init__(
        self, web: Web, service: Service, jobs: Jobs, clock: Clock | None = None, *, retry_s: float = RETRY_S,
        upload_window_s: float = 30.0, header_s: float | None = None, desk: CameraDesk | None = None,
    ) -> None:  # fmt: skip
        self.problem: str | None = None  # why nobody is served at the moment, for `health`
        self.address: tuple[str, int] | None = None  # host and port that it listens on
        self.pulse = Pulse("web")
        self._web, self._service, self._jobs, self._desk = web, service, jobs, desk or NoCameras()
        self._clock = clock or SystemClock()
        self._retry_s, self._upload_window_s, self._header_s = retry_s, upload_window_s, header_s
        self._stop, self._settled = threading.Event(), threading.Event()
        self._uvicorn: uvicorn.Server | None = None
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    def start(self, timeout_s: float = 0.0) -> None:
        """Starts the thread; waits at most `timeout_s` until it listens or knows why not."""
        if self._web.listen:
            self._thread.start()
            self.wait(timeout_s)

    def wait(self, timeout_s: float) -> None:
        """At most so long, until it listens or knows why not; not at all where it is off."""
        if self._web.listen:
            self._settled.wait(timeout_s)

    def stop(self) -> None:
        """Ends it: requests get half a second, uploads and followers are cut off. Returns within some seconds."""
        with self._lock:
            self._stop.set()
            if self._uvicorn:
                self._uvicorn.should_exit = True
        if self._thread.ident is not None:
            self._thread.join(STOP_S)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.pulse.beat(LOADING_S, "loading the API")
            try:
                self._serve()
            except (OSError, CodedError) as exc:
                self._say(exc.what if isinstance(exc, CodedError) else f"{self._web.listen}: {exc.strerror or exc}")
            except BaseException as exc:  # SystemExit, too, is a way in which uvicorn gives up
                log.exception("the API has ended")
                self._say(f"the API has ended: {type(exc).__name__}: {exc}")
            self.address = None
            self._settled.set()
            self.pulse.beat(self._retry_s + TURN_S, "waiting for the next try")
            self._stop.wait(self._retry_s)
        self.pulse.rest()

    def _say(self, problem: str) -> None:
        if problem != self.problem:
            log.error("web: %s; tried again every %g s", printable(problem, 400), self._retry_s)
        self.problem = printable(problem, 400)

    def _serve(self) -> None:
        import uvicorn  # noqa: PLC0415  where web.listen is empty, none of this is loaded

        from camagent.web.app import build  # noqa: PLC0415
        from camagent.web.asking import Rules  # noqa: PLC0415
        from camagent.web.connections import HEADER_S, Connection, Listener  # noqa: PLC0415
        from camagent.web.guard import HEAD_BYTES  # noqa: PLC0415

        wrong = address.problem(self._web)
        if wrong:
            raise OSError(": ".join(wrong))
        tls = _tls(self._web)
        self._token()
        header_s = self._header_s or HEADER_S
        rules = Rules(hosts=self._web.hosts, token=self._token, clock=self._clock, upload_window_s=self._upload_window_s)
        config = uvicorn.Config(
            build(self._service, self._jobs, rules, self._desk), loop="asyncio", ws="none", lifespan="off", interface="asgi3",
            http=type("Bounded", (Connection,), {"header_s": header_s}), h11_max_incomplete_event_size=HEAD_BYTES,
            ssl_context_factory=(lambda _config, _default: tls) if tls else None,
            proxy_headers=False,  # else whoever is on this machine chooses the address that failures are counted under
            log_config=None, log_level="error", access_log=False, server_header=False, timeout_graceful_shutdown=2,
        )  # fmt: skip
        listen = address.Listen.parse(self._web.listen)
        pulse = self.pulse

        class Beating(uvicorn.Server):
            async def on_tick(self, counter: int) -> bool:
                pulse.beat(TURN_S, "a turn of the API's loop")
                return await super().on_tick(counter)

        with Listener.bound(listen.host, listen.port) as listener:
            self._serve_on(listener, Beating(config), "https" if tls else "http")

    def _serve_on(self, listener: Listener, server: uvicorn.Server, scheme: str) -> None:
        with self._lock:
            if self._stop.is_set():
                return
            self._uvicorn = server
        host, port = listener.getsockname()[:2]
        self.address, self.problem = (host, port), None
        log.info("web: %s://%s port %d", scheme, host, port)
        self._settled.set()
        server.run(sockets=[listener])

    def _token(self) -> str | None:
        """Read anew each time: a token may be changed while the agent runs. Raises TokenUnreadable."""
        if self._web.token_file is None:
            return None
        return _read_token(self._web.token_file)


def _read_token(path: Path) -> str:
    from camagent.web.refusals import TokenUnreadable  # noqa: PLC0415

    try:
        with path.open("rb") as file:
            token = file.read(TOKEN_BYTES).decode().strip()
        why = "it is empty" if not token else ""
    except (OSError, UnicodeDecodeError) as exc:
        token, why = "", str(getattr(exc, "strerror", None) or "it is no text")
    if why:
        raise TokenUnreadable(
            f"the token file of web.token_file cannot be used: {why}",
            evidence={"file": path, "reason": why},
            fix="write one line of random characters into it, readable for the agent: openssl rand -hex 32",
        )
    return token


def _tls(web: Web) -> ssl.SSLContext | None:
    """Raises OSError naming the file."""
    if web.cert_file is None or web.key_file is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(web.cert_file, web.key_file)
    except (OSError, ssl.SSLError) as exc:
        raise OSError(f"web.cert_file {web.cert_file} and web.key_file cannot be used: {exc.strerror or exc}") from exc
    return context

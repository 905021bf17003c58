"""The routes: a request in, a Service or a Job asked, JSON out. Answers in docs/http-api.md."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
from collections.abc import AsyncGenerator

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from camagent.control.protocol import TRUST_BYTES, read_trust_body
from camagent.errors import CodedError
from camagent.jobs import Job, Jobs, as_refusal
from camagent.service import Event, Service
from camagent.web.asking import Asking, Rules, answer, as_json, asked, flag, origin
from camagent.web.cameras_api import CAMERA, CameraRoutes
from camagent.web.desk import CameraDesk
from camagent.web.guard import body_length, judge
from camagent.web.page import Page
from camagent.web.refusals import MethodNotAllowed, NotFound, QueryInvalid, status_of
from camagent.web.upload import EarlyAnswer, Pipe, pump, read_whole, too_slow
from camagent.web.words import tongue_of
from firmware_pkg.limits import BUNDLE_BYTES

ANSWER_S = 10.0  # a rollback is answered with its result when it takes no longer, else with its job
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,47}")
_SAFE = (
    (b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"), (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'"), (b"cross-origin-resource-policy", b"same-origin"),
)  # fmt: skip


def build(service: Service, jobs: Jobs, rules: Rules, desk: CameraDesk) -> Starlette:
    """The whole API, and the page, as an ASGI application."""
    asking = Asking()
    api, cameras, page = _Api(service, jobs, rules, asking), CameraRoutes(desk, service, rules, asking), Page()
    app = Starlette(
        routes=[
            Route("/", page.index, methods=["GET"]),
            Route("/page/{name}", page.file, methods=["GET"]),
            Route("/page/words/{tag}/{code}", page.words, methods=["GET"]),
            Route("/healthz", _healthz, methods=["GET"]),
            Route("/metrics", cameras.metrics, methods=["GET"]),
            Route("/api/status", api.status, methods=["GET"]),
            Route("/api/bundles", api.install, methods=["POST"]),
            Route("/api/bundles/{name}/rollback", api.rollback, methods=["POST"]),
            Route("/api/bundles/{name}/activate", api.activate, methods=["POST"]),
            Route("/api/jobs/{job_id}", api.job, methods=["GET"]),
            Route("/api/jobs/{job_id}/report", api.report, methods=["GET"]),
            Route("/api/trust", api.trust, methods=["PUT"]),
            Route("/api/selftest", api.selftest, methods=["POST"]),
            Route("/api/infer", cameras.predict, methods=["POST"]),
            Route("/api/cameras/{camera}/live", cameras.live, methods=["GET"]),
            Route("/api/cameras/{camera}/areas", cameras.areas, methods=["GET", "PUT"]),
        ],
        exception_handlers={CodedError: _refuse, HTTPException: _no_such_thing},
        middleware=[Middleware(_Gate, rules=rules)],
    )
    app.router.redirect_slashes = False  # a redirect would be made of the Host header
    return app


class _Api:
    def __init__(self, service: Service, jobs: Jobs, rules: Rules, asking: Asking) -> None:
        self._service, self._jobs, self._rules = service, jobs, rules
        self._ask = asking.ask

    async def status(self, request: Request) -> Response:
        del request
        return answer(await self._ask(self._service.status))

    async def install(self, request: Request) -> Response:
        """The body streams into the job: it is on no disk and in no memory before the agent has judged its front."""
        force = flag(request, "force")
        body_length(asked(request.scope), BUNDLE_BYTES)
        pipe = Pipe(asyncio.get_running_loop())
        try:
            job = self._jobs.start_install(io.BufferedReader(pipe, 64 * 1024), origin(request), force)
        except BaseException:
            pipe.close()
            raise
        pace = self._rules.pace
        end = await pump(request.receive, pipe, pace)
        if end == "slow":
            await _last(job)  # who reads the refusal may ask again at once: the place is free by then
            return _early(too_slow(pace))
        made = EarlyAnswer if end == "refused" else JSONResponse
        return made({"job": job.id}, 202, headers={"Location": f"/api/jobs/{job.id}"})

    async def rollback(self, request: Request) -> Response:
        return await self._short(self._jobs.start_rollback(_name(request), origin(request)))

    async def activate(self, request: Request) -> Response:
        version, force = request.query_params.get("version"), flag(request, "force")
        return await self._short(self._jobs.start_activate(_name(request), version, origin(request), force=force))

    async def job(self, request: Request) -> Response:
        job = self._jobs.get(request.path_params["job_id"])
        if job is None:
            raise NotFound("there is no such job", fix="only the last 20 are kept; 'GET /api/status' shows what became of it")
        if request.method == "HEAD":
            return Response(media_type="application/x-ndjson")
        return StreamingResponse(_lines(job), media_type="application/x-ndjson")

    async def report(self, request: Request) -> Response:
        """A self-test's report as a page of its own, with its pictures where they were asked for."""
        job = self._jobs.get(request.path_params["job_id"])
        events, done = job.since(0) if job else ([], True)
        if not done or not any("report" in event for event in events):
            raise NotFound("this job has no report", fix="ask with POST /api/selftest?whole=1, and wait until it is over")
        from camagent.selftest import html, wire  # noqa: PLC0415  for those who read one

        receiver = wire.Receiver()
        for event in events:
            receiver.take(event)
        tongue = tongue_of(request.query_params.get("lang", ""))
        made = await self._ask(lambda: html.page(receiver.report(), tongue=tongue))
        return Response(made, media_type="text/html; charset=utf-8", headers={"content-security-policy": html.POLICY})

    async def trust(self, request: Request) -> Response:
        dry_run = flag(request, "dry_run")
        body_length(asked(request.scope), TRUST_BYTES)
        data = await read_whole(request.receive, self._rules.pace)
        if data is None:
            return Response()  # nobody is there to read it
        roots = read_trust_body(data).roots
        return answer(await self._ask(lambda: self._service.install_trust(roots, origin(request), dry_run=dry_run)))

    async def selftest(self, request: Request) -> Response:
        """It takes some seconds at least: the answer is the job."""
        camera = request.query_params.get("camera", "")
        if camera and not CAMERA.fullmatch(camera):
            raise QueryInvalid("no camera can have that name", evidence={"camera": camera}, fix="take it from /api/status")
        job = self._jobs.start_selftest(camera, origin(request), whole=flag(request, "whole"))
        return JSONResponse({"job": job.id}, 202, headers={"Location": f"/api/jobs/{job.id}"})

    async def _short(self, job: Job) -> Response:
        """Most jobs without an upload are over at once: then the answer is what came of it."""
        last = await _last(job)
        if "refusal" in last:
            return JSONResponse(last["refusal"], status_of(last["refusal"]["code"]))
        if "result" in last:
            return answer({"job": job.id, **last["result"]})
        return JSONResponse({"job": job.id}, 202, headers={"Location": f"/api/jobs/{job.id}"})


class _Gate:
    """Every request passes it first, every answer last; a defect behind it is told and logged once."""

    def __init__(self, app: ASGIApp, rules: Rules) -> None:
        self._app, self._rules = app, rules

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def safe_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                own = {name for name, _ in message.get("headers", ())}
                message["headers"] = [*message.get("headers", ()), *(one for one in _SAFE if one[0] not in own)]
            await send(message)

        rules = self._rules
        try:
            token, now = rules.token(), rules.clock.monotonic()
            judge(asked(scope), hosts=rules.hosts, token=token, failures=rules.failures, now=now)
            await self._app(scope, receive, safe_send)
        except Exception as exc:  # noqa: BLE001  told where that is still possible, and logged where it is a defect
            refusal = as_refusal(exc)
            if not started:
                await _refused(refusal)(scope, receive, safe_send)


async def _healthz(request: Request) -> Response:
    del request
    return answer({"ok": True})


async def _last(job: Job) -> Event:
    """The newest event of a job once it is over, or after `ANSWER_S`."""
    last: Event = {}
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ANSWER_S):
            async for event in _events(job):
                last = event
    return last


async def _events(job: Job) -> AsyncGenerator[Event, None]:
    """As Job.follow, without a thread that waits."""
    loop, changed, index = asyncio.get_running_loop(), asyncio.Event(), 0

    def wake() -> None:
        with contextlib.suppress(RuntimeError):  # the server has stopped, its loop is closed
            loop.call_soon_threadsafe(changed.set)

    end = job.on_change(wake)
    try:
        while True:
            changed.clear()
            events, done = job.since(index)
            index += len(events)
            for event in events:
                yield event
            if done:
                return
            await changed.wait()
    finally:
        end()


async def _lines(job: Job) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(_events(job)) as events:
        async for event in events:
            yield as_json(event) + b"\n"


def _name(request: Request) -> str:
    name: str = request.path_params["name"]
    if not _NAME.fullmatch(name):
        raise NotFound(
            "no bundle can have that name",
            evidence={"name": name, "allowed": _NAME.pattern},
            fix="take the name from /api/status",
        )
    return name


def _refused(exc: CodedError) -> JSONResponse:
    status, wait = status_of(exc.code), exc.evidence.get("seconds to wait")
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {"Retry-After": wait} if wait else {}
    return JSONResponse(exc.report(), status, headers=headers)


def _early(exc: CodedError) -> Response:
    return EarlyAnswer(exc.report(), status_of(exc.code), headers={"Connection": "close"})


async def _refuse(request: Request, exc: Exception) -> Response:
    del request
    return _refused(as_refusal(exc))


async def _no_such_thing(request: Request, exc: Exception) -> Response:
    path = {"path": request.scope["path"]}
    if not isinstance(exc, HTTPException) or exc.status_code != 405:
        return _refused(NotFound("there is nothing here", evidence=path, fix="see docs/http-api.md"))
    allowed = (exc.headers or {}).get("Allow", "")
    answer = _refused(
        MethodNotAllowed(
            "this path has no such method", evidence=path | {"method": request.method, "allowed": allowed}, fix="use that one"
        )
    )
    answer.headers["Allow"] = allowed
    return answer

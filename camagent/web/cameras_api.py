"""The routes that belong to a camera: its live picture, a picture to try, its zones and masks; and /metrics."""

from __future__ import annotations

import re

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from camagent.errors import Busy
from camagent.overlay import BYTES as CHANGE_BYTES
from camagent.overlay import read_change
from camagent.service import Service
from camagent.web.asking import Asking, Rules, answer, asked, origin, share
from camagent.web.desk import CameraDesk
from camagent.web.guard import body_length
from camagent.web.live import BOUNDARY, Broadcasts, parts
from camagent.web.refusals import NotFound, QueryInvalid
from camagent.web.upload import read_whole
from firmware_pkg.limits import PICTURE_BYTES

PICTURES = 2  # that may be on their way in at a time: each is held in memory
CAMERA = re.compile(r"[A-Za-z0-9_-]{1,48}")


class CameraRoutes:
    """Each is one question to the desk."""

    def __init__(self, desk: CameraDesk, service: Service, rules: Rules, asking: Asking) -> None:
        self._desk, self._service, self._rules, self._asking = desk, service, rules, asking
        self._live = Broadcasts(desk.view)
        self._coming = 0

    async def live(self, request: Request) -> Response:
        """MJPEG, at most five pictures a second, for as long as somebody takes them."""
        media_type = f"multipart/x-mixed-replace; boundary={BOUNDARY}"
        if request.method == "HEAD":
            return Response(media_type=media_type)
        return StreamingResponse(parts(self._live.of(_camera(request))), media_type=media_type)

    async def areas(self, request: Request) -> Response:
        """Zones, masks and filter; or others instead."""
        if request.method == "PUT":
            return await self._save(request)
        name = _camera(request)
        return answer(await self._asking.ask(lambda: self._desk.areas(name)))

    async def predict(self, request: Request) -> Response:
        """What the model sees in a picture that is sent."""
        name, least = request.query_params.get("camera", ""), share(request, "min_score")
        if not CAMERA.fullmatch(name):
            raise QueryInvalid("whose model is to look?", evidence={"camera": name}, fix="ask with ?camera=NAME")
        body_length(asked(request.scope), PICTURE_BYTES)
        if self._coming >= PICTURES:
            raise Busy("others send pictures already", evidence={"at a time": PICTURES}, fix="wait a moment, then ask again")
        self._coming += 1
        try:
            data = await read_whole(request.receive, self._rules.pace)
        finally:
            self._coming -= 1
        if data is None:
            return Response()
        return answer(await self._asking.ask(lambda: self._desk.predict(name, data, least)))

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        del request
        from camagent.web import metrics  # noqa: PLC0415  an agent that nobody scrapes does without the library

        data = await self._asking.ask(lambda: metrics.text(self._service.status(), self._desk.spent()))
        return Response(data, media_type=metrics.CONTENT_TYPE)

    async def _save(self, request: Request) -> Response:
        name = _camera(request)
        body_length(asked(request.scope), CHANGE_BYTES)
        data = await read_whole(request.receive, self._rules.pace)
        if data is None:
            return Response()  # nobody is there to read it
        change = read_change(data)
        return answer(await self._asking.ask(lambda: self._desk.save(name, change, origin(request))))


def _camera(request: Request) -> str:
    name: str = request.path_params["camera"]
    if not CAMERA.fullmatch(name):
        raise NotFound(
            "no camera can have that name", evidence={"name": name, "allowed": CAMERA.pattern}, fix="see /api/status"
        )
    return name

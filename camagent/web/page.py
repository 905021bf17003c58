"""The page itself: files of the package, served as they are. It holds no secret, so everybody who may connect may read it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from camagent.web.refusals import NotFound
from camagent.web.words import words_of

# 'self' and nothing else: no script or style in the page, nothing from elsewhere, no frame around it
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
INDEX = "index.html"
_TYPES = MappingProxyType({
    ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8",
    ".json": "application/json", ".svg": "image/svg+xml",
})  # fmt: skip
_HEADERS = {"content-security-policy": POLICY, "cross-origin-opener-policy": "same-origin"}


def files() -> Mapping[str, bytes]:
    """The page's files by name."""
    folder = resources.files("camagent.web").joinpath("page")
    return {file.name: file.read_bytes() for file in folder.iterdir() if _type(file.name)}


class Page:
    """`/`, `/page/NAME` and `/page/words/TAG/CODE`."""

    def __init__(self, served: Mapping[str, bytes] | None = None) -> None:
        """Reads the files once: some tens of kilobytes."""
        self._files = files() if served is None else served

    async def index(self, request: Request) -> Response:
        """The page."""
        del request
        return self._answer(INDEX)

    async def file(self, request: Request) -> Response:
        """What the page consists of."""
        return self._answer(request.path_params["name"])

    async def words(self, request: Request) -> Response:
        """What a code means; `{}` for one that has no words in this language."""
        asked = request.path_params
        return JSONResponse(words_of(asked["code"], asked["tag"]), headers=_HEADERS)

    def _answer(self, name: str) -> Response:
        data = self._files.get(name)
        if data is None:
            raise NotFound("the page has no such file", evidence={"file": name}, fix="open the page itself at /")
        return Response(data, media_type=_type(name), headers=_HEADERS)


def _type(name: str) -> str | None:
    return _TYPES.get(name[name.rfind(".") :]) if "." in name else None

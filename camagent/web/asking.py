"""What every route needs of a request, and how it answers."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from camagent.clock import Clock
from camagent.errors import printable
from camagent.service import Origin
from camagent.web.guard import MARKER, Asked, Failures, Pace
from camagent.web.refusals import QueryInvalid

T = TypeVar("T")
_ASKED_AT_ONCE = 4  # threads that may wait for the agent's own locks


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Whom the API answers, and how patient it is."""

    hosts: Sequence[str]
    token: Callable[[], str | None]  # read anew for every request; raises TokenUnreadable
    clock: Clock
    upload_window_s: float = 30.0
    upload_least: int = 64 * 1024  # bytes that such a window has to bring
    failures: Failures = field(default_factory=Failures)

    @property
    def pace(self) -> Pace:
        """For one body."""
        return Pace(self.upload_window_s, self.upload_least)


class Asking:
    """Questions that may have to wait for the agent: in threads, a few at a time."""

    def __init__(self) -> None:
        self._at_once = asyncio.Semaphore(_ASKED_AT_ONCE)

    async def ask(self, question: Callable[[], T]) -> T:
        """Its answer. Raises what it raises."""
        async with self._at_once:
            return await run_in_threadpool(question)


def asked(scope: Scope) -> Asked:
    """What a request says of itself, for guard.judge."""
    found: dict[str, str] = {}
    for key, value in scope["headers"]:
        name, text = key.decode("latin-1"), value.decode("latin-1")
        found[name] = f"{found[name]}, {text}" if name in found else text  # two of a kind are never what is expected
    server, client = scope.get("server") or ("", 0), scope.get("client") or ("", 0)
    return Asked(
        method=scope["method"], path=scope["path"], scheme=scope["scheme"], client=client[0],
        local=(server[0], server[1] or 0), host=found.get("host", ""), origin=found.get("origin"),
        fetch_site=found.get("sec-fetch-site"), authorization=found.get("authorization"), marker=found.get(MARKER.lower()),
        content_length=found.get("content-length"), transfer_encoding=found.get("transfer-encoding"),
        head_bytes=sum(map(len, (scope["raw_path"], scope["query_string"], *itertools.chain(*scope["headers"])))),
    )  # fmt: skip


def origin(request: Request) -> Origin:
    """Who asks."""
    return Origin("http", request.client.host if request.client else "unknown")


def flag(request: Request, key: str) -> bool:
    """A parameter that is 1 or 0. Raises QueryInvalid."""
    value = request.query_params.get(key, "0")
    if value not in {"0", "1"}:
        raise QueryInvalid(f"{key} is 1 or 0", evidence={key: value}, fix=f"ask with ?{key}=1, or without it")
    return value == "1"


def share(request: Request, key: str) -> float | None:
    """A parameter from 0 to 1; None where it is not given. Raises QueryInvalid."""
    value = request.query_params.get(key)
    if value is None:
        return None
    try:
        number = float(value)
    except ValueError:
        number = -1.0
    if not 0 <= number <= 1:
        raise QueryInvalid(f"{key} is a number from 0 to 1", evidence={key: value}, fix=f"ask with ?{key}=0.4, or without it")
    return number


def answer(body: dict[str, Any]) -> Response:
    """JSON."""
    return Response(as_json(body), media_type="application/json")


def as_json(body: object) -> bytes:
    """What JSON does not know goes out escaped."""
    return json.dumps(body, default=printable).encode()

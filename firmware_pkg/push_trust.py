"""Hands a chain of trust roots to a camera over its HTTP API, by the same rules as a bundle."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from firmware_pkg.push import SEND_S, SILENCE_S, _camera, _no_camagent, _plain_http, _Talk

_ANSWER = msgspec.json.Decoder(dict[str, Any])


def send_roots(
    roots: Sequence[bytes],
    url: str,
    *,
    token: str | None = None,
    ca: Path | None = None,
    fingerprint: str | None = None,
    dry_run: bool = False,
) -> Mapping[str, Any]:
    """What the camera says that they change; with `dry_run` it changes nothing. A `warning` of ours may stand in it.

    Raises:
        WrongTarget, NotReached, RemoteRefusal: as `push` does.
    """
    camera = _camera(url, token, ca, fingerprint)
    body = msgspec.json.encode({"roots": [base64.b64encode(root).decode("ascii") for root in roots]})
    headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    target = camera.at("api", "trust", query="dry_run=1" if dry_run else "")
    with closing(_Talk(camera, SEND_S)) as talk:
        response = talk.ask(target, headers, SILENCE_S, method="PUT", body=body)
        try:
            answer = _ANSWER.decode(talk.answer(response))
        except msgspec.MsgspecError as exc:
            raise _no_camagent(camera, response.status_code) from exc
    if camera.url.scheme == "http" and camera.is_remote:
        answer["warning"] = _plain_http(camera)
    return answer

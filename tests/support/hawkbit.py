"""A stand-in for a hawkBit server: the DDI part of it, over real sockets, as its documentation and source describe it.

    hawkbit = Hawkbit(token="TargetToken abc")
    action = hawkbit.assign(("blobs-2.0.0.cambundle", data))
    with hawkbit.listening() as url: ..
    assert action.finals == [..]

What it does as the real one does:
- the root resource has an ETag, `config.polling.sleep`, and one link for the oldest open action: `confirmationBase` while it
  waits for that, `cancelAction` while it is being cancelled, else `deploymentBase` with `?c=`; `configData` while it
  wants attributes;
- `deploymentBase/ID` is 404 while the action waits or is being cancelled; `actionHistory=n` adds the messages of its statuses;
- feedback to a closed action is 410; `closed` ends one, with `none` counting as success; everything else is kept as a status;
- the 1001st status is 429; each Range request of a download is a status of its own (hawkbit#1249);
- `denied` leaves an action open and waiting (hawkbit#1667); a rejected cancellation makes it active again;
- a wrong token is 401, whatever is asked.

What it does beyond: it is strict. Whatever a client of ours sends that the real one would refuse, or that is not in the
documentation, is answered with 400 and stands in `wrong`, which `listening` wants empty: media types, fields, types, the
limits of 50 messages and 512 characters, `<..>` in details (hawkbit#1321), links that are not followed as given.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, unquote

from tests.support.http_server import Answer, Files, Request, Server, head, serving

STATUSES, MESSAGES, MESSAGE_CHARS = 1000, 50, 512
EXECUTIONS = {"closed", "proceeding", "canceled", "scheduled", "rejected", "resumed", "download", "downloaded"}
MARKUP = re.compile(r"<[^>]*>")
Hook = Callable[[str, str], "Answer | None"]  # method, path -> what to answer instead


@dataclass
class Action:
    """One assignment. `files`: per software module. `statuses`: the feedback bodies' `status`, in order."""

    id: str
    modules: Sequence[Sequence[tuple[str, bytes]]]
    state: str = "active"  # waiting | active | canceling | closed
    download: str = "forced"
    update: str = "forced"
    window: str | None = None
    hashes: Sequence[str] = ("sha1", "md5", "sha256")
    changes: Mapping[str, Any] = field(default_factory=dict)  # of every artifact's JSON
    links: Callable[[str, str], dict[str, Any]] | None = None  # (file's path, name) -> _links of an artifact
    statuses: list[dict[str, Any]] = field(default_factory=list)
    is_never_over: bool = False  # `closed` is taken, and nothing follows from it
    late: list[dict[str, Any]] = field(default_factory=list)  # what came after the end
    ranges: int = 0  # statuses that Range requests made
    cancellations: list[dict[str, Any]] = field(default_factory=list)
    confirmations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def finals(self) -> list[str]:
        """`success` or `failure` of every accepted `closed`."""
        return [status["result"]["finished"] for status in self.statuses if status["execution"] == "closed"]

    @property
    def details(self) -> str:
        """Everything that was told, as one text."""
        return "\n".join(line for status in self.statuses for line in status.get("details", ()))


@dataclass
class Hawkbit:
    """The server. Answer one connection each; state is shared, under one lock."""

    token: str | None = "TargetToken abc"
    tenant: str = "DEFAULT"
    controller: str = "cam-01"
    sleep: str = "00:05:00"
    wants_attributes: bool = False
    actions: list[Action] = field(default_factory=list)
    attributes: dict[str, str] = field(default_factory=dict)
    files: dict[str, Answer] = field(default_factory=dict)  # by file name: how they are served; Files where nothing is said
    hooks: list[Hook] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    asked: list[tuple[str, str, int]] = field(default_factory=list)  # method, path without the prefix, status; in order
    on_ask: Callable[[str, str], None] = lambda *_: None  # method and path, before anything is done about it
    on_answer: Callable[[str, str], None] = lambda *_: None  # when all is done about it, before the answer goes out
    url: str = ""
    _lock: threading.RLock = field(default_factory=threading.RLock)

    @contextmanager
    def listening(self, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[str]:
        with serving(self, tls=tls, port=port) as server:
            self.url = server.url("").rstrip("/")
            yield self.url
        assert not self.wrong, self.wrong

    # -- what an operator does ----------------------------------------------------------------------------------------

    def assign(self, *files: tuple[str, bytes], **options: Any) -> Action:
        """A distribution set of one software module per file."""
        action = Action(str(len(self.actions) + 1), [[file] for file in files], **options)
        with self._lock:
            self.actions.append(action)
        return action

    def cancel(self, action: Action) -> None:
        with self._lock:
            action.state = "canceling"

    def instead(self, part: str, *answers: Answer, method: str = "GET") -> None:
        """The next requests to paths with `part` in them get these, one each."""
        queue = list(answers)

        def hook(asked: str, path: str) -> Answer | None:
            if asked != method or part not in path or not queue:
                return None
            return queue.pop(0)

        self.hooks.append(hook)

    def count(self, method: str, part: str) -> int:
        """How many requests there were."""
        with self._lock:
            return sum(asked == method and part in path for asked, path, _ in self.asked)

    # -- answering ----------------------------------------------------------------------------------------------------

    def __call__(self, server: Server, request: Request, wire: socket.socket) -> None:
        path = request.target.partition("?")[0]
        self.on_ask(request.method, path)
        instead = next((answer for hook in self.hooks if (answer := hook(request.method, path))), None)
        if instead is not None:
            self._note(request, path, 0)
            instead(server, request, wire)
            return
        self.obey(server, request, wire)

    def obey(self, server: Server, request: Request, wire: socket.socket) -> None:
        path = request.target.partition("?")[0]
        body = self._body(request, wire)
        if len(body) < int(request.headers.get("content-length", "0")):
            return  # whoever asked was killed in the middle of it
        if self.token is not None and request.headers.get("authorization") != self.token:
            self._send(request, path, wire, 401)
            return
        base = f"/{self.tenant}/controller/v1/{self.controller}"
        path = unquote(path)
        if path != base and not path.startswith(base + "/"):
            self._send(request, path, wire, 404)
            return
        rest = path[len(base) :].strip("/").split("/") if path != base else []
        if len(rest) == 4 and rest[0] == "softwaremodules" and rest[2] == "artifacts":
            self._file(server, request, wire, rest[3])
            return
        with self._lock:
            status, answer, *headers = self._routed(request, rest, body)
        self._send(request, path, wire, status, answer, *headers)

    def _routed(self, request: Request, rest: list[str], body: bytes) -> tuple[Any, ...]:
        action = next((one for one in self.actions if len(rest) > 1 and one.id == rest[1]), None)
        match request.method, rest:
            case "GET", []:
                return self._root(request)
            case "PUT", ["configData"]:
                return self._config_data(request, body)
            case _ if action is None:
                return 404, None
            case "GET", ["deploymentBase", _]:
                return self._deployment(request, action)
            case "GET", ["confirmationBase", _]:
                return (200, {"id": action.id, "confirmation": {}}) if action.state == "waiting" else (404, None)
            case "GET", ["cancelAction", _]:
                found = {"id": action.id, "cancelAction": {"stopId": action.id}}
                return (200, found) if action.state == "canceling" else (404, None)
            case "POST", ["deploymentBase", _, "feedback"]:
                return self._feedback(request, action, body)
            case "POST", ["cancelAction", _, "feedback"]:
                return self._cancel_feedback(request, action, body)
            case "POST", ["confirmationBase", _, "feedback"]:
                return self._confirmation(request, action, body)
        return 404, None

    def _root(self, request: Request) -> tuple[Any, ...]:
        links: dict[str, Any] = {}
        action = next((one for one in self.actions if one.state != "closed"), None)
        if action is not None:
            name = {"waiting": "confirmationBase", "canceling": "cancelAction"}.get(action.state, "deploymentBase")
            query = "" if name == "cancelAction" else f"?c={self._c(action)}"
            links[name] = {"href": f"{self._base()}/{name}/{action.id}{query}"}
        if self.wants_attributes:
            links["configData"] = {"href": f"{self._base()}/configData"}
        found = {"config": {"polling": {"sleep": self.sleep}}, "_links": links}
        etag = f'"{hashlib.md5(json.dumps(found).encode()).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return 304, None, f"ETag: {etag}"
        if "json" not in request.headers.get("accept", ""):
            self.wrong.append(f"Accept: {request.headers.get('accept')}")
        return 200, found, f"ETag: {etag}"

    def _deployment(self, request: Request, action: Action) -> tuple[Any, ...]:
        query = parse_qs(request.target.partition("?")[2])
        if action.state == "active" and query.get("c") != [str(self._c(action))]:
            self.wrong.append(f"the link was not followed as given: {request.target}")
        if action.state in {"waiting", "canceling"}:
            return 404, None
        chunks = [
            {"part": "bApp", "version": "1", "name": f"module-{number}", "artifacts": [
                self._artifact(action, number, *file) for file in files
            ]} for number, files in enumerate(action.modules)
        ]  # fmt: skip
        deployment = {"download": action.download, "update": action.update, "chunks": chunks}
        if action.window:
            deployment["maintenanceWindow"] = action.window
        found: dict[str, Any] = {"id": action.id, "deployment": deployment}
        if "actionHistory" in query:
            messages = [line for status in reversed(action.statuses) for line in status.get("details", ())]
            most = int(query["actionHistory"][0])
            found["actionHistory"] = {"status": "RUNNING", "messages": messages if most < 0 else messages[:most]}
        return 200, found

    def _artifact(self, action: Action, module: int, name: str, data: bytes) -> dict[str, Any]:
        self.files.setdefault(name, Files(data, etag='"x"'))
        path = f"{self._base()}/softwaremodules/{module}/artifacts/{quote(name, errors='replace')}"
        links = {"download-http": {"href": path}, "md5sum-http": {"href": path + ".MD5SUM"}}
        if self.url.startswith("https"):
            links = {"download": {"href": path}, "md5sum": {"href": path + ".MD5SUM"}}
        hashes = {kind: hashlib.new(kind, data).hexdigest() for kind in action.hashes}
        found = {"filename": name, "hashes": hashes, "size": len(data)}
        return {**found, "_links": action.links(path, name) if action.links else links, **action.changes}

    def _feedback(self, request: Request, action: Action, body: bytes) -> tuple[Any, ...]:
        status = self._status(request, body)
        if status is None:
            return 400, None
        if action.state == "waiting":
            return 404, None
        if action.state == "closed":
            action.late.append(status)
            return 410, None
        if len(action.statuses) + action.ranges >= STATUSES:
            return 429, None
        action.statuses.append(status)
        if status["execution"] == "closed":
            action.state = "active" if action.is_never_over else "closed"
            self.wants_attributes = status["result"]["finished"] != "failure"
        return 200, None

    def _cancel_feedback(self, request: Request, action: Action, body: bytes) -> tuple[Any, ...]:
        status = self._status(request, body)
        if status is None:
            return 400, None
        if action.state != "canceling":
            return 405, None
        action.cancellations.append(status)
        if status["execution"] in {"closed", "canceled"}:
            action.state = "closed"
        elif status["execution"] == "rejected":
            action.state = "active"
        return 200, None

    def _confirmation(self, request: Request, action: Action, body: bytes) -> tuple[Any, ...]:
        found = self._json(request, body)
        if not isinstance(found, dict) or found.get("confirmation") not in {"confirmed", "denied"}:
            self.wrong.append(f"confirmation: {body!r}")
            return 400, None
        self._require(set(found) <= {"confirmation", "code", "details"}, f"confirmation has strange fields: {found}")
        self._details(found.get("details", []))
        if action.state != "waiting":
            return 410, None
        action.confirmations.append(found)
        if found["confirmation"] == "confirmed":
            action.state = "active"
        return 200, None

    def _config_data(self, request: Request, body: bytes) -> tuple[Any, ...]:
        found = self._json(request, body)
        fine = isinstance(found, dict) and set(found) == {"mode", "data"} and found["mode"] in {"merge", "replace", "remove"}
        if not fine or not all(isinstance(x, str) and 0 < len(x) <= 128 for pair in found["data"].items() for x in pair):
            self.wrong.append(f"configData: {body!r}")
            return 400, None
        self.attributes.update(found["data"])
        self.wants_attributes = False
        return 200, None

    def _status(self, request: Request, body: bytes) -> dict[str, Any] | None:
        """The `status` of a feedback that is as documented, else None."""
        before = len(self.wrong)
        found = self._json(request, body)
        if not isinstance(found, dict) or set(found) != {"timestamp", "status"}:
            self.wrong.append(f"feedback: {body!r}")
            return None
        status = found["status"]
        now = time.time() * 1000
        self._require(isinstance(found["timestamp"], int) and found["timestamp"] > now / 10, f"timestamp {found['timestamp']}")
        self._require(set(status) <= {"execution", "result", "code", "details"}, f"status has strange fields: {status}")
        self._require(status.get("execution") in EXECUTIONS, f"execution {status.get('execution')}")
        result = status.get("result", {})
        self._require(result.get("finished") in {"success", "failure", "none"}, f"result {result}")
        progress = result.get("progress", {"cnt": 0, "of": 0})
        self._require(all(isinstance(progress.get(key), int) for key in ("cnt", "of")), f"progress {progress}")
        self._require(isinstance(status.get("code", 0), int), f"code {status.get('code')}")
        self._details(status.get("details", []))
        return status if len(self.wrong) == before else None

    def _details(self, details: Any) -> None:
        self._require(isinstance(details, list) and all(isinstance(line, str) for line in details), f"details {details!r}")
        self._require(len(details) <= MESSAGES, f"{len(details)} messages")
        for line in details:
            self._require(len(line) <= MESSAGE_CHARS, f"a message of {len(line)} characters")
            self._require(not MARKUP.search(line), f"markup in {line!r}")
            self._require(line.isprintable(), f"not printable: {line!r}")

    def _json(self, request: Request, body: bytes) -> Any:
        self._require(request.headers.get("content-type") == "application/json", f"media type {request.headers}")
        try:
            return json.loads(body)
        except ValueError:
            return None

    def _require(self, fine: bool, what: str) -> None:
        if not fine:
            self.wrong.append(what)

    # -- plumbing -----------------------------------------------------------------------------------------------------

    def _file(self, server: Server, request: Request, wire: socket.socket, name: str) -> None:
        answer = self.files.get(name)
        self._note(request, request.target, 200 if answer else 404)
        if answer is None:
            wire.sendall(head(404, "Content-Length: 0"))
            return
        with self._lock:
            for action in self.actions:
                if "range" in request.headers and any(name == one for files in action.modules for one, _ in files):
                    action.ranges += 1
        answer(server, request, wire)

    def _body(self, request: Request, wire: socket.socket) -> bytes:
        data, length = request.rest, int(request.headers.get("content-length", "0"))
        while len(data) < length:
            more = wire.recv(65536)
            if not more:
                break
            data += more
        return data

    def _send(self, request: Request, path: str, wire: socket.socket, status: int, answer: Any = None, *headers: str) -> None:
        self._note(request, path, status)
        body = b"" if answer is None else json.dumps(answer).encode()
        lines = [*headers, *([] if status == 304 else [f"Content-Length: {len(body)}"])]
        wire.sendall(head(status, "Content-Type: application/hal+json", *lines) + body)

    def _note(self, request: Request, path: str, status: int) -> None:
        with self._lock:
            self.asked.append((request.method, path, status))
        self.on_answer(request.method, path)

    def _base(self) -> str:
        return f"{self.url}/{self.tenant}/controller/v1/{quote(self.controller, safe='')}"

    def _c(self, action: Action) -> int:
        return hash((action.id, action.update, action.window)) % 1_000_000


def saying(status: int, body: bytes = b"", *headers: str) -> Answer:
    """A plain answer."""
    return lambda _server, _request, wire: wire.sendall(head(status, f"Content-Length: {len(body)}", *headers) + body)


def breaking(_server: Server, _request: Request, wire: socket.socket) -> None:
    """Ends the connection without a word."""


def dripping(server: Server, _request: Request, wire: socket.socket) -> None:
    """A byte now and then, for ever."""
    wire.sendall(head(200, "Content-Type: application/json"))
    while not server.over.wait(0.05):
        wire.sendall(b" ")


def endless(server: Server, _request: Request, wire: socket.socket) -> None:
    """A body that never ends, as fast as it is read."""
    wire.sendall(head(200, "Content-Type: application/json"))
    while not server.over.is_set():
        wire.sendall(b" " * 65536)

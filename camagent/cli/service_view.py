"""What `camagent service status` says: systemd's word on the unit, the agent's word on itself."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from camagent.errors import printable
from camagent.installation import is_booted
from camagent.language import ENGLISH, Tongue
from camagent.unit import NAME

TOOL_S = 10.0
SCHEMA = "camagent.service-status/1"
_PROPERTIES = (
    "LoadState", "ActiveState", "SubState", "UnitFileState", "Result", "NRestarts", "MainPID", "StatusText", "FragmentPath",
    "ActiveEnterTimestamp",
)  # fmt: skip


def body_of(answer: Mapping[str, Any] | None, pid: int | None) -> dict[str, Any]:
    """The JSON. `answer`: of the agent's `status`; None where no agent runs."""
    return {"schema": SCHEMA, "unit": unit_facts(), "pid": pid, "agent": answer}


def unit_facts() -> dict[str, str] | None:
    """What systemd knows of the unit; None where it does not run here."""
    if not is_booted() or shutil.which("systemctl") is None:
        return None
    command = ["systemctl", "show", NAME, f"--property={','.join(_PROPERTIES)}"]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TOOL_S, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError) as exc:
        return {"problem": printable(exc)}
    return dict(line.split("=", 1) for line in ran.stdout.splitlines() if "=" in line)


def lines_of(body: Mapping[str, Any], tongue: Tongue = ENGLISH) -> Iterator[str]:
    """The same for people."""
    yield _unit_line(body["unit"])
    answer = body["agent"]
    if answer is None:
        yield "agent: none runs with this configuration"
        return
    agent = answer.get("agent") or {}
    name, version, uptime = agent.get("agent"), agent.get("version"), agent.get("uptime", 0.0)
    yield f"agent {printable(name)}: camagent {printable(version)}, pid {body['pid']}, up {_duration(uptime)}"
    yield from _troubles(agent, tongue)
    for camera in answer.get("cameras", ()):
        yield _camera_line(camera, tongue)
    for bundle, facts in sorted((answer.get("bundles") or {}).items()):
        trial = f", on trial: {printable(facts['trial'])}" if facts.get("trial") else ""
        yield f"bundle {printable(bundle)}: {printable(facts.get('current') or 'none runs')}{trial}"


def _unit_line(facts: Mapping[str, str] | None) -> str:
    if facts is None:
        return "unit: systemd does not run here"
    if "problem" in facts:
        return f"unit: systemd does not answer: {facts['problem']}"
    if facts.get("LoadState") != "loaded":
        return "unit: not installed; sudo camagent service install"
    words = {name: printable(facts.get(name, "?")) for name in _PROPERTIES}
    result = "" if words["Result"] == "success" else f", last end: {words['Result']}"
    return (
        f"unit: {words['ActiveState']} ({words['SubState']}), {words['UnitFileState']}, "
        f"started anew {words['NRestarts']} times{result}; {words['StatusText'] or 'no status'}"
    )


def _troubles(agent: Mapping[str, Any], tongue: Tongue) -> Iterator[str]:
    mqtt = agent.get("mqtt") or {}
    if mqtt.get("code"):
        yield f"  MQTT: {tongue.because(printable(mqtt['code']), printable(mqtt.get('detail') or ''))}"
    if (agent.get("trust") or {}).get("root") is None and not agent.get("allow_unsigned"):
        yield "  no trust root: camagent trust install root.json"
    if (agent.get("config") or {}).get("error"):
        yield f"  configuration: {printable(agent['config']['error'], 400)}"
    if (agent.get("web") or {}).get("problem"):
        yield f"  web: {printable(agent['web']['problem'])}"
    fleet = agent.get("fleet") or {}
    yield from _hawkbit_lines(fleet.get("hawkbit") or {}, tongue)
    yield from _repository_lines(fleet.get("tuf") or {}, tongue)
    if (agent.get("watchdog") or {}).get("last_abort"):
        yield f"  the watchdog ended the life before this one: {printable(agent['watchdog']['last_abort'])}"


def _hawkbit_lines(facts: Mapping[str, Any], tongue: Tongue) -> Iterator[str]:
    if not facts:
        return
    action = f", action {printable(facts['action'], 64)}" if facts.get("action") else ""
    code, detail = printable(facts.get("code") or "", 64), printable(facts.get("detail") or "", 400)
    trouble = f"; {tongue.because(code, detail)}" if code else ""
    yield f"  hawkBit {printable(facts.get('server'))}: {printable(facts.get('state'))}{action}{trouble}"


def _repository_lines(facts: Mapping[str, Any], tongue: Tongue) -> Iterator[str]:
    if not facts:
        return
    looks, listed = facts.get("checks") or 0, facts.get("listed")
    seen = f"{looks} look{'s' * (looks != 1)}" if looks else f"the first look in {_duration(facts.get('next_check_s') or 0.0)}"
    bundles = "" if listed is None else f", {listed} bundle{'s' * (listed != 1)} listed"
    trouble = f"; {_because(facts['problem'], tongue)}" if facts.get("problem") else ""
    yield f"  repository {printable(facts.get('url'))}: {seen}{bundles}{trouble}"
    for name, taken in sorted((facts.get("taken") or {}).items()):
        refusal = taken.get("refusal")
        outcome = _because(refusal, tongue) if refusal else f"installed, {printable(taken.get('outcome'), 64)}"
        yield f"    {printable(name, 64)} {printable(taken.get('version'), 64)}: {outcome}"


def _because(refusal: Mapping[str, Any], tongue: Tongue) -> str:
    said = f"{refusal.get('what') or ''} ({refusal.get('fix') or ''})"
    return tongue.because(printable(refusal.get("code"), 64), printable(said, 800))


def _camera_line(camera: Mapping[str, Any], tongue: Tongue) -> str:
    reason, fps = camera.get("reason"), camera.get("fps", 0.0)
    why = f": {tongue.because(printable(reason), printable(camera.get('detail') or '', 400))}" if reason else ""
    return f"camera {printable(camera.get('camera'))}: {printable(camera.get('state'))}, {fps:g} fps{why}"


def _duration(seconds: float) -> str:
    days, rest = divmod(round(seconds), 86400)
    hours, minutes = divmod(rest // 60, 60)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes} min" if hours else f"{minutes} min" if minutes else f"{rest} s"

"""A real Home Assistant with nothing but its MQTT integration, run under its own Python: it speaks JSON lines.

    {"states": true}                                   -> {entity id: [state, {attribute: ..}]}
    {"call": ["switch", "turn_off", "switch.x"]}       -> {}
    {"picture": "camera.x"}                            -> {"bytes": N, "starts": "ffd8.."}
    {"registered": true}                               -> {entity id: disabled}
    {"schemas": {key: [platform, config]}}             -> {key: what is wrong}

Only its web server is left out: views are registered with nobody.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
import sys
from types import MappingProxyType, SimpleNamespace
from typing import Any

from homeassistant.core import CoreState, HomeAssistant  # isort: skip  first: its modules import each other
from homeassistant import loader
from homeassistant.bootstrap import async_load_base_functionality
from homeassistant.components import camera as cameras
from homeassistant.components.mqtt import binary_sensor, button, camera, sensor, switch
from homeassistant.config_entries import ConfigEntries, ConfigEntry
from homeassistant.helpers import entity_registry

PLATFORMS = {"binary_sensor": binary_sensor, "button": button, "camera": camera, "sensor": sensor, "switch": switch}


async def started(folder: str, port: int) -> HomeAssistant:
    hass = HomeAssistant(folder)
    hass.config.skip_pip = True
    hass.http = SimpleNamespace(register_view=lambda view: None)
    loader.async_setup(hass)
    hass.config_entries = ConfigEntries(hass, {})
    await async_load_base_functionality(hass)
    hass.config.components.update({"http", "file_upload"})
    facts = {
        "version": 1, "minor_version": 2, "domain": "mqtt", "title": "mqtt", "source": "user", "options": {},
        "entry_id": "mqtt", "unique_id": None, "discovery_keys": MappingProxyType({}),
        "data": {"broker": "127.0.0.1", "port": port, "discovery": True},
    }  # fmt: skip
    known = inspect.signature(ConfigEntry).parameters
    entry = ConfigEntry(**{key: value for key, value in facts.items() if key in known})
    hass.config_entries._entries[entry.entry_id] = entry
    assert await hass.config_entries.async_setup(entry.entry_id), "the MQTT integration could not be set up"
    hass.set_state(CoreState.running)
    return hass


def checked(platform: str, config: dict[str, Any]) -> str:
    try:
        PLATFORMS[platform].DISCOVERY_SCHEMA(config)
    except Exception as exc:  # whatever its schema language raises
        return repr(exc)
    return ""


async def answer(hass: HomeAssistant, asked: dict[str, Any]) -> dict[str, Any]:
    if "call" in asked:
        domain, service, entity = asked["call"]
        await hass.services.async_call(domain, service, {"entity_id": entity}, blocking=True)
        return {}
    if "picture" in asked:
        made = (await cameras.async_get_image(hass, asked["picture"])).content
        return {"bytes": len(made), "starts": made[:4].hex()}
    if "registered" in asked:
        entries = entity_registry.async_get(hass).entities.values()
        return {entry.entity_id: entry.disabled for entry in entries}
    if "schemas" in asked:
        return {key: checked(*pair) for key, pair in asked["schemas"].items()}
    return {one.entity_id: [one.state, dict(one.attributes)] for one in hass.states.async_all() if one.domain != "zone"}


async def main() -> None:
    hass = await started(sys.argv[1], int(sys.argv[2]))
    print(json.dumps({"ready": True}), flush=True)
    while line := await hass.loop.run_in_executor(None, sys.stdin.readline):
        await hass.async_block_till_done()
        print(json.dumps(await answer(hass, json.loads(line)), default=str), flush=True)
    await hass.async_stop(force=True)


logging.basicConfig(format="%(name)s: %(message)s", level=logging.WARNING)
asyncio.run(main())

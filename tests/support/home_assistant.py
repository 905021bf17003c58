"""Home Assistant's MQTT discovery as its documentation has it: which keys there are, what they may hold, how they are short.

Written from home-assistant.io (MQTT, and the MQTT pages of the five platforms); nothing here comes from our own code.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema

Json = dict[str, Any]

# "Supported abbreviations in MQTT discovery messages", as far as these platforms have them
ABBREVIATIONS = {
    "avty": "availability", "avty_mode": "availability_mode", "avty_t": "availability_topic",
    "avty_tpl": "availability_template", "cmd_t": "command_topic", "cmd_tpl": "command_template", "cmps": "components",
    "dev": "device", "dev_cla": "device_class",
    "e": "encoding", "en": "enabled_by_default", "ent_cat": "entity_category", "exp_aft": "expire_after",
    "frc_upd": "force_update", "ic": "icon", "img_e": "image_encoding", "json_attr_t": "json_attributes_topic",
    "json_attr_tpl": "json_attributes_template", "lrst_val_tpl": "last_reset_value_template", "name": "name", "o": "origin",
    "obj_id": "object_id", "off_dly": "off_delay", "ops": "options", "opt": "optimistic", "p": "platform",
    "pl_avail": "payload_available", "pl_not_avail": "payload_not_available", "pl_off": "payload_off", "pl_on": "payload_on",
    "pl_prs": "payload_press", "ret": "retain", "stat_cla": "state_class", "stat_off": "state_off", "stat_on": "state_on",
    "stat_t": "state_topic", "sug_dsp_prc": "suggested_display_precision", "t": "topic", "uniq_id": "unique_id",
    "unit_of_meas": "unit_of_measurement", "val_tpl": "value_template", "qos": "qos", "unique_id": "unique_id",
}  # fmt: skip
DEVICE = {
    "cu": "configuration_url", "cns": "connections", "ids": "identifiers", "name": "name", "mf": "manufacturer", "mdl": "model",
    "mdl_id": "model_id", "hw": "hw_version", "sw": "sw_version", "sa": "suggested_area", "sn": "serial_number",
}  # fmt: skip
ORIGIN = {"name": "name", "sw": "sw_version", "url": "support_url"}
# device level options that a component inherits unless it has its own
SHARED = ("availability", "availability_mode", "availability_topic", "availability_template", "command_topic", "encoding",
          "payload_available", "payload_not_available", "state_topic", "qos")  # fmt: skip

BINARY_CLASSES = (
    "battery", "battery_charging", "carbon_monoxide", "cold", "connectivity", "door", "garage_door", "gas", "heat", "light",
    "lock", "moisture", "motion", "moving", "occupancy", "opening", "plug", "power", "presence", "problem", "running", "safety",
    "smoke", "sound", "tamper", "update", "vibration", "window",
)  # fmt: skip
SENSOR_CLASSES = (
    "enum",
    "temperature",
    "timestamp",
    "duration",
    "data_size",
    "data_rate",
    "power",
    "voltage",
)  # those that fit us

_TOPIC = {"type": "string", "pattern": r"^[^#+\u0000-\u001f\u007f-\u009f]+$", "maxLength": 65535}
_TEXT = {"type": "string"}
_TEMPLATE = {"type": "string", "pattern": r"^\{\{.*\}\}$"}
_AVAILABILITY = {
    "type": "array", "minItems": 1,
    "items": {
        "type": "object", "required": ["t"], "additionalProperties": False,
        "properties": {"t": _TOPIC, "val_tpl": _TEMPLATE, "pl_avail": _TEXT, "pl_not_avail": _TEXT},
    },
}  # fmt: skip
_MODE = {"enum": ["all", "any", "latest"]}
_QOS = {"enum": [0, 1, 2]}
_COMMON: Json = {
    "p": _TEXT, "name": {"type": "string", "minLength": 1, "maxLength": 255}, "unique_id": {"type": "string", "minLength": 1},
    "avty": _AVAILABILITY, "avty_mode": _MODE, "en": {"type": "boolean"}, "json_attr_t": _TOPIC, "json_attr_tpl": _TEMPLATE,
    "qos": _QOS, "ent_cat": {"const": "diagnostic"},  # `config` is for what can be set
}  # fmt: skip
_SETTABLE = {"ent_cat": {"enum": ["config", "diagnostic"]}}


def _platform(name: str, required: list[str], **properties: Any) -> Json:
    return {
        "type": "object", "required": ["p", "unique_id", *required], "additionalProperties": False,
        "properties": {**_COMMON, "p": {"const": name}, **properties},
    }  # fmt: skip


_SENSOR = _platform(
    "sensor", ["stat_t"], stat_t=_TOPIC, val_tpl=_TEMPLATE, dev_cla={"enum": list(SENSOR_CLASSES)}, unit_of_meas=_TEXT,
    stat_cla={"enum": ["measurement", "total", "total_increasing"]},
    ops={"type": "array", "items": _TEXT, "minItems": 1, "uniqueItems": True},
)  # fmt: skip
_SENSOR["dependentSchemas"] = {
    "ops": {"properties": {"dev_cla": {"const": "enum"}, "stat_cla": False, "unit_of_meas": False}, "required": ["dev_cla"]}
}
PLATFORMS: Json = {
    "binary_sensor": _platform(
        "binary_sensor", ["stat_t"], stat_t=_TOPIC, val_tpl=_TEMPLATE, dev_cla={"enum": list(BINARY_CLASSES)}, pl_on=_TEXT,
        pl_off=_TEXT,
    ),
    "sensor": _SENSOR,
    "camera": _platform("camera", ["t"], t=_TOPIC, img_e={"const": "b64"}),
    "button": _platform("button", ["cmd_t"], cmd_t=_TOPIC, pl_prs=_TEXT, **_SETTABLE),
    "switch": _platform(
        "switch", ["cmd_t"], cmd_t=_TOPIC, stat_t=_TOPIC, val_tpl=_TEMPLATE, pl_on=_TEXT, pl_off=_TEXT, **_SETTABLE
    ),
}  # fmt: skip
_REMOVAL = {"type": "object", "required": ["p"], "additionalProperties": False, "properties": {"p": {"enum": list(PLATFORMS)}}}
SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "MQTT device discovery",
    "type": "object",
    "required": ["dev", "o", "cmps"],
    "additionalProperties": False,
    "properties": {
        "dev": {
            "type": "object", "required": ["ids"], "additionalProperties": False,
            "properties": {
                "ids": {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1},
                "cu": {"type": "string", "pattern": r"^(https?|homeassistant)://[^\s/]+"},
                **dict.fromkeys(("name", "mf", "mdl", "mdl_id", "hw", "sw", "sa", "sn"), _TEXT),
            },
        },
        "o": {
            "type": "object", "required": ["name"], "additionalProperties": False,
            "properties": {"name": _TEXT, "sw": _TEXT, "url": {"type": "string", "pattern": "^https?://"}},
        },
        "avty": _AVAILABILITY, "avty_mode": _MODE, "qos": _QOS,
        "cmps": {
            "type": "object",
            "additionalProperties": {"anyOf": [_REMOVAL, *PLATFORMS.values()]},
        },
    },
}  # fmt: skip
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)


def checked(payload: bytes) -> Json:
    """The message, which must be one."""
    message: Json = json.loads(payload)
    problems = [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(message)]
    assert not problems, problems[:3]
    return message


def long_form(short: Json, names: dict[str, str]) -> Json:
    unknown = short.keys() - names.keys()
    assert not unknown, f"not among the documented abbreviations: {unknown}"
    return {names[key]: value for key, value in short.items()}


def singles(message: Json) -> dict[str, Json]:
    """Each component as a message of its own, as Home Assistant takes the device form apart: key -> full names."""
    shared = {
        name: value for key, value in message.items() if (name := ABBREVIATIONS[key]) in SHARED
    }  # fmt: skip
    made = {}
    for key, component in message["cmps"].items():
        full = long_form(component, ABBREVIATIONS)
        if set(full) == {"platform"}:
            continue
        merged = {**shared, **full, "device": long_form(message["dev"], DEVICE), "origin": long_form(message["o"], ORIGIN)}
        merged["availability"] = [long_form(entry, ABBREVIATIONS) for entry in merged["availability"]]
        made[key] = merged
    return made


def removed_by(payload: bytes) -> set[str]:
    """Components that the message takes away: they say nothing but what they were."""
    return {key for key, component in checked(payload)["cmps"].items() if component.keys() == {"p"}}

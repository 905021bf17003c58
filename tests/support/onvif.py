"""ONVIF's metadata frames in JSON, as its Analytics Service Specification and metadatastream.xsd (25.06) have them.

The schema is written from these; `to_xml` goes the way of the specification's table from XML to JSON backwards, with the order
of elements that the XSD demands, and `to_json` the way of the table itself.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import jsonschema

Json = dict[str, Any]
NAMESPACE = "http://www.onvif.org/ver10/schema"

OBJECT_TYPES = ("Animal", "HumanFace", "Human", "Bicycle", "Vehicle", "LicensePlate", "Bike", "Barcode", "Fire", "Smoke")
VEHICLE_TYPES = ("Bus", "Car", "Truck", "Bicycle", "Motorcycle")

_NUMBER = {"type": "number"}
_VECTOR = {
    "type": "object",
    "required": ["@x", "@y"],
    "additionalProperties": False,
    "properties": {"@x": _NUMBER, "@y": _NUMBER},
}
_SIDES = ("@left", "@top", "@right", "@bottom")
_ID = {
    "type": "object",
    "required": ["@ObjectId"],
    "additionalProperties": False,
    "properties": {"@ObjectId": {"type": "integer"}},
}
_SHAPE = {
    "type": "object", "required": ["BoundingBox", "CenterOfGravity"], "additionalProperties": False,
    "properties": {
        "BoundingBox": {
            "type": "object", "required": list(_SIDES), "additionalProperties": False,
            "properties": dict.fromkeys(_SIDES, _NUMBER),
        },
        "CenterOfGravity": _VECTOR,
        "Polygon": {
            "type": "object", "required": ["Point"], "additionalProperties": False,
            "properties": {"Point": {"type": "array", "minItems": 3, "items": _VECTOR}},
        },
    },
}  # fmt: skip
_TYPE = {
    "type": "object", "required": ["#text"], "additionalProperties": False,
    "properties": {"@Likelihood": {"type": "number", "minimum": 0, "maximum": 1}, "#text": {"type": "string", "minLength": 1}},
}  # fmt: skip
_OBJECT = {
    "type": "object", "required": ["@ObjectId"], "additionalProperties": False,
    "properties": {
        "@ObjectId": {"type": "integer"},
        "Appearance": {
            "type": "object", "additionalProperties": False,
            "properties": {
                "Shape": _SHAPE,
                "Class": {
                    "type": "object", "additionalProperties": False,
                    "properties": {"Type": {"type": "array", "minItems": 1, "items": _TYPE}},
                },
            },
        },
    },
}  # fmt: skip
_FRAME = {
    "type": "object", "required": ["@UtcTime"], "additionalProperties": False,
    "properties": {
        "@UtcTime": {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)?$"},
        "@Source": {"type": "string"},
        "Transformation": {
            "type": "object", "additionalProperties": False, "properties": {"Translate": _VECTOR, "Scale": _VECTOR},
        },
        "Object": {"type": "array", "minItems": 1, "items": _OBJECT},
        "ObjectTree": {
            "type": "object", "additionalProperties": False,
            "properties": {"Delete": {"type": "array", "minItems": 1, "items": _ID}},
        },
    },
}  # fmt: skip
SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object", "required": ["Frame"], "additionalProperties": False,
    "properties": {"Frame": {"type": "array", "minItems": 1, "items": _FRAME}},
}  # fmt: skip
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

# element -> its children in the order of the XSD's sequence; a star behind those that may be there several times
_CHILDREN = {
    "Frame": ("PTZStatus", "Transformation", "Object*", "ObjectTree", "Extension", "SceneImageRef", "SceneImage"),
    "Transformation": ("Translate", "Scale", "Extension"),
    "Object": ("Appearance", "Behaviour", "Extension"),
    "Appearance": ("Transformation", "Shape", "Color", "Class", "Extension", "GeoLocation", "VehicleInfo*", "LicensePlateInfo"),
    "Shape": ("BoundingBox", "CenterOfGravity", "Polygon*", "Extension"),
    "Polygon": ("Point*",),
    "Class": ("ClassCandidate*", "Extension", "Type*"),
    "ObjectTree": ("Rename*", "Split*", "Merge*", "Delete*", "Extension"),
}
_ATTRIBUTES = {
    "Frame": ("UtcTime", "Colorspace", "Source"), "Object": ("ObjectId", "UUID", "Parent", "ParentUUID"),
    "BoundingBox": ("left", "top", "right", "bottom"), "CenterOfGravity": ("x", "y"), "Point": ("x", "y"),
    "Translate": ("x", "y"), "Scale": ("x", "y"), "Type": ("Likelihood",), "Delete": ("ObjectId", "UUID"),
}  # fmt: skip


def to_xml(body: Json) -> str:
    """A tt:MetadataStream, as a device would have streamed it."""
    stream = ET.Element(f"{{{NAMESPACE}}}MetadataStream")
    analytics = ET.SubElement(stream, f"{{{NAMESPACE}}}VideoAnalytics")
    for frame in body["Frame"]:
        _add(analytics, "Frame", frame)
    return ET.tostring(stream, "unicode")


def _add(parent: ET.Element, name: str, value: Any) -> None:
    made = ET.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    if not isinstance(value, dict):
        made.text = str(value)
        return
    order = [child.rstrip("*") for child in _CHILDREN.get(name, ())]
    children = [key for key in value if key[0] not in "@#"]
    assert children == sorted(children, key=order.index), f"{name}: {children} are not in the order of the XSD"
    for key, inner in value.items():
        if key.startswith("@"):
            assert key[1:] in _ATTRIBUTES[name], f"{name} has no attribute {key[1:]}"
            made.set(key[1:], str(inner))
        elif key == "#text":
            made.text = inner
        else:
            several = f"{key}*" in _CHILDREN[name]
            assert several == isinstance(inner, list), f"{name}: {key} is {'a list' if several else 'no list'}"
            for one in inner if several else [inner]:
                _add(made, key, one)


def to_json(xml: str) -> Json:
    """What the table of the specification makes of it; numbers without quotes."""
    (analytics,) = ET.fromstring(xml)
    return {"Frame": [_read(frame) for frame in analytics]}


def _read(element: ET.Element) -> Any:
    name = element.tag.rpartition("}")[2]
    made: Json = {f"@{key}": _value(value) for key, value in element.attrib.items()}
    for child in element:
        key = child.tag.rpartition("}")[2]
        if f"{key}*" in _CHILDREN[name]:
            made.setdefault(key, []).append(_read(child))
        else:
            made[key] = _read(child)
    if element.text:
        made["#text"] = element.text
    return made


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text

"""Untrusted JSON and base64, read strictly: one meaning per byte sequence, and one byte sequence per meaning."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from typing import Any, NoReturn

from signing.refusals import SignatureEncoding, SignatureFormat

JsonObject = dict[str, Any]
_AGAIN = "copy the file again from where it was made, in binary mode; if it is the same there, sign again"


def read_json_object(data: bytes, what: str) -> JsonObject:
    """A JSON object in UTF-8 without duplicate keys, NaN or excessive depth.

    Raises:
        SignatureFormat: the bytes are anything else; `what` names them in the message.
    """
    if not data:
        raise SignatureFormat(f"{what} is empty", evidence={"bytes": 0, "expected": "a JSON object"}, fix=_AGAIN)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
    except UnicodeDecodeError as exc:
        evidence = {"found": f"byte 0x{data[exc.start]:02x} at offset {exc.start}", "expected": "JSON in UTF-8"}
        raise SignatureFormat(f"{what} is not UTF-8 text", evidence=evidence, fix=_AGAIN) from exc
    except json.JSONDecodeError as exc:
        evidence = {"found": f"{exc.msg} at byte {exc.pos} of {len(data)}", "expected": "one complete JSON object"}
        cut = "cut off" if exc.pos >= len(data) - 1 or "Unterminated" in exc.msg else "not JSON"
        raise SignatureFormat(f"{what} is {cut}", evidence=evidence, fix=_AGAIN) from exc
    except (ValueError, RecursionError) as exc:
        evidence = {
            "found": str(exc) if isinstance(exc, ValueError) else "nested too deeply",
            "expected": "one plain JSON object",
        }
        raise SignatureFormat(f"{what} is JSON that nobody should write", evidence=evidence, fix=_AGAIN) from exc
    if not isinstance(value, dict):
        evidence = {"found": type(value).__name__, "expected": "object"}
        raise SignatureFormat(f"{what} is JSON but no object", evidence=evidence, fix=_AGAIN)
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError(f"the key {first_doubled(name for name, _ in pairs)!r} twice in one object")
    return found


def first_doubled(names: Iterable[str]) -> str | None:
    """The first name that comes a second time; one pass, since a stranger chooses how many there are."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"the number {name}")


def read_base64(text: str, what: str) -> bytes:
    """Base64 in the standard alphabet, or, as DSSE allows, the URL-safe one; padded, and no other spelling of the same bytes.

    Raises:
        SignatureEncoding: the text is anything else.
    """
    standard = text.replace("-", "+").replace("_", "/") if not set(text) & set("+/") else text
    try:
        data = base64.b64decode(standard.encode("ascii"), validate=True)
    except (binascii.Error, ValueError) as exc:
        evidence = {"found": f"{text[:40]!r} ({exc})", "expected": "padded base64"}
        raise SignatureEncoding(f"{what} is not base64", evidence=evidence, fix=_AGAIN) from exc
    if base64.b64encode(data).decode("ascii") != standard:
        evidence = {"found": f"...{text[-8:]!r}", "expected": f"...{base64.b64encode(data).decode('ascii')[-8:]!r}"}
        raise SignatureEncoding(f"{what} is base64 with stray bits or padding", evidence=evidence, fix=_AGAIN)
    return data


def member(found: JsonObject, key: str, kind: type, where: str) -> Any:
    """found[key], which must be there and of that type (a bool is no int).

    Raises:
        SignatureFormat: it is not.
    """
    value = found.get(key)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        evidence = {"found": type(value).__name__ if key in found else "nothing", "expected": kind.__name__}
        raise SignatureFormat(f"{where}: {key!r} is missing or of the wrong type", evidence=evidence, fix=_AGAIN)
    return value


def only_keys(found: JsonObject, known: set[str], where: str) -> None:
    """Refuses keys that the format does not have.

    Raises:
        SignatureFormat: there is one.
    """
    unknown = sorted(set(found) - known)
    if unknown:
        evidence = {"found": unknown[0], "expected": " ".join(sorted(known))}
        raise SignatureFormat(f"{where} has a key that OpenSSF Model Signing v1.0 does not know", evidence=evidence, fix=_AGAIN)

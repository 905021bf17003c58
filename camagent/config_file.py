"""camagent.toml, the overlay and the environment -> Config, or one sentence that says which key is wrong and what it may be."""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import socket
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from msgspec import inspect

from camagent.config import PATTERNS, Agent, Config, problem
from camagent.errors import ConfigError, printable
from camagent.redact import without_credentials

DEFAULT_PATH = Path("/etc/camagent/camagent.toml")
OVERLAY_NAME = "overlay.toml"
OVERLAY_KEYS = ("zone", "mask")  # of a camera; and of its filter:
OVERLAY_FILTER_KEYS = ("labels", "min_score")

Origin: TypeAlias = Literal["file", "overlay", "default"]


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it came from."""

    config: Config
    path: Path | None
    document: Mapping[str, Any]  # as written, overlay laid over, ${ENV} not expanded
    overlay: Mapping[str, Any]
    digest: str  # sha256 of what was read, so that "is the new file in force?" has an answer


def load(path: Path, overlay_bytes: bytes | None = None) -> Loaded:
    """Reads `path` and the overlay in its state_dir, or takes these bytes for it.

    Raises ConfigError naming key, value and what is allowed.
    """
    document, raw = _read_toml(path)
    base = parse(document, str(path))
    overlay_path = base.agent.state_dir / OVERLAY_NAME
    if overlay_bytes is not None:
        overlay, overlay_raw = _as_toml(overlay_path, overlay_bytes), overlay_bytes
    else:
        overlay, overlay_raw = _read_toml(overlay_path) if overlay_path.is_file() else ({}, b"")
    merged = _lay_over(document, overlay, overlay_path)
    digest = hashlib.sha256(raw + overlay_raw).hexdigest()
    return Loaded(parse(merged, str(path)), path, merged, overlay, digest)


def parse(document: Mapping[str, Any], where: str = "configuration") -> Config:
    """A TOML document -> Config with defaults filled in and ${ENV} expanded in URLs. Raises ConfigError."""
    unknown = next(_unknown_keys(document, inspect.type_info(Config), ""), None)
    if unknown:
        raise _unknown_key(where, *unknown)
    try:
        config = msgspec.convert(_expand(document), Config, dec_hook=_decode)
    except msgspec.ValidationError as exc:
        raise _wrong_value(where, document, str(exc)) from exc
    if not config.agent.id:
        config = msgspec.structs.replace(config, agent=msgspec.structs.replace(config.agent, id=default_id()))
    contradiction = problem(config)
    if contradiction:
        key, sentence = contradiction
        raise ConfigError(f"{where}: {key}: {sentence}", evidence={"key": key}, fix=f"change {key}")
    return config


def default_id(machine_id: Path = Path("/etc/machine-id")) -> str:
    """Host name, a dash and 6 hex digits of the machine id's hash: cloned images share their host names."""
    host = re.sub(r"[^A-Za-z0-9_-]", "-", socket.gethostname())[:41] or "camera"
    seed = machine_id.read_bytes() if machine_id.is_file() else host.encode()
    return f"{host}-{hashlib.sha256(b'camagent' + seed).hexdigest()[:6]}"


def origins(loaded: Loaded) -> Iterator[tuple[str, Any, Origin]]:
    """Every key with its value, secrets removed, and where the value comes from."""
    built = msgspec.to_builtins(loaded.config, enc_hook=str)
    overlay = _flat_overlay(loaded)
    for key, value in _flatten(built, ""):
        written = _lookup(loaded.document, key)
        origin: Origin = "default" if written is None else "overlay" if key.startswith(overlay) and overlay else "file"
        yield key, _shown(key, value if written is None else written), origin


def schema() -> dict[str, Any]:
    """JSON Schema of camagent.toml."""
    made = msgspec.json.schema(Config, schema_hook=_schema_of)
    for key in ("state_dir", "trust"):  # msgspec cannot write a Path as a default
        made["$defs"]["Agent"]["properties"][key]["default"] = str(getattr(Agent(), key))
    return made


def _read_toml(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        raw = path.read_bytes()
    except OSError as exc:
        raise ConfigError(
            f"the configuration {printable(path)} cannot be read: {exc.strerror}",
            evidence={"file": path},
            fix="name it with -c FILE, or write one: 'camagent config schema' lists every key",
        ) from exc
    return _as_toml(path, raw), raw


def _as_toml(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(raw.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{printable(path)} is not TOML: {exc}", evidence={"file": path}, fix="mend the line named") from exc


def _lay_over(document: Mapping[str, Any], overlay: Mapping[str, Any], where: Path) -> dict[str, Any]:
    """The overlay's cameras (by name) over the document's; an overlay for a camera that is gone says nothing."""
    changes = {entry.get("name"): entry for entry in overlay.get("camera", ()) if isinstance(entry, dict)}
    for name, entry in changes.items():
        foreign = sorted(set(entry) - {"name", "filter", *OVERLAY_KEYS})
        foreign += sorted(f"filter.{key}" for key in set(entry.get("filter", {})) - set(OVERLAY_FILTER_KEYS))
        if foreign:
            raise ConfigError(
                f"{where}: camera {name!r}: {foreign[0]!r} cannot be set in the overlay",
                evidence={"may be set": "zone, mask, filter.labels, filter.min_score"},
                fix="set it in camagent.toml",
            )
    cameras = []
    for camera in document.get("camera", ()):
        change = changes.get(camera.get("name"), {})
        made = {**camera, **{key: change[key] for key in OVERLAY_KEYS if key in change}}
        if "filter" in change:
            made["filter"] = {**camera.get("filter", {}), **change["filter"]}
        cameras.append(made)
    return {**document, "camera": cameras} if cameras else dict(document)


def _unknown_keys(value: Any, kind: Any, path: str) -> Iterator[tuple[str, str, list[str]]]:
    """(path, key, known names) of every key that the structs do not have."""
    if isinstance(kind, inspect.StructType) and isinstance(value, dict):
        fields = {field.encode_name: field.type for field in kind.fields}
        for key, inner in value.items():
            if key not in fields:
                yield path, key, sorted(fields)
            else:
                yield from _unknown_keys(inner, fields[key], f"{path}.{key}".lstrip("."))
    elif isinstance(kind, inspect.VarTupleType) and isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _unknown_keys(inner, kind.item_type, f"{path}[{index}]")


def _unknown_key(where: str, path: str, key: str, known: list[str]) -> ConfigError:
    near = difflib.get_close_matches(key, known, 1, 0.5)
    full = f"{path}.{key}".lstrip(".")
    hint = f"did you mean {near[0]!r}?" if near else f"known here: {', '.join(known)}"
    return ConfigError(
        f"{where}: unknown key {printable(full)!r}",
        evidence={"known": ", ".join(known)},
        fix=f"rename or remove the key; {hint}",
    )


def _wrong_value(where: str, document: Mapping[str, Any], message: str) -> ConfigError:
    expected, _, at = message.partition(" - at `$")
    key = at.rstrip("`").lstrip(".") or "the document"
    missing = re.search(r"missing required field `(\w+)`", expected)
    if missing:
        full = f"{key}.{missing[1]}"
        return ConfigError(f"{where}: {full} is missing", evidence={"key": full}, fix=f"add {missing[1]} = .. to {key}")
    value = _lookup(document, key)
    table = isinstance(value, dict) and "`array`" in expected
    name = re.sub(r"\[\d+\]", "", key)
    return ConfigError(
        f"{where}: {key} has a value that cannot be used",
        evidence={"key": key, "value": _shown(key, value), "allowed": _in_words(expected, _kind_at(key))},
        fix=f"write it as [[{name}]]: there may be several" if table else f"give {key} an allowed value",
    )


def _kind_at(key: str) -> Any:
    """The type that a key has, None where that is not known."""
    kind: Any = inspect.type_info(Config)
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", key):
        if part.startswith("["):
            kind = getattr(kind, "item_type", None)
        else:
            kind = next((field.type for field in getattr(kind, "fields", ()) if field.encode_name == part), None)
    return kind


def _in_words(expected: str, kind: Any) -> str:
    if isinstance(kind, inspect.LiteralType):
        return " | ".join(map(str, kind.values))
    if "matching regex" in expected and getattr(kind, "pattern", None) in PATTERNS:
        return PATTERNS[kind.pattern]
    words = {"`array`": "a list", "`object`": "a table", "Expected": "expected", "`": ""}
    for word, ours in words.items():
        expected = expected.replace(word, ours)
    return expected


def _lookup(document: Any, key: str) -> Any:
    value = document
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", key):
        try:
            value = value[int(part[1:-1])] if part.startswith("[") else value[part]
        except (KeyError, IndexError, TypeError):
            return None
    return value


def _flatten(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _flatten(inner, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple) and value and isinstance(value[0], dict):
        for index, inner in enumerate(value):
            yield from _flatten(inner, f"{path}[{index}]")
    else:
        yield path, value


def _flat_overlay(loaded: Loaded) -> tuple[str, ...]:
    changed = {entry["name"]: entry for entry in loaded.overlay.get("camera", ())}
    prefixes = []
    for index, camera in enumerate(loaded.config.camera):
        entry = changed.get(camera.name, {})
        prefixes += [f"camera[{index}].{key}" for key in OVERLAY_KEYS if key in entry]
        prefixes += [f"camera[{index}].filter.{key}" for key in entry.get("filter", {})]
    return tuple(prefixes)


def _shown(key: str, value: Any) -> Any:
    """A value as it may be printed. Files that hold secrets are named, never read; URLs lose their credentials."""
    if isinstance(value, str) and (key.endswith("url") or "://" in value):
        return without_credentials(value)
    if isinstance(value, list | tuple):
        return [_shown(key, inner) for inner in value]
    return value


def _expand(document: Mapping[str, Any]) -> dict[str, Any]:
    """${NAME} in camera and broker URLs and in the broker's user name."""
    made = {key: dict(value) if isinstance(value, dict) else value for key, value in document.items()}
    mqtt = made.get("mqtt")
    if isinstance(mqtt, dict):
        made["mqtt"] = {k: _expanded(f"mqtt.{k}", v) if k in ("url", "username") else v for k, v in mqtt.items()}
    cameras = made.get("camera")
    if isinstance(cameras, list):
        made["camera"] = [
            {k: _expanded(f"camera[{i}].url", v) if k == "url" else v for k, v in camera.items()}
            if isinstance(camera, dict)
            else camera
            for i, camera in enumerate(cameras)
        ]
    return made


def _expanded(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value

    def from_environment(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ConfigError(
                f"{key} uses ${{{name}}}, which the environment does not have",
                evidence={"key": key, "variable": name},
                fix=f"set {name}, for example with Environment= or EnvironmentFile= in the systemd unit",
            )
        return os.environ[name]

    return re.sub(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}", from_environment, value)


def _schema_of(kind: type) -> dict[str, Any]:
    if kind is Path:
        return {"type": "string", "description": "a file or folder"}
    raise NotImplementedError(kind)


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise TypeError(f"cannot make {kind} of {value!r}")

"""`camagent.selftest/1` as types: what Report.body() gives, and over MQTT besides `time` and `agent`. docs/schemas has it."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from camagent.bodies import schema_of
from camagent.commands import CommandAnswer
from camagent.selftest.report import MOST_IN_A_SET, SCHEMA, Layer, Status, Verdict

Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=0)]
Seconds = Annotated[float, Meta(ge=0)]


class CauseBody(msgspec.Struct, frozen=True, kw_only=True):
    """Why nothing is seen. `id` and `alternatives` are ids of docs/self-test.md that these measurements cannot tell apart."""

    id: str
    layer: Layer
    alternatives: Annotated[tuple[str, ...], Meta(max_length=MOST_IN_A_SET - 1)]
    evidence: dict[str, Any]
    fix: str
    fix_verified: bool | None  # null: it could not be tried
    send: tuple[str, ...]  # what to ask for, where the device cannot decide


class StepBody(msgspec.Struct, frozen=True, kw_only=True):
    """One rung of the ladder."""

    id: str
    status: Status
    measured: dict[str, Any]
    seconds: Seconds


class VariantBody(msgspec.Struct, frozen=True, kw_only=True):
    """One assumption changed. `margin`: how well the known answer came back, 1 is wholly; null where that is no number."""

    axis: str
    cause: str
    margin: float | None
    detail: str


class TensorBody(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor; min, max, mean and std of its finite values, null where it has none."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    min: float | None
    max: float | None
    mean: float | None
    std: float | None
    unique: Count
    zeros: Share | None  # share of the values that are exactly 0
    nan: Count
    inf: Count


class SelftestBody(msgspec.Struct, frozen=True, kw_only=True):
    """A whole self-test, without its pictures."""

    schema: str
    verdict: Verdict
    causes: tuple[CauseBody, ...]  # upstream first
    steps: tuple[StepBody, ...]
    inferences: Count
    seconds: Seconds
    subject: dict[str, Any]  # bundle, version, camera, versions of software
    variants: tuple[VariantBody, ...]
    tensors: tuple[TensorBody, ...]
    time: float | UnsetType = UNSET  # seconds since 1970, UTC
    agent: str | UnsetType = UNSET
    id: str | UnsetType = UNSET  # of the command that asked for it
    command: CommandAnswer | UnsetType = UNSET  # the answer to the newest `cmd/selftest`, which may be a later one


def schema() -> dict[str, Any]:
    """Its JSON Schema."""
    return schema_of(SCHEMA, SelftestBody)

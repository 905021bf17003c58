"""What `model profile` has found out, as every way of showing it takes it: terminal, page, JSON, trace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from camagent.errors import printable
from camagent.profiling.blocks import title
from camagent.profiling.findings import Finding, passes
from camagent.profiling.summary import Operator, Profile, Row

_NAME = 120  # characters of an operator's name
_HEADLINE = 3


@dataclass(frozen=True, slots=True)
class Report:
    """`facts`: how it was measured, in words, by what they are about."""

    subject: str  # the model's or the file's name
    facts: Mapping[str, str]
    profile: Profile
    findings: tuple[Finding, ...]

    def headline(self) -> str:
        """The one sentence: what an inference takes, and what of it most."""
        most = ", ".join(f"{row.name} {row.share:.0%}" for row in self.profile.by_kind()[:_HEADLINE])
        per = "per inference" if self.profile.runs else "in all"
        took = self.profile.median if self.profile.median is not None else self.profile.total
        return f"{shown(took)} {per}: {most}"

    def command(self) -> str:
        """How to apply what is advised; empty where no rewrite is."""
        named = ",".join(passes(self.findings))
        return f"camagent model optimize IN.onnx -o OUT.onnx --passes {named}" if named else ""

    def body(self) -> dict[str, Any]:
        """`camagent.profile/1`; milliseconds, shares 0..1, all strings printable."""
        profile = self.profile
        recording = profile.recording
        return {
            "schema": "camagent.profile/1", "subject": printable(self.subject), "facts": dict(self.facts),
            "source": {"tool": recording.tool, "form": recording.form, "skipped_lines": recording.skipped},
            "runs": profile.runs, "left_out": recording.left_out,
            "median_ms": None if profile.median is None else _ms(profile.median), "operators_ms": _ms(profile.total),
            "kinds": [_row(row) for row in profile.by_kind()],
            "blocks": [_row(row, title(path)) for path, row in profile.by_block()],
            "operators": [_operator(one, profile) for one in profile.operators],
            "advice": [_finding(one) for one in self.findings], "passes": list(passes(self.findings)),
            "optimize": self.command() or None,
        }  # fmt: skip


def shown(us: float) -> str:
    """Microseconds as people read them."""
    if us >= 1e6:
        return f"{us / 1e6:.2f} s"
    return f"{us / 1e3:.1f} ms" if us >= 1e4 else f"{us / 1e3:.2f} ms" if us >= 100 else f"{us:.0f} µs"


def named(one: Operator) -> str:
    """An operator's name as it may be shown, its type where it has none."""
    return printable(one.label, _NAME)


def _ms(us: float) -> float:
    return round(us / 1e3, 4)


def _row(row: Row, name: str | None = None) -> dict[str, Any]:
    types = [printable(one, 64) for one in row.types]
    shown_as = printable(row.name if name is None else name, _NAME)
    return {"name": shown_as, "ms": _ms(row.us), "share": round(row.share, 4), "calls": row.calls, "types": types}


def _operator(one: Operator, profile: Profile) -> dict[str, Any]:
    return {
        "name": named(one), "type": printable(one.type, 64), "kind": one.kind,
        "block": printable(title(one.block), _NAME), "ms": _ms(one.us), "low_ms": _ms(one.low), "high_ms": _ms(one.high),
        "share": round(profile.share(one.us), 4), "calls": one.calls, "place": printable(one.place, 64),
        "shape": list(one.shape),
    }  # fmt: skip


def _finding(one: Finding) -> dict[str, Any]:
    return {
        "id": one.advice.id, "share": round(one.share, 4), "ms": _ms(one.us), "says": one.advice.says,
        "types": [printable(kind, 64) for kind in one.types], "about": [printable(name, _NAME) for name in one.about],
        "passes": list(one.advice.passes),
    }  # fmt: skip

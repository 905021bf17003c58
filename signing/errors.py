"""The root of every error in this distribution, and the one function that makes foreign text safe to print.

CodedError
+-- signing, firmware_pkg: refusals of a bundle or of a trust root
+-- camagent.errors: configuration, sources, backends, heads, delivery
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar

PRINTABLE_LIMIT = 200


class CodedError(Exception):
    """A failure that an operator can act on.

    `code` never changes its meaning, `evidence` shows both sides of the difference, `fix` is the next step.
    """

    code: ClassVar[str] = "INTERNAL"

    def __init__(self, what: str, *, fix: str, evidence: Mapping[str, object] = MappingProxyType({})) -> None:
        super().__init__(what)
        self.fix = fix
        self.evidence: Mapping[str, str] = MappingProxyType({key: str(value) for key, value in evidence.items()})

    @property
    def what(self) -> str:
        """The sentence that says what happened."""
        return str(self.args[0])

    def report(self) -> dict[str, object]:
        """The error as it goes into JSON: `{"code", "what", "evidence", "fix"}`, every string printable."""
        evidence = {printable(key): printable(value) for key, value in self.evidence.items()}
        return {"code": self.code, "what": printable(self.what, 1000), "evidence": evidence, "fix": printable(self.fix, 1000)}

    def render(self) -> str:
        """The error as it goes to a terminal: one line, then indented evidence and fix."""
        lines = [f"error[{self.code}]: {printable(self.what, 1000)}"]
        if self.evidence:
            lines.append(
                "  evidence: " + ", ".join(f"{printable(key)} = {printable(value)}" for key, value in self.evidence.items())
            )
        lines.append(f"  fix: {printable(self.fix, 1000)}")
        return "\n".join(lines)


def printable(text: object, limit: int = PRINTABLE_LIMIT) -> str:
    """Foreign text (a broker's, a model's, a file name) made safe for terminal, log and audit.

    Control, format and bidirectional characters, and blanks other than the space, become escapes; what is longer than `limit`
    is cut with an ellipsis.
    """
    raw = str(text)
    kept = raw if raw.isascii() and raw.isprintable() else "".join(map(_escape, raw[: limit + 1]))
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"


def _escape(char: str) -> str:
    return char if char.isprintable() else char.encode("unicode_escape").decode("ascii")

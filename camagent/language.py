"""The language in which people are answered: English, or Chinese from one catalogue, `languages/zh_CN.toml`, keyed by code.

Only what is written for people follows it: an error on a terminal, a bundle's checklist, the self-test's report and its page.
Codes, evidence, JSON, messages, logs, audit and exit codes are the same in every language.

English stands where it is said. A Chinese answer says in general what a code means and what to do, and keeps the English
sentence with its particulars below. So nothing is translated by guessing at sentences, and what is not in the catalogue, such
as a code of a newer camera, is told in English.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, Protocol, TypeAlias

import msgspec

from camagent.errors import CodedError, printable

OWN = "CAMAGENT_LANG"
# the first that is set decides, as POSIX has it for messages
VARIABLES = (OWN, "LC_ALL", "LC_MESSAGES", "LANG")
# in simplified characters; who reads traditional ones is answered in English
_CHINESE = frozenset({"zh", "zh_cn", "zh_sg", "zh_my", "zh_hans", "zh_hans_cn", "zh_hans_sg", "zh_hans_my"})
_SAMPLE = "中文，。：；（）、“”……"  # what an encoding must have; the catalogue needs no more than GB 2312

Names: TypeAlias = Literal["rungs", "steps", "layers", "states"]


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A code in words: what it means, what to do, and what to send where this device cannot decide."""

    means: str
    fix: str
    ask: str = ""


class Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The file. `reasons` holds those of health that are no causes of the self-test."""

    language: str
    errors: dict[str, Entry]
    causes: dict[str, Entry]
    reasons: dict[str, Entry]
    rungs: dict[str, str]
    steps: dict[str, str]
    layers: dict[str, str]
    states: dict[str, str]
    sentences: dict[str, str]
    phrases: dict[str, str]


class Written(Protocol):
    """A text stream, as far as it says how it writes characters."""

    @property
    def encoding(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Tongue:
    """One language. Without a catalogue it is English, and everything is said as it stands in the code."""

    catalogue: Catalogue | None = None

    @property
    def tag(self) -> str:
        """As HTML's `lang` has it."""
        return self.catalogue.language if self.catalogue else "en"

    def say(self, english: str, **values: object) -> str:
        """A sentence of our own; `values` stand for its `{names}`."""
        return (self.catalogue.phrases.get(english, english) if self.catalogue else english).format(**values)

    def sentence(self, text: str) -> str:
        """What is said elsewhere in a fixed sentence; any other text as it is."""
        return self.catalogue.sentences.get(text, text) if self.catalogue else text

    def name(self, kind: Names, key: str, english: str) -> str:
        """What a rung, a step, a layer or a state is called."""
        return getattr(self.catalogue, kind).get(key, english) if self.catalogue else english

    def listed(self, items: Iterable[str]) -> str:
        """`a, b, c`."""
        return ("、" if self.catalogue else ", ").join(items)

    def cause(self, cause: str) -> Entry | None:
        """A cause of the self-test in words; None in English, whose words stand in `selftest`."""
        return self.catalogue.causes.get(cause) if self.catalogue else None

    def reason(self, reason: str) -> Entry | None:
        """A reason of health in words; many are causes of the self-test."""
        return (self.catalogue.reasons.get(reason) or self.cause(reason)) if self.catalogue else None

    def code(self, code: str) -> Entry | None:
        """A code in words. A backend's and a source's is a cause of the self-test, in capitals."""
        return (self.catalogue.errors.get(code) or self.cause(code.lower().replace("_", "-"))) if self.catalogue else None

    def because(self, reason: str, detail: str) -> str:
        """Why a camera sees nothing, within one line; both are printable already."""
        known = self.reason(reason)
        return f"{reason}: {detail}" if known is None else f"{reason}（{known.means.rstrip('。')}）：{detail}"

    def error(self, exc: CodedError) -> str:
        """An error for a terminal: as `CodedError.render` has it, below what its code means in general."""
        return self._with_original(f"error[{exc.code}]: ", exc.code, exc.render())

    def warning(self, code: str, what: str, fix: str = "") -> str:
        """The same for a warning."""
        lines = [f"warning[{code}]: {printable(what, 1000)}"] + ([f"  fix: {printable(fix, 1000)}"] if fix else [])
        return self._with_original(f"warning[{code}]: ", code, "\n".join(lines))

    def refused(self, code: str, what: str) -> str:
        """A refusal within one line of a checklist; both are printable already."""
        known = self.code(code)
        return f"{code}: {what}" if known is None else f"{code}：{known.means}（{what}）"

    def _with_original(self, head: str, code: str, english: str) -> str:
        known = self.code(code)
        if known is None:
            return english
        fix, original = self.say("fix"), self.say("original")
        return f"{head}{known.means}\n  {fix}：{known.fix}\n  {original}：{english.removeprefix(head)}"


ENGLISH = Tongue()


def of(stream: Written | None, environ: Mapping[str, str] = os.environ) -> Tongue:
    """The language for what is written to `stream`: English where its encoding has no Chinese, and in systemd's journal."""
    wanted = chosen(environ)
    if wanted is ENGLISH or stream is None or not _can_write(stream.encoding or "ascii"):
        return ENGLISH
    return ENGLISH if _is_journal(stream, environ.get("JOURNAL_STREAM", "")) else wanted


def chosen(environ: Mapping[str, str] = os.environ) -> Tongue:
    """The language that the environment asks for, whether or not the locale is installed: cameras have none but C."""
    asked = next((environ[name] for name in VARIABLES if environ.get(name)), "")
    plain = re.split(r"[.@]", asked, maxsplit=1)[0].replace("-", "_").lower()
    return chinese() if plain in _CHINESE else ENGLISH


@cache
def chinese() -> Tongue:
    """Simplified Chinese."""
    text = (files("camagent") / "languages" / "zh_CN.toml").read_text("utf-8")
    return Tongue(msgspec.convert(tomllib.loads(text), Catalogue))


def _is_journal(stream: Written, journal: str) -> bool:
    """`journal`: device and inode, as systemd tells a service where its log goes; its language is that of the whole system."""
    if not journal:
        return False
    written: Any = getattr(stream, "file", stream)  # a rich console has its stream there
    try:
        file = os.fstat(written.fileno())
    except (AttributeError, OSError, ValueError):  # no file of the system's
        return False
    return journal == f"{file.st_dev}:{file.st_ino}"


def _can_write(encoding: str) -> bool:
    try:
        _SAMPLE.encode(encoding)
    except (UnicodeEncodeError, LookupError):  # LookupError: an encoding that Python does not know
        return False
    return True


__all__ = ["ENGLISH", "OWN", "VARIABLES", "Catalogue", "Entry", "Tongue", "chinese", "chosen", "of"]

"""What a code means, in the language of whose page asks: what the agent itself says of a case is English."""

from __future__ import annotations

import re

from camagent.language import ENGLISH, Tongue, chinese

_CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")


def tongue_of(tag: str) -> Tongue:
    """The language of that tag; English where there is none."""
    return next((known for known in (chinese(),) if known.tag == tag), ENGLISH)


def words_of(code: str, tag: str) -> dict[str, str]:
    """`means`, and `fix` where the English sentence does not say it already; nothing for a code without words."""
    from camagent.selftest.meanings import MEANINGS  # noqa: PLC0415  for those who read a report

    tongue = tongue_of(tag)
    known = (tongue.code(code) or tongue.reason(code)) if _CODE.fullmatch(code) else None
    if known is not None:
        return {"means": known.means, "fix": known.fix}
    return {"means": MEANINGS[code]} if code in MEANINGS else {}


__all__ = ["tongue_of", "words_of"]

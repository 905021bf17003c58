"""HTML and SVG as trees of the standard library. Text goes into a tree as text, so no string can ever become markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import TypeAlias

from camagent.errors import printable

Node: TypeAlias = "ET.Element | str | None"
_LONGEST_TEXT = 4000
_DOCTYPE = "<!DOCTYPE html>\n"


def tag(name: str, /, *children: Node | Iterable[Node], **attributes: str | float) -> ET.Element:
    """An element. Strings become text, made printable; None is left out. `class_` is class, `stroke_width` stroke-width."""
    element = ET.Element(name, {_attribute(key): printable(value, _LONGEST_TEXT) for key, value in attributes.items()})
    for child in children:
        for node in [child] if child is None or isinstance(child, str | ET.Element) else child:
            _append(element, node)
    return element


def image(mime: str, base64: str, alt: str) -> ET.Element:
    """A picture that lies in the page itself."""
    element = tag("img", alt=alt)
    element.set("src", f"data:{mime};base64,{base64}")
    return element


def style(css: str) -> ET.Element:
    """A style sheet. Ours alone: it is the one text that is written as it is."""
    element = ET.Element("style")
    element.text = css
    return element


def document(root: ET.Element) -> str:
    """The whole page as a string."""
    return _DOCTYPE + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _append(element: ET.Element, node: Node) -> None:
    if isinstance(node, ET.Element):
        element.append(node)
    elif node is not None:
        text = printable(node, _LONGEST_TEXT)
        if len(element):
            element[-1].tail = (element[-1].tail or "") + text
        else:
            element.text = (element.text or "") + text


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")

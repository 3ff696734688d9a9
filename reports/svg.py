"""A drawn chart made safe and themable for embedding: known elements and attributes only.

The renderer writes names of routes into text and labels, correctly escaped as of today. We parse
what it wrote and rebuild it from a list of what a chart needs, so that nothing else can pass.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

_ELEMENTS = frozenset(
    {"svg", "g", "path", "line", "rect", "circle", "text", "tspan", "defs", "clipPath"}
)
_PLACE = "d x y x1 x2 y1 y2 dx dy r cx cy width height viewBox transform id clip-path"
_PAINT = """fill fill-opacity stroke stroke-width stroke-opacity stroke-dasharray stroke-linecap
stroke-linejoin stroke-miterlimit opacity text-anchor font-size font-weight"""
_ATTRIBUTES = frozenset(f"{_PLACE} {_PAINT}".split())
_INVISIBLE = frozenset({"M0,0h0v0h0Z", ""})
_LOCAL_CLIP = re.compile(r"url\(#(\w+)\)")
_NUMBER = re.compile(r"-?\d+\.\d{3,}")


class NotAChart(ValueError):
    """The text is not an SVG document."""


def sanitised(text: str, *, prefix: str, label: str) -> str:
    """``text`` as one ``<svg role="img">`` element called ``label``; ids start with ``prefix``."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise NotAChart(str(error)) from None
    if _tag(root) != "svg":
        raise NotAChart(f"the outermost element is {_tag(root)}")
    out: list[str] = []
    _write(root, prefix, out, f' role="img" aria-label={quoteattr(label)}')
    return "".join(out)


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _write(element: ElementTree.Element, prefix: str, out: list[str], extra: str = "") -> None:
    tag = _tag(element)
    if tag not in _ELEMENTS or (tag == "path" and element.get("d", "") in _INVISIBLE):
        return
    out.append(f"<{tag}{extra}")
    for name, value in element.attrib.items():
        kept = _attribute(name, value, prefix)
        if kept is not None:
            out.append(f" {name}={quoteattr(kept)}")
    inner: list[str] = [escape(element.text or "")] if tag in ("text", "tspan") else []
    for child in element:
        _write(child, prefix, inner)
    out.extend([">", *inner, f"</{tag}>"] if any(inner) else ["/>"])


def _attribute(name: str, value: str, prefix: str) -> str | None:
    if name not in _ATTRIBUTES:
        return None
    if name == "id":
        return f"{prefix}-{value}" if value.isidentifier() else None
    if "url(" in value.lower():
        match = _LOCAL_CLIP.fullmatch(value)
        return f"url(#{prefix}-{match[1]})" if match and name == "clip-path" else None
    if name in ("d", "transform"):  # a hundredth of a pixel is enough
        return _NUMBER.sub(lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), value)
    return value

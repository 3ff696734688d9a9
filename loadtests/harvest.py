"""The application's other paths, taken from an answer: links, and values of identifiers.

Pure functions over the bytes of a body. The input is hostile: all that is believed is that a path
is a path of this application, and the caller tries it before use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import islice
from typing import Any
from urllib.parse import urljoin, urlsplit
from xml.sax.saxutils import unescape

# attribute -> the tags on which it is a link that a browser or htmx would GET
_LINKS = {"href": {"a", "area"}, "src": {"iframe", "frame", "img"}, "hx-get": None}
_MAX_LINKS = 1000  # of one page
_MAX_HTML = 1_000_000  # bytes of a page that are read for links
_MAX_VALUES = 200
_MAX_DEPTH = 12


@dataclass
class Harvest:
    """``links`` are paths with their query; ``values[key]`` are JSON values found under a key."""

    links: list[str] = field(default_factory=list)
    values: dict[str, list[str]] = field(default_factory=dict)


def harvest(body: bytes, content_type: str, path: str, hosts: frozenset[str]) -> Harvest:
    """Links and values of one body, that came from ``path``. ``hosts``: the application's names."""
    kind = content_type.partition(";")[0].strip().lower()
    found = Harvest()
    if kind in ("text/html", "application/xhtml+xml"):
        parser = _Links()
        parser.feed(body[:_MAX_HTML].decode("utf-8", "replace"))
        texts = parser.found
    elif kind == "application/json" or kind.endswith("+json"):
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            return found
        texts = []
        for key, value in _walk(document, "", 0):
            text = str(value)
            if isinstance(value, str) and ("://" in text or text.startswith("/")):
                texts.append(text)
            values = found.values.setdefault(key, [])
            if len(values) < _MAX_VALUES and text not in values:
                values.append(text)
    else:
        return found
    links = (local_path(text, path, hosts) for text in islice(dict.fromkeys(texts), _MAX_LINKS))
    found.links = list(dict.fromkeys(link for link in links if link is not None))
    return found


# Not an XML parser: what a document type declares is never expanded.
_LOCATION = re.compile(rb"<loc>\s*([^<>]{1,2000}?)\s*</loc>")


def sitemap_paths(body: bytes) -> tuple[list[str], list[str]]:
    """Paths of pages, and of further sitemaps, that a sitemap names.

    The host is not compared: a sitemap may only name its own, and says it as the public knows it.
    """
    paths = []
    for match in islice(_LOCATION.finditer(body), _MAX_LINKS):
        link = unescape(match[1].decode("utf-8", "replace"), {"&quot;": '"', "&apos;": "'"})
        try:
            parts = urlsplit(link)
        except ValueError:
            continue
        if parts.scheme in ("http", "https"):
            paths.append((parts.path or "/") + (f"?{parts.query}" if parts.query else ""))
    paths = list(dict.fromkeys(paths))
    return ([], paths) if b"<sitemapindex" in body[:2000] else (paths, [])


def local_path(link: str, path: str, hosts: frozenset[str]) -> str | None:
    """A link as a path of this application, with its query; None when it leads elsewhere."""
    try:
        parts = urlsplit(urljoin(f"http://here{path}", link.strip()))
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not (
        parts.netloc == "here" or parts.netloc.lower() in hosts
    ):
        return None
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _walk(document: Any, key: str, depth: int) -> Iterator[tuple[str, Any]]:
    if depth > _MAX_DEPTH:
        return
    if isinstance(document, dict):
        for name, value in document.items():
            yield from _walk(value, str(name), depth + 1)
    elif isinstance(document, list):
        for value in document:
            yield from _walk(value, key, depth + 1)
    elif isinstance(document, str | int) and not isinstance(document, bool):
        yield key, document


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if value and name in _LINKS:
                tags = _LINKS[name]
                if tags is None or tag in tags:
                    self.found.append(value)

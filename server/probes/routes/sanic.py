"""Routes of Sanic."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pretune.server.probes.routes.route import (
    SEGMENT,
    Place,
    Route,
    expression_of,
    make_route,
    parse,
)

_MARK = re.compile(r"<(?P<name>\w+)(?::(?P<converter>[^>]*))?>")
_NAMED = ("str", "int", "float", "uuid", "path", "slug", "ymd", "alpha", "ext", "strorempty")


def read(app: Any, place: Place) -> Iterator[Route]:
    """All routes of HTTP, those of blueprints among them."""
    for item in app.router.routes:
        text = "/" + str(item.path).lstrip("/")
        if not item.methods or getattr(item.extra, "websocket", False):
            continue
        template, regex, params = parse(text, _MARK, _describe)
        static = getattr(item.extra, "static", False) or "__file_uri__" in text
        kind = "static" if static else "app"
        part = place.below(text, template, regex, params)
        yield make_route(part, item.methods, item.name, kind)


def _describe(match: re.Match[str]) -> tuple[str, str, str]:
    converter = (match["converter"] or "str").partition("=")[0]
    if converter not in _NAMED:  # an expression of the user's
        return match["name"], "str", SEGMENT
    return match["name"], converter, expression_of(converter)

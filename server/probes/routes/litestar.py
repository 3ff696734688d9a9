"""Routes of Litestar."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pretune.server.probes.routes.route import (
    Place,
    Route,
    everything_below,
    expression_of,
    make_route,
    parse,
)

_MARK = re.compile(r"{(?P<name>\w+)(?::(?P<converter>\w+))?}")
_KINDS = (
    ("litestar._openapi", "docs"),
    ("litestar.openapi", "docs"),
    ("litestar.static_files", "static"),
)
_OPTIONS = "litestar.routes"  # whose handler answers OPTIONS for each route


def read(app: Any, place: Place) -> Iterator[Route]:
    """All routes of HTTP; a mounted ASGI application answers all that is below it."""
    for item in app.routes:
        handlers = getattr(item, "route_handlers", None) or [getattr(item, "route_handler", None)]
        modules = [_module(handler) for handler in handlers]
        modules = [module for module in modules if not module.startswith(_OPTIONS)]
        kind = next((k for start, k in _KINDS if modules and modules[0].startswith(start)), "app")
        text = str(item.path)
        if type(item).__name__ == "ASGIRoute":
            kind = "unlisted" if kind == "app" else kind
            yield everything_below(place.at(text.rstrip("/")), kind)
        elif hasattr(item, "methods") and type(item).__name__ == "HTTPRoute":
            template, regex, params = parse(text, _MARK, _describe)
            part = place.below(text, template, regex, params)
            yield make_route(part, item.methods, None, kind)


def _describe(match: re.Match[str]) -> tuple[str, str, str]:
    converter = match["converter"] or "str"
    return match["name"], converter, expression_of(converter)


def _module(handler: Any) -> str:
    function = getattr(handler, "fn", None)
    function = getattr(function, "value", function)  # as older versions keep it
    return str(getattr(function, "__module__", None) or type(function).__module__)

"""Routes of Pyramid, with the methods of their views."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pretune.server.probes.routes.route import (
    SEGMENT,
    Place,
    Route,
    everything_below,
    make_route,
    parse,
)

# {id}, {id:[0-9]{4}}, or the rest of the path: *rest
_MARK = re.compile(
    r"{(?P<name>\w+)(?::(?P<expression>(?:[^{}]|{[^{}]*})*))?}|(?P<star>\*)(?P<rest>\w+)$"
)


def read(app: Any, place: Place) -> Iterator[Route]:
    """All routes; views without a route are found by traversal, which has no list."""
    registry = app.registry
    mapper = registry.queryUtility(import_module("pyramid.interfaces").IRoutesMapper)
    views = [each["introspectable"] for each in registry.introspector.get_category("views") or ()]
    for item in mapper.get_routes() if mapper is not None else ():
        own = [view for view in views if view["route_name"] == item.name]
        text = "/" + item.pattern.lstrip("/")
        template, regex, params = parse(text, _MARK, _describe)
        part = place.below(text, template, regex, params)
        yield make_route(part, _methods(own), item.name, _kind(item.name, own))
    if any(view["route_name"] is None and not _is_for_errors(view["context"]) for view in views):
        yield everything_below(place, "unlisted")


def _describe(match: re.Match[str]) -> tuple[str, str, str]:
    if match["star"]:
        return match["rest"], "path", ".*"
    expression = match["expression"]
    number = expression in (r"\d+", "[0-9]+")
    return match["name"], "int" if number else "str", expression or SEGMENT


def _methods(views: list[Any]) -> set[str] | None:
    methods: set[str] = set()
    for view in views:
        named = view["request_methods"]
        if not named:
            return None
        methods |= {named} if isinstance(named, str) else set(named)
    return methods or None


def _kind(name: str, views: list[Any]) -> str:
    if any(type(view["callable"]).__name__ == "static_view" for view in views):
        return "static"
    return "debug" if name.startswith("debugtoolbar") else "app"


def _is_for_errors(context: Any) -> bool:
    """True of a view that answers an exception; it is no page."""
    if isinstance(context, type):
        return issubclass(context, BaseException)
    return str(getattr(context, "__name__", "")) in ("IExceptionResponse", "IException")

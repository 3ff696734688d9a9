"""Routes of Falcon, WSGI and ASGI: the router's tree, static routes and sinks."""

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

_MARK = re.compile(r"{(?P<name>\w+)(?::(?P<converter>\w+)(?:\([^)]*\))?)?}")


def read(app: Any, place: Place) -> Iterator[Route]:
    """The responders of all resources; a sink answers all that is below its prefix."""
    pending = list(getattr(app._router, "_roots", ()))
    while pending:
        node = pending.pop(0)
        pending[:0] = node.children
        if node.method_map:
            text = node.uri_template
            template, regex, params = parse(text, _MARK, _describe)
            part = place.below(text, template, regex, params)
            yield make_route(part, _methods(node.method_map), None)
    for each in getattr(app, "_static_routes", ()):
        static = each[0] if isinstance(each, tuple) else each
        yield everything_below(place.at(static._prefix.rstrip("/")), "static")
    for expression, *_ in getattr(app, "_sinks", ()):
        literal = re.match(r"[\w/.\-]*", expression.pattern)
        prefix = literal[0].rstrip("/") if literal else ""
        yield everything_below(place.at(prefix), "unlisted")


def _describe(match: re.Match[str]) -> tuple[str, str, str]:
    converter = match["converter"] or "str"
    return match["name"], converter, expression_of(converter)


def _methods(responders: Any) -> set[str]:
    """Methods with a responder of the resource; the others are answered by Falcon itself."""
    return {
        method
        for method, responder in responders.items()
        if getattr(responder, "__module__", "") != "falcon.responders"
    }

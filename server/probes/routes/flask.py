"""Rules of Flask and Quart."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from pretune.server.probes.routes.route import (
    SEGMENT,
    Place,
    Route,
    converter_name,
    make_route,
    parse,
)

_MARK = re.compile(r"<(?:(?P<converter>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")
# Endpoints that tools add to an application, by the beginning of their name.
_DEBUG = ("debugtoolbar", "_debug_toolbar", "/_reload-hash", "/_alive")
_STATIC = ("/_dash-component-suites", "/_favicon.ico", "_dash_assets")


def read(app: Any, place: Place) -> Iterator[Route]:
    """The rules of the URL map, those of blueprints among them."""
    for rule in app.url_map.iter_rules():
        if getattr(rule, "build_only", False) or getattr(rule, "websocket", False):
            continue
        converters = getattr(rule, "_converters", {})

        def describe(match: re.Match[str], known: Any = converters) -> tuple[str, str, str]:
            converter = known.get(match["name"])
            expression = getattr(converter, "regex", SEGMENT)
            kind = converter_name(converter) if converter is not None else "str"
            return match["name"], kind, expression

        template, regex, params = parse(rule.rule, _MARK, describe)
        yield make_route(
            place.below(rule.rule, template, regex, params),
            rule.methods or None,
            rule.endpoint,
            _kind(rule.endpoint),
            rule.host if app.url_map.host_matching else rule.subdomain,
        )


def _kind(endpoint: str) -> str:
    if endpoint == "static" or endpoint.endswith(".static") or endpoint.startswith(_STATIC):
        return "static"
    return "debug" if endpoint.startswith(_DEBUG) else "app"

"""Resources of aiohttp, where something serves it as WSGI or ASGI."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pretune.server.probes.routes.route import Place, Route, everything_below, make_route

_NUMBER = re.compile(r"\(\?P<(\w+)>(?:\\d|\[0-9\])[+*{)]")
_REST = re.compile(r"\(\?P<(\w+)>\.[+*]\)")


def read(
    app: Any, place: Place, mounted: Callable[[Any, Place], Iterable[Route]]
) -> Iterator[Route]:
    """All resources; those of a nested application have its prefix already."""
    for resource in app.router.resources():
        info = resource.get_info()
        if "app" in info:
            yield from mounted(info["app"], place)
        elif "directory" in info:
            yield everything_below(place.at(str(info["prefix"]).rstrip("/")), "static")
        else:
            text = str(resource.canonical)
            pattern = info["pattern"].pattern if "pattern" in info else re.escape(text)
            methods = {str(route.method) for route in resource}
            yield make_route(
                place.below(text, text, pattern, _params(info.get("pattern"))),
                None if "*" in methods or not methods else methods,
                resource.name,
            )


def _params(pattern: re.Pattern[str] | None) -> list[dict[str, str]]:
    if pattern is None:
        return []
    kinds = {
        **dict.fromkeys(_REST.findall(pattern.pattern), "path"),
        **dict.fromkeys(_NUMBER.findall(pattern.pattern), "int"),
    }
    return [{"name": name, "converter": kinds.get(name, "str")} for name in pattern.groupindex]

"""Routes of Starlette and FastAPI: routers, mounts, hosts, and what is mounted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pretune.server.probes.routes.route import (
    EXPRESSIONS,
    SEGMENT,
    Params,
    Place,
    Route,
    converter_name,
    everything_below,
    make_route,
    parse,
)

_MARK = re.compile(r"{(?P<name>\w+)(?::\w+)?}")
_DOCS = ("docs_url", "redoc_url", "openapi_url", "swagger_ui_oauth2_redirect_url")


def read(
    app: Any, place: Place, mounted: Callable[[Any, Place], Iterable[Route]]
) -> Iterator[Route]:
    """All routes; ``mounted`` reads an application of any framework that is mounted here."""
    docs = {getattr(app, name, None) for name in _DOCS}
    yield from _routes(app.routes, place, docs, None, mounted)


def _routes(
    routes: Any,
    place: Place,
    docs: set[Any],
    host: str | None,
    mounted: Callable[[Any, Place], Iterable[Route]],
) -> Iterator[Route]:
    for item in routes:
        text = getattr(item, "path", None)
        if text is None:
            # A group without a path of its own: Host, or a router that FastAPI included.
            included = getattr(item, "effective_route_contexts", None)
            if included is not None:
                inner: Any = [getattr(each, "starlette_route", None) or each for each in included()]
            else:
                inner = getattr(item, "routes", None) or ()
            yield from _routes(inner, place, docs, getattr(item, "host", host), mounted)
            continue
        mount = not hasattr(item, "methods") and hasattr(item, "app") and hasattr(item, "routes")
        text = text.rstrip("/") if mount else text
        template, regex, params = _parse(text, item)
        part = place.below(text, template, regex, params)
        if mount:
            yield from _mount(item, part, host, mounted)
        elif hasattr(item, "methods"):  # else a websocket
            is_docs = text in docs and not getattr(item, "include_in_schema", True)
            yield make_route(
                part,
                item.methods or None,
                getattr(item, "name", None),
                "docs" if is_docs else "app",
                host,
                _required(item, "query_params"),
                _required(item, "header_params"),
            )


def _mount(
    item: Any,
    place: Place,
    host: str | None,
    mounted: Callable[[Any, Place], Iterable[Route]],
) -> Iterator[Route]:
    if _is_static(item.app):
        yield everything_below(place, "static", host)
    else:
        for route in mounted(item.app, place):
            yield {**route, "host": route["host"] or host}


def _is_static(app: Any) -> bool:
    for _ in range(5):  # middleware of the mount around it
        if any(kind.__name__ == "StaticFiles" for kind in type(app).__mro__):
            return True
        app = getattr(app, "app", None)
    return False


def _parse(text: str, item: Any) -> tuple[str, str, Params]:
    """The path taken apart; FastAPI's parameters have types beside their convertors."""
    convertors = getattr(item, "param_convertors", {})
    typed: dict[str, str] = {}
    for field in getattr(getattr(item, "dependant", None), "path_params", ()):
        annotation = getattr(getattr(field, "field_info", None), "annotation", None)
        typed[getattr(field, "alias", field.name)] = getattr(annotation, "__name__", "str").lower()

    def describe(match: re.Match[str]) -> tuple[str, str, str]:
        name = match["name"]
        convertor = convertors.get(name)
        kind = converter_name(convertor) if convertor is not None else "str"
        if kind == "str" and typed.get(name) in ("int", "float", "uuid"):
            kind = typed[name]
        if kind == "int":
            return name, kind, EXPRESSIONS[kind]
        return name, kind, getattr(convertor, "regex", SEGMENT)

    return parse(text, _MARK, describe)


def _required(item: Any, which: str) -> list[str]:
    """Names of the parameters of one sort that FastAPI does not do without."""
    found, pending = [], [getattr(item, "dependant", None)]
    while pending:
        dependant = pending.pop()
        for field in getattr(dependant, which, ()):
            required = getattr(field, "required", None)
            if required is None:
                required = getattr(field, "field_info", None) and field.field_info.is_required()
            if required:
                found.append(str(getattr(field, "alias", field.name)))
        pending.extend(getattr(dependant, "dependencies", ()))
    return found

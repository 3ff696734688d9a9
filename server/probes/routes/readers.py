"""The framework an application is written in, and the reader of its routes.

Frameworks are told by the names of classes, so that none is imported here; applications wrapped
in middleware are unwrapped by the attributes under which middleware keeps them. One row of
READERS per framework; what has none answers all paths below it, and is said to.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pretune.server.probes.routes import (
    aiohttp,
    bottle,
    django,
    falcon,
    flask,
    litestar,
    pyramid,
    sanic,
    starlette,
)
from pretune.server.probes.routes.route import (
    ROOT,
    Place,
    Route,
    everything_below,
    most_precise_first,
)

# (beginning of the module, class name) anywhere in the type's ancestry -> framework
_FRAMEWORKS: tuple[tuple[str, str, str], ...] = (
    ("django.core.handlers.", "BaseHandler", "django"),
    ("fastapi.", "FastAPI", "fastapi"),
    ("starlette.applications.", "Starlette", "starlette"),
    ("starlette.routing.", "Router", "starlette"),
    ("flask.app.", "Flask", "flask"),
    ("quart.app.", "Quart", "quart"),
    ("litestar.app.", "Litestar", "litestar"),
    ("pyramid.router.", "Router", "pyramid"),
    ("bottle.", "Bottle", "bottle"),
    ("falcon.app.", "App", "falcon"),
    ("falcon.api.", "API", "falcon"),  # until version 3
    ("sanic.app.", "Sanic", "sanic"),
    ("aiohttp.web_app.", "Application", "aiohttp"),
    ("starlite.app.", "Starlite", "litestar"),  # as it was called until version 2
)
# What is no framework, but several applications in one: they are read, not unwrapped.
_COMPOSITES = (("werkzeug.middleware.dispatcher.", "DispatcherMiddleware", "dispatcher"),)
# Where middleware of the field keeps the application it wraps.
_WRAPPED = ("wsgi_app", "app", "application", "_app", "__wrapped__", "_application", "wrap_app",
            "asgi_app", "wsgi_application", "func", "__self__")  # fmt: skip
_DEPTH = 12
_NESTED = 8  # applications mounted in one another; an application mounted in itself ends there


def _kind_of(app: Any, rows: Iterable[tuple[str, str, str]]) -> str | None:
    for kind in type(app).__mro__:
        for module, name, framework in rows:
            path = kind.__module__ + "."
            # a copy that an application brings along: pypiserver.bottle
            if kind.__name__ == name and (path.startswith(module) or path.endswith("." + module)):
                return framework
    return None


def unwrap(app: Any) -> tuple[Any, str]:
    """The innermost-first application whose framework is known, else ``(app, "unknown")``."""
    found = _find(app, _FRAMEWORKS)
    return (app, "django") if found is None and _django_is_set_up() else found or (app, "unknown")


def _find(app: Any, rows: tuple[tuple[str, str, str], ...]) -> tuple[Any, str] | None:
    pending: deque[tuple[Any, int]] = deque([(app, 0)])
    seen: set[int] = set()
    while pending:
        item, depth = pending.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        framework = _kind_of(item, rows)
        if framework is not None:
            return item, framework
        if depth < _DEPTH:
            pending.extend((inner, depth + 1) for inner in _inner(item))
    return None


def _inner(app: Any) -> Iterator[Any]:
    for name in _WRAPPED:
        try:
            value = getattr(app, name, None)
        except Exception:  # a property of someone's middleware
            continue
        if callable(value):
            yield value
    mapping = getattr(app, "application_mapping", None)  # channels
    if isinstance(mapping, dict) and callable(mapping.get("http")):
        yield mapping["http"]
    for cell in getattr(app, "__closure__", None) or ():
        try:
            value = cell.cell_contents
        except ValueError:
            continue
        if callable(value):
            yield value


def _django_is_set_up() -> bool:
    apps = sys.modules.get("django.apps")
    return bool(apps is not None and apps.apps.ready)


def read(app: Any, place: Place = ROOT, depth: int = 0) -> list[Route]:
    """All routes of an application, in the frameworks' own order of matching.

    What cannot be listed is one route of kind "unlisted". Only Django can raise here: its URLconf,
    the user's code, is imported on first use.
    """
    found = _find(app, (*_COMPOSITES, *_FRAMEWORKS))
    if found is None and depth == 0 and _django_is_set_up():
        found = app, "django"
    if found is None or depth > _NESTED:
        return [everything_below(place, "unlisted")]
    inner, framework = found

    def mounted(part: Any, below: Place) -> list[Route]:
        return read(part, below, depth + 1)

    try:
        return list(READERS[framework](inner, place, mounted))
    except (AttributeError, KeyError, TypeError):
        if framework == "django":
            raise
        return [everything_below(place, "unlisted")]  # another version of the framework


def _dispatcher(app: Any, place: Place, mounted: _Mounted) -> Iterator[Route]:
    """Applications below their prefixes, the longest first, before the one that has the rest."""
    for prefix in sorted(app.mounts, key=len, reverse=True):
        yield from mounted(app.mounts[prefix], place.at(prefix.rstrip("/")))
    yield from mounted(app.app, place)


_Mounted = Callable[[Any, Place], list[Route]]

# framework -> the reader of its routes; the reader is given how to read what is mounted
READERS: dict[str, Callable[[Any, Place, _Mounted], Iterable[Route]]] = {
    "django": lambda app, place, _: django.read(app, place),
    "fastapi": starlette.read,
    "starlette": starlette.read,
    "flask": lambda app, place, _: most_precise_first(flask.read(app, place)),
    "quart": lambda app, place, _: most_precise_first(flask.read(app, place)),
    "litestar": lambda app, place, _: most_precise_first(litestar.read(app, place)),
    "pyramid": lambda app, place, _: pyramid.read(app, place),
    "bottle": bottle.read,
    "falcon": lambda app, place, _: most_precise_first(falcon.read(app, place)),
    "sanic": lambda app, place, _: most_precise_first(sanic.read(app, place)),
    "aiohttp": aiohttp.read,
    "dispatcher": _dispatcher,
}

"""Which route a request took, as its framework writes it: ``/product/<int:pk>/``, not the path.

Noted in the request's account where the framework itself decides: Django resolves, Flask and Quart
match, Starlette and FastAPI hand over to a Route. A worker numbers the patterns it meets; what the
numbers mean it writes down in its journal.
"""

from __future__ import annotations

import functools
from types import ModuleType
from typing import Any

from pretune.server.probes.account import current
from pretune.server.probes.imports import when_imported
from pretune.server.probes.waiting import Function, patch

MOST = 1000  # patterns; a framework that makes one for each request must not fill the memory

# Pattern -> its number in this process, from 1.
numbers: dict[str, int] = {}


def install() -> None:
    """Once per process, before or after the app's import."""
    when_imported("django.core.handlers.base", _django)
    when_imported("flask.ctx", _flask)
    when_imported("quart.ctx", _flask)
    when_imported("starlette.routing", _starlette)


def note(pattern: str) -> None:
    """The running request's route; the last word counts."""
    account = current.get()
    if account is None or not pattern:
        return
    number = numbers.get(pattern)
    if number is None:
        if len(numbers) >= MOST:
            return
        number = numbers[pattern] = len(numbers) + 1
    account.route = number


def _django(module: ModuleType) -> None:
    patch(module.BaseHandler, ("resolve_request",), _resolving)


def _resolving(function: Function) -> Function:
    @functools.wraps(function)
    def resolve_request(*args: Any, **kwargs: Any) -> Any:
        match = function(*args, **kwargs)
        route = getattr(match, "route", None)
        if isinstance(route, str):
            # Of re_path it is an expression: ``^product/(?P<pk>\d+)/$``.
            note("/" + route.removeprefix("^").removesuffix("$").removeprefix("/"))
        return match

    return resolve_request


def _flask(module: ModuleType) -> None:
    for name in ("RequestContext", "AppContext"):
        context = getattr(module, name, None)
        if context is not None:
            patch(context, ("match_request",), _matching)


def _matching(function: Function) -> Function:
    @functools.wraps(function)
    def match_request(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = function(self, *args, **kwargs)
        rule = getattr(getattr(self, "request", None), "url_rule", None)
        note(getattr(rule, "rule", "") or "")
        return result

    return match_request


def _starlette(module: ModuleType) -> None:
    patch(module.Route, ("handle",), _handling)


def _handling(function: Function) -> Function:
    @functools.wraps(function)
    async def handle(self: Any, scope: Any, *args: Any, **kwargs: Any) -> Any:
        # What it is mounted under, without where a proxy says the whole app stands.
        root = scope.get("root_path", "").removeprefix(scope.get("app_root_path", ""))
        note(root + getattr(self, "path", ""))
        return await function(self, scope, *args, **kwargs)

    return handle

"""Tell a WSGI application from an ASGI one by looking at it, without calling it."""

from __future__ import annotations

import functools
import inspect
from typing import Any

WSGI = "wsgi"
ASGI = "asgi"

# How many arguments the interface passes: (environ, start_response), (scope, receive, send).
_BY_ARGUMENTS = {2: WSGI, 3: ASGI}


def interface_of(app: Any) -> str:
    """``"wsgi"`` or ``"asgi"``; what cannot be told is called WSGI, the older of the two."""
    app = _innermost(app)
    # Not callable(): the question is whether calling an instance gives a coroutine.
    if _is_async(app) or (not inspect.isclass(app) and _is_async(type(app).__call__)):
        return ASGI
    # A class called as an application makes an instance that is awaited or iterated.
    if inspect.isclass(app) and hasattr(app, "__await__"):
        return ASGI
    return _BY_ARGUMENTS.get(_required_arguments(app), WSGI)


def _innermost(app: Any) -> Any:
    """Through functools.partial; bound arguments change how many are left, so only if none are."""
    while isinstance(app, functools.partial) and (
        inspect.iscoroutinefunction(app.func) or not (app.args or app.keywords)
    ):
        app = app.func
    return app


def _is_async(function: Any) -> bool:
    # The attribute is how asgiref, and asyncio before 3.12, mark functions that return coroutines.
    return inspect.iscoroutinefunction(function) or hasattr(function, "_is_coroutine")


def _required_arguments(app: Any) -> int:
    try:
        parameters = inspect.signature(app).parameters.values()
    except (TypeError, ValueError):
        return 0
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(1 for p in parameters if p.kind in positional and p.default is p.empty)

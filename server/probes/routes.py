"""Which routes an application has, whatever framework it is written in.

A route is a plain dict, ready for JSON:

    pattern   as the framework writes it: ``/product/<int:pk>/``, ``/items/{item_id}``
    template  the same with ``{name}`` for each parameter: ``/product/{pk}/``
    regex     matches a whole path, one named group per parameter; None if it cannot be said
    params    [{name, converter}] in order; converter is int, str, slug, uuid, path, float, ...
    methods   the methods it answers; None when the framework does not say
    name      the framework's name of the route, or None
    kind      "app", or why it is no part of a load: "static", "admin", "docs", "debug"
    host      the only host it answers on, or None
    query     names of query parameters it cannot do without

Frameworks are told by the names of classes, so that none is imported here; applications wrapped
in middleware are unwrapped by the attributes under which middleware keeps them.
"""

from __future__ import annotations

import re
import sys
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

Route = dict[str, Any]

# (module prefix, class name) anywhere in the type's ancestry -> framework
_FRAMEWORKS: tuple[tuple[str, str, str], ...] = (
    ("django.core.handlers", "BaseHandler", "django"),
    ("fastapi.", "FastAPI", "fastapi"),
    ("starlette.applications", "Starlette", "starlette"),
    ("starlette.routing", "Router", "starlette"),
    ("flask.app", "Flask", "flask"),
    ("quart.app", "Quart", "flask"),
)
# Where middleware of the field keeps the application it wraps.
_WRAPPED = ("wsgi_app", "app", "application", "_app", "__wrapped__", "_application", "wrap_app",
            "asgi_app", "wsgi_application", "func", "__self__")  # fmt: skip
_DEPTH = 12


def framework_of(app: Any) -> str | None:
    """The framework of exactly this object, not of what it wraps."""
    for kind in type(app).__mro__:
        for module, name, framework in _FRAMEWORKS:
            if kind.__name__ == name and (kind.__module__ + ".").startswith(module):
                return framework
    return None


def unwrap(app: Any) -> tuple[Any, str]:
    """The innermost-first application whose framework is known, else ``(app, "unknown")``."""
    pending: deque[tuple[Any, int]] = deque([(app, 0)])
    seen: set[int] = set()
    while pending:
        item, depth = pending.popleft()
        if id(item) in seen:
            continue
        seen.add(id(item))
        framework = framework_of(item)
        if framework is not None:
            return item, framework
        if depth < _DEPTH:
            pending.extend((inner, depth + 1) for inner in _inner(item))
    if _django_is_set_up():
        return app, "django"
    return app, "unknown"


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


def routes_of(app: Any, framework: str) -> list[Route]:
    """All routes, in the framework's own order of matching.

    Only Django can raise here: its URLconf, the user's code, is imported on first use.
    """
    walk = _WALKERS.get(framework)
    listed = [] if walk is None else list(walk(app, "", ""))
    return listed or [_route("/", "/", "/", [], None, None)]


def _route(
    pattern: str,
    template: str,
    regex: str,
    params: list[dict[str, str]],
    methods: set[str] | None,
    name: str | None,
    kind: str = "app",
    host: str | None = None,
    query: list[str] | None = None,
) -> Route:
    try:
        re.compile(regex)
    except re.error:  # the same group twice, say
        whole = None
    else:
        whole = regex
    return {
        "pattern": pattern,
        "template": template,
        "regex": whole,
        "params": params,
        "methods": None if methods is None else sorted(methods),
        "name": name,
        "kind": kind,
        "host": host or None,
        "query": query or [],
    }


# Django ---------------------------------------------------------------------------------------

# by module of the view; the first that matches
_DJANGO_KINDS = (
    ("django.contrib.admin", "admin"),
    ("django.contrib.staticfiles", "static"),
    ("django.views.static", "static"),
    ("debug_toolbar", "debug"),
    ("silk.", "debug"),
    ("drf_spectacular", "docs"),
    ("drf_yasg", "docs"),
)
_DJANGO_CONVERTER = re.compile(r"<(?:(?P<converter>[^>:]+):)?(?P<name>\w+)>")


def _django(app: Any, prefix: str, regex: str) -> Iterator[Route]:
    patterns = import_module("django.urls").get_resolver().url_patterns
    yield from _django_patterns(patterns, "/", "/", [], frozenset())


def _django_patterns(
    patterns: Any, prefix: str, regex: str, params: list[dict[str, str]], spaces: frozenset[str]
) -> Iterator[Route]:
    for item in patterns:
        text, expression, own = _django_pattern(item.pattern)
        path, whole, both = prefix + text, regex + expression, params + own
        if hasattr(item, "url_patterns"):
            inner = spaces | {item.namespace or "", item.app_name or ""}
            yield from _django_patterns(item.url_patterns, path, whole, both, inner)
            continue
        view = item.callback
        module = getattr(view, "__module__", "") + "."
        kind = next((k for start, k in _DJANGO_KINDS if module.startswith(start)), "app")
        if "admin" in spaces:
            kind = "admin"
        template = _DJANGO_CONVERTER.sub(lambda match: "{" + match["name"] + "}", path)
        yield _route(path, template, whole, both, _django_methods(view), item.name, kind)


def _django_pattern(pattern: Any) -> tuple[str, str, list[dict[str, str]]]:
    """A part of a path as text, as an unanchored expression, and its parameters."""
    if hasattr(pattern, "language_prefix"):  # i18n_patterns
        return pattern.language_prefix, re.escape(pattern.language_prefix), []
    expression = pattern.regex.pattern
    expression = expression.removeprefix("^")
    expression = re.sub(r"(\\Z|\\z|(?<!\\)\$)$", "", expression)
    route = getattr(pattern, "_route", None)
    if route is not None:
        names = {name: _converter(item) for name, item in pattern.converters.items()}
        params = [
            {"name": match["name"], "converter": names.get(match["name"], "str")}
            for match in _DJANGO_CONVERTER.finditer(str(route))
        ]
        return str(route), expression, params
    return _simplified(expression)


def _converter(item: Any) -> str:
    return type(item).__name__.removesuffix("Converter").removesuffix("Convertor").lower()


def _simplified(expression: str) -> tuple[str, str, list[dict[str, str]]]:
    """``article/(?P<year>[0-9]{4})/`` to ``article/<year>/``; unnamed groups become ``<arg1>``."""
    text, named, at = "", "", 0
    params: list[dict[str, str]] = []
    while at < len(expression):
        sign = expression[at]
        if sign == "\\" and at + 1 < len(expression):
            text += expression[at + 1] if not expression[at + 1].isalnum() else "x"
            named += expression[at : at + 2]
            at += 2
        elif expression.startswith("(?:", at):
            named += "(?:"
            at += 3
        elif sign == "(":
            end = _group_end(expression, at)
            group = expression[at:end]
            match = re.match(r"\(\?P<(\w+)>(.*)\)$", group, re.DOTALL)
            name = match[1] if match else f"arg{len(params) + 1}"
            inside = match[2] if match else group[1:-1]
            params.append({"name": name, "converter": _converter_of_expression(inside)})
            text += f"<{name}>"
            named += f"(?P<{name}>{inside})"
            at = end
        else:
            text += sign if sign not in "^$?*+()|" else ""
            named += sign
            at += 1
    return text, named, params


def _group_end(expression: str, at: int) -> int:
    depth, in_class = 0, False
    while at < len(expression):
        sign = expression[at]
        if sign == "\\":
            at += 1
        elif in_class:
            in_class = sign != "]"
        elif sign == "[":
            in_class = True
        elif sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return len(expression)


def _converter_of_expression(expression: str) -> str:
    return "int" if re.fullmatch(r"(\[0-9\]|\\d)(\+|\*|\{[\d,]+\})?", expression) else "str"


def _django_methods(view: Any) -> set[str] | None:
    actions = getattr(view, "actions", None)  # a viewset of the REST framework
    if isinstance(actions, dict):
        return {name.upper() for name in actions}
    kind = getattr(view, "view_class", None) or getattr(view, "cls", None)
    if kind is not None:
        names = getattr(kind, "http_method_names", ())
        return {name.upper() for name in names if hasattr(kind, name)}
    while view is not None:  # require_http_methods keeps its list in a closure
        names = getattr(getattr(view, "__code__", None), "co_freevars", ())
        if "request_method_list" in names:
            cell = view.__closure__[names.index("request_method_list")]
            return {str(method) for method in cell.cell_contents}
        view = getattr(view, "__wrapped__", None)
    return None


# Flask ----------------------------------------------------------------------------------------

_FLASK_CONVERTER = re.compile(r"<(?:(?P<converter>\w+)(?:\([^)]*\))?:)?(?P<name>\w+)>")


def _flask(app: Any, prefix: str, regex: str) -> Iterator[Route]:
    for rule in app.url_map.iter_rules():
        if getattr(rule, "build_only", False) or getattr(rule, "websocket", False):
            continue
        converters = getattr(rule, "_converters", {})
        text, template, whole, at = rule.rule, "", "", 0
        params: list[dict[str, str]] = []
        for match in _FLASK_CONVERTER.finditer(text):
            name, literal = match["name"], text[at : match.start()]
            at = match.end()
            converter = converters.get(name)
            expression = getattr(converter, "regex", "[^/]+")
            kind = _converter(converter) if converter is not None else "str"
            kind = {"unicode": "str", "integer": "int"}.get(kind, kind)
            params.append({"name": name, "converter": kind})
            template += literal + "{" + name + "}"
            whole += re.escape(literal) + f"(?P<{name}>{expression})"
        template, whole = template + text[at:], whole + re.escape(text[at:])
        static = rule.endpoint == "static" or rule.endpoint.endswith(".static")
        debug = rule.endpoint.startswith(("debugtoolbar", "_debug_toolbar"))
        yield _route(
            prefix + text,
            prefix + template,
            regex + whole,
            params,
            set(rule.methods) if rule.methods else None,
            rule.endpoint,
            "static" if static else "debug" if debug else "app",
            rule.host if app.url_map.host_matching else rule.subdomain,
        )


# Starlette and FastAPI ------------------------------------------------------------------------

_BRACES = re.compile(r"{(?P<name>\w+)(?::\w+)?}")


def _starlette(app: Any, prefix: str, regex: str) -> Iterator[Route]:
    names = ("docs_url", "redoc_url", "openapi_url", "swagger_ui_oauth2_redirect_url")
    docs = {getattr(app, name, None) for name in names}
    yield from _starlette_routes(app.routes, prefix, regex, docs)


def _starlette_routes(
    routes: Any, prefix: str, regex: str, docs: set[Any], host: str | None = None
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
            yield from _starlette_routes(inner, prefix, regex, docs, getattr(item, "host", host))
            continue
        convertors = getattr(item, "param_convertors", {})
        mount = not hasattr(item, "methods") and hasattr(item, "app") and hasattr(item, "routes")
        text = text.rstrip("/") if mount else text
        template = _BRACES.sub(lambda match: "{" + match["name"] + "}", text)
        whole, params = _expression(text, item, convertors)
        if mount:
            yield from _mounted(item, prefix + text, prefix + template, regex + whole, docs, host)
        elif hasattr(item, "methods"):  # else a websocket
            is_docs = text in docs and not getattr(item, "include_in_schema", True)
            route = _route(
                prefix + text,
                prefix + template,
                regex + whole,
                params,
                set(item.methods) if item.methods else None,
                getattr(item, "name", None),
                "docs" if is_docs else "app",
                host,
                _required_query(item),
            )
            yield route


def _mounted(
    item: Any, text: str, template: str, regex: str, docs: set[Any], host: str | None
) -> Iterator[Route]:
    inner, framework = unwrap(item.app)
    if any(kind.__name__ == "StaticFiles" for kind in type(inner).__mro__):
        pattern = text + "/{path:path}"
        params = [{"name": "path", "converter": "path"}]
        yield _route(pattern, template + "/{path}", regex + "/(?P<path>.*)", params, {"GET"},
                     item.name, "static", host)  # fmt: skip
    elif framework in ("flask", "fastapi", "starlette"):
        yield from _WALKERS[framework](inner, text, regex)
    elif item.routes:
        yield from _starlette_routes(item.routes, text, regex, docs, host)


def _expression(
    text: str, item: Any, convertors: dict[str, Any]
) -> tuple[str, list[dict[str, str]]]:
    """The path as an expression; FastAPI's parameters have types beside their convertors."""
    typed: dict[str, str] = {}
    for field in getattr(getattr(item, "dependant", None), "path_params", ()):
        annotation = getattr(getattr(field, "field_info", None), "annotation", None)
        typed[getattr(field, "alias", field.name)] = getattr(annotation, "__name__", "str").lower()
    whole, params, at = "", [], 0
    for match in _BRACES.finditer(text):
        name = match["name"]
        convertor = convertors.get(name)
        kind = _converter(convertor) if convertor is not None else "str"
        kind = {"string": "str", "integer": "int"}.get(kind, kind)
        if kind == "str" and typed.get(name) in ("int", "float", "uuid"):
            kind = typed[name]
        expression = {"int": "-?[0-9]+"}.get(kind) or getattr(convertor, "regex", "[^/]+")
        params.append({"name": name, "converter": kind})
        whole += re.escape(text[at : match.start()]) + f"(?P<{name}>{expression})"
        at = match.end()
    return whole + re.escape(text[at:]), params


def _required_query(item: Any) -> list[str]:
    names, pending = [], [getattr(item, "dependant", None)]
    while pending:
        dependant = pending.pop()
        for field in getattr(dependant, "query_params", ()):
            required = getattr(field, "required", None)
            if required is None:
                required = getattr(field, "field_info", None) and field.field_info.is_required()
            if required:
                names.append(str(getattr(field, "alias", field.name)))
        pending.extend(getattr(dependant, "dependencies", ()))
    return names


_WALKERS: dict[str, Callable[[Any, str, str], Iterator[Route]]] = {
    "django": _django,
    "flask": _flask,
    "fastapi": _starlette,
    "starlette": _starlette,
}

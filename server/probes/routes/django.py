"""Routes of Django's URLconf, the REST framework's and Wagtail's among them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from pretune.server.probes.routes.route import Params, Place, Route, converter_name, make_route

# by module of the view; the first that matches
_KINDS = (
    ("django.contrib.admin", "admin"),
    ("django.contrib.staticfiles", "static"),
    ("django.contrib.sitemaps", "sitemap"),
    ("django.views.static", "static"),
    ("debug_toolbar", "debug"),
    ("silk.", "debug"),
    ("drf_spectacular", "docs"),
    ("drf_yasg", "docs"),
    ("wagtail.views.", "app"),
    ("wagtail.api.", "app"),
    ("wagtail.documents.views.serve", "static"),
    ("wagtail.images.views.serve", "static"),
    ("wagtail.contrib.sitemaps", "sitemap"),
    ("wagtail.", "admin"),
)
_CONVERTER = re.compile(r"<(?:(?P<converter>[^>:]+):)?(?P<name>\w+)>")


def read(app: Any, place: Place) -> Iterator[Route]:
    """The routes of the URLconf. The user's code is imported here, and may raise."""
    patterns = import_module("django.urls").get_resolver().url_patterns
    yield from _patterns(patterns, place.at("/"), frozenset())


def _patterns(patterns: Any, place: Place, spaces: frozenset[str]) -> Iterator[Route]:
    for item in patterns:
        text, expression, own = _pattern(item.pattern)
        template = _CONVERTER.sub(lambda match: "{" + match["name"] + "}", text)
        part = place.below(text, template, expression, own)
        if hasattr(item, "url_patterns"):
            inner = spaces | {item.namespace or "", item.app_name or ""}
            yield from _patterns(item.url_patterns, part, inner)
            continue
        kind = _kind(item.callback, spaces, part)
        yield make_route(part, _methods(item.callback), item.name, kind)


def _kind(view: Any, spaces: frozenset[str], place: Place) -> str:
    if any(space.endswith("admin") for space in spaces):
        return "admin"
    module = getattr(view, "__module__", "") + "."
    kind = next((kind for start, kind in _KINDS if module.startswith(start)), "app")
    last = place.params[-1] if place.params else {"name": "", "converter": ""}
    # The REST framework offers each route a second time: /users.json beside /users/.
    if (
        last["converter"] == "formatsuffix"
        or place.regex.rpartition("(?P<format>")[0][-2:] == r"\."
    ):
        return "suffix"
    return kind


def _pattern(pattern: Any) -> tuple[str, str, Params]:
    """A part of a path as text, as an unanchored expression, and its parameters."""
    if hasattr(pattern, "language_prefix"):  # i18n_patterns
        return pattern.language_prefix, re.escape(pattern.language_prefix), []
    expression = pattern.regex.pattern
    expression = expression.removeprefix("^")
    expression = re.sub(r"(\\Z|\\z|(?<!\\)\$)$", "", expression)
    route = getattr(pattern, "_route", None)
    if route is not None:
        names = {name: converter_name(item) for name, item in pattern.converters.items()}
        params = [
            {"name": match["name"], "converter": names.get(match["name"], "str")}
            for match in _CONVERTER.finditer(str(route))
        ]
        return str(route), expression, params
    return _simplified(expression)


def _simplified(expression: str) -> tuple[str, str, Params]:
    """``article/(?P<year>[0-9]{4})/`` to ``article/<year>/``; unnamed groups become ``<arg1>``."""
    text, named, at = "", "", 0
    params: Params = []
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


def _methods(view: Any) -> set[str] | None:
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

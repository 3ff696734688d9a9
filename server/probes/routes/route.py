"""One route of an application, as plain data ready for JSON.

pattern   as the framework writes it: ``/product/<int:pk>/``, ``/items/{item_id}``
template  the same with ``{name}`` for each parameter: ``/product/{pk}/``
regex     matches a whole path, one named group per parameter; None if it cannot be said
params    [{name, converter}] in order; converter is int, str, slug, uuid, path, float, ...
methods   the methods it answers; None when the framework does not say
name      the framework's name of the route, or None
kind      "app"; "unlisted": everything below a path, by an application whose routes cannot be
          listed; or why it is no part of a load: "static", "admin", "docs", "debug",
          "sitemap", "suffix" (another route once more, with a format at its end)
host      the only host it answers on, or None
query     names of query parameters it cannot do without
headers   names of header fields it cannot do without
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

Route = dict[str, Any]
Params = list[dict[str, str]]

# What a converter matches, where the framework gives no expression of its own.
EXPRESSIONS = {"int": "-?[0-9]+", "path": ".*", "float": r"-?[0-9]+(?:\.[0-9]+)?"}
SEGMENT = "[^/]+"
_KINDS = {"string": "str", "unicode": "str", "integer": "int", "any": "str"}


class Place(NamedTuple):
    """The prefix of a part of an application, as text, template and expression."""

    text: str = ""
    template: str = ""
    regex: str = ""
    params: tuple[dict[str, str], ...] = ()

    def below(
        self, text: str, template: str, regex: str, params: Iterable[dict[str, str]] = ()
    ) -> Place:
        """Return the place of a part of this part."""
        return Place(
            self.text + text, self.template + template, self.regex + regex, (*self.params, *params)
        )

    def at(self, prefix: str) -> Place:
        """Return the place below a prefix without parameters."""
        return self.below(prefix, prefix, re.escape(prefix))


ROOT = Place()


def make_route(
    place: Place,
    methods: Iterable[str] | None,
    name: str | None,
    kind: str = "app",
    host: str | None = None,
    query: Iterable[str] = (),
    headers: Iterable[str] = (),
) -> Route:
    """Make a route of all that is known of it."""
    try:
        re.compile(place.regex)
    except re.error:  # the same group twice, say
        whole = None
    else:
        whole = place.regex
    return {
        "pattern": place.text,
        "template": place.template,
        "regex": whole,
        "params": list(place.params),
        "methods": None if methods is None else sorted(methods),
        "name": name,
        "kind": kind,
        "host": host or None,
        "query": list(query),
        "headers": list(headers),
    }


def everything_below(place: Place, kind: str, host: str | None = None) -> Route:
    """Make the route of all paths below a place, the place itself with them."""
    params = [{"name": "path", "converter": "path"}]
    return make_route(
        place.below("/*", "/{path}", "(?:/(?P<path>.*))?", params), None, None, kind, host
    )


def most_precise_first(routes: Iterable[Route]) -> list[Route]:
    """Order routes as a framework matches them that has no order of its own.

    What is written out goes before parameters, these before the rest of a path, and of the latter
    the longest first: ``/<path:page>/history`` before ``/<path:page>``.
    """

    def key(route: Route) -> tuple[bool, int]:
        rest = any(param["converter"] == "path" for param in route["params"])
        literal = re.sub(r"{[^{}]*}", "", route["template"]).strip("/")
        return rest, -len(literal) if rest else len(route["params"])

    return sorted(routes, key=key)


def converter_name(converter: Any) -> str:
    """Name a converter by its class: ``int`` of an ``IntConverter``."""
    name = type(converter).__name__.removesuffix("Converter").removesuffix("Convertor").lower()
    return _KINDS.get(name, name)


def parse(
    text: str, marks: re.Pattern[str], describe: Callable[[re.Match[str]], tuple[str, str, str]]
) -> tuple[str, str, Params]:
    """Turn a framework's pattern into template, expression and parameters.

    ``marks`` matches one parameter, of which ``describe`` gives name, converter and expression.
    """
    template, regex, params, at = "", "", [], 0
    for match in marks.finditer(text):
        literal, at = text[at : match.start()], match.end()
        name, converter, expression = describe(match)
        params.append({"name": name, "converter": converter})
        template += literal + "{" + name + "}"
        regex += re.escape(literal) + f"(?P<{name}>{expression})"
    return template + text[at:], regex + re.escape(text[at:]), params


def expression_of(converter: str) -> str:
    """Return what a converter of this name matches."""
    return EXPRESSIONS.get(converter, SEGMENT)

"""Rules of Bottle, also of copies of it that applications bring along."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from pretune.server.probes.routes.route import Place, Route, expression_of, make_route, parse

# <name>, <id:int>, <code:re:[a-z]{2}>, and as it was :name, :name#[a-z]{2}#
_MARK = re.compile(
    r"<(?P<name>\w*)(?::(?P<converter>\w+)(?::(?P<expression>(?:\\.|[^\\>])+))?)?>"
    r"|:(?P<old>\w+)(?:#(?P<old_expression>[^#]*)#)?"
)


def read(
    app: Any, place: Place, mounted: Callable[[Any, Place], Iterable[Route]]
) -> Iterator[Route]:
    """All rules; ``mounted`` reads an application of any framework that is mounted here."""
    prefixes = set()
    for item in app.routes:
        prefix = item.config.get("mountpoint.prefix")
        if prefix is not None:
            if prefix not in prefixes:  # it has two rules, with and without a slash
                prefixes.add(prefix)
                target = item.config.get("mountpoint.target")
                yield from mounted(target, place.at("/" + str(prefix).strip("/")))
            continue
        text = item.rule if item.rule.startswith("/") else "/" + item.rule
        template, regex, params = parse(text, _MARK, _Parameters())
        part = place.below(text, template, regex, params)
        yield make_route(part, None if item.method == "ANY" else {item.method}, item.name)


class _Parameters:
    """Describes the parameters of one rule; those without a name are numbered."""

    def __init__(self) -> None:
        self._count = 0

    def __call__(self, match: re.Match[str]) -> tuple[str, str, str]:
        self._count += 1
        name = match["name"] or match["old"] or f"arg{self._count}"
        converter = match["converter"] or "str"
        if match["old_expression"]:
            return name, "str", match["old_expression"]
        if converter == "re":
            return name, "str", match["expression"] or "[^/]+"
        return name, converter, expression_of(converter)

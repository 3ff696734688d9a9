"""Routes that may become endpoints: which are worth a request, and how paths are made of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import quote, unquote

from pretune.loadtests.openapi import Operation
from pretune.loadtests.workload import Skipped

PATHS_PER_ENDPOINT = 10
PATHS_OF_SITE = 40  # below one route that answers all paths
GUESSES = ("1", "2", "3")

# kinds of routes that are no part of a load (server/probes/routes/route.py) -> why
_KINDS = {
    "static": "static files, which a web server in front should serve",
    "admin": "the admin site",
    "docs": "generated API documentation",
    "debug": "a debugging tool",
    "sitemap": "a sitemap, for crawlers",
    "suffix": "another route once more, with a format at its end",
}
_LOGOUT = re.compile(r"/(log|sign)[-_]?out(/|$)", re.IGNORECASE)
# Links that are not followed: they change something, or lead to a file that no route names.
_UNSAFE = re.compile(
    r"[/_-](log[-_]?out|sign[-_]?out|delete|remove|destroy|unsubscribe)([/?._-]|$)", re.IGNORECASE
)
_FILE = re.compile(
    r"[/_-](download|export)([/?._-]|$)|/(static|media|assets)/"
    r"|\.(css|js|map|png|jpe?g|gif|svg|ico|webp|woff2?|ttf|pdf|zip|t?gz|mp[34]|whl|exe)(\?|$)",
    re.IGNORECASE,
)
_MANY_SEGMENTS = "zq1x/zq2x/zq3x/zq4x/zq5x/zq6x/zq7x"


def is_unsafe(link: str) -> bool:
    """True of a link that changes something when it is followed."""
    return _UNSAFE.search(link) is not None


def leads_to_file(link: str) -> bool:
    """True of a link that leads to a file, not to a page."""
    return _FILE.search(link) is not None


@dataclass
class Candidate:
    """A route that may become an endpoint, and what is known of its paths so far."""

    route: Mapping[str, Any]
    matcher: re.Pattern[str] | None
    waiting: list[str] = field(default_factory=list)  # paths to try
    asked: set[str] = field(default_factory=set)
    working: list[str] = field(default_factory=list)
    reason: str = ""  # why the first path that failed did
    guessed: bool = False
    broken: bool = False  # the application failed, rather than refused
    download: bool = False
    listed: bool = True  # by the framework or a document; else met on the way
    redirects: int = 0  # that led here
    unasked: bool = False  # by users: a health check beside pages
    known: set[str] = field(default_factory=set)  # pages of a site that links name, tried or not
    operation: Operation | None = None

    @property
    def name(self) -> str:
        return str(self.route["pattern"])

    @property
    def template(self) -> str:
        return str(self.route["template"])

    @property
    def params(self) -> Sequence[Mapping[str, str]]:
        params: Sequence[Mapping[str, str]] = self.route["params"]
        return params

    @property
    def is_unlisted(self) -> bool:
        """True where an application answers here whose routes cannot be listed."""
        return str(self.route["kind"]) == "unlisted"

    @property
    def stem(self) -> str:
        """The path up to the first parameter or sign of an expression."""
        match = re.match(r"[\w/\-]*", self.template)
        return match[0] if match else "/"

    @property
    def is_catch_all(self) -> bool:
        """True of a route that answers all paths below its stem; it is many pages."""
        if self.is_unlisted:
            return True
        path = self.stem + _MANY_SEGMENTS
        return self.matcher is not None and any(
            self.matcher.fullmatch(each) for each in (path, path + "/")
        )

    @property
    def is_site(self) -> bool:
        """True of a catch-all for a site, or for a part of it that cannot be listed."""
        return self.is_unlisted or (self.stem == "/" and self.is_catch_all)

    @property
    def required(self) -> tuple[list[str], list[str]]:
        """Names of query parameters and of headers that it needs, and nobody gives."""
        if self.operation is not None:
            return list(self.operation.missing_query), list(self.operation.missing_headers)
        return list(self.route.get("query") or ()), list(self.route.get("headers") or ())

    def matches(self, path: str) -> bool:
        """True of a path, with or without a query, that this route answers."""
        plain = unquote(path.partition("?")[0])
        return self.matcher is not None and self.matcher.fullmatch(plain) is not None

    def offer(self, path: str) -> None:
        """Add a path of this route to try, if it is new and there are not enough."""
        most = PATHS_OF_SITE if self.is_site else PATHS_PER_ENDPOINT
        enough = len(self.working) + len(self.waiting) >= most
        if path not in self.asked and path not in self.waiting and not enough:
            self.waiting.append(path)

    def fill(self, values: Mapping[str, str]) -> str:
        """Make a path of one value for each parameter."""
        path = self.template
        for param in self.params:
            safe = "/" if param["converter"] == "path" else ""
            path = path.replace("{" + param["name"] + "}", quote(values[param["name"]], safe=safe))
        return path

    def fill_matching(self, values: Iterable[Mapping[str, str]]) -> list[str]:
        """Return those paths made of these values that are paths of this route."""
        names = {param["name"] for param in self.params}
        paths = [self.fill(each) for each in values if names <= each.keys()]
        return [path for path in paths if self.matcher is None or self.matches(path)]

    def parameter_places(self) -> list[tuple[str, str]]:
        """Each parameter's name with the segment before it."""
        segments = self.template.split("/")
        names = {"{" + param["name"] + "}": param["name"] for param in self.params}
        return [(before, names[each]) for before, each in pairwise(segments) if each in names]

    def use(self, operation: Operation) -> None:
        """Take values from the route's operation in an OpenAPI document."""
        self.operation = operation
        if not self.params:
            self.waiting = [quote(self.template, safe="/") + operation.query_string]
        elif all(param["name"] in operation.values for param in self.params):
            self.offer(self.fill(operation.values) + operation.query_string)


def is_guessable(param: Mapping[str, str]) -> bool:
    """True when a small number is a fair guess for a parameter."""
    if param["converter"] == "int":
        return True
    return param["converter"] == "str" and re.search(r"(^|_)(id|pk)$", param["name"]) is not None


def make_page(path: str, redirects: int = 0) -> Candidate:
    """Make a candidate of one path that no table of routes names."""
    plain = path.partition("?")[0]
    page = Candidate(
        {"pattern": plain, "template": plain, "params": [], "methods": None, "kind": "app"},
        re.compile(re.escape(unquote(plain))),
        listed=False,
        redirects=redirects,
    )
    page.offer(path)
    return page


def make_operation(operation: Operation) -> Candidate:
    """Make a candidate of an operation that no table of routes names."""
    template = operation.base + operation.path
    names = re.findall(r"{([^{}]+)}", template)
    parts = re.split(r"{[^{}]+}", template)
    candidate = Candidate(
        {
            "pattern": template,
            "template": template,
            "params": [{"name": name, "converter": "str"} for name in names],
            "methods": ["GET"],
            "kind": "app",
        },
        re.compile("[^/]+".join(re.escape(part) for part in parts)),
    )
    candidate.use(operation)
    return candidate


@dataclass(frozen=True)
class SortedRoutes:
    """Routes worth trying, in the framework's order of matching, and those that are not.

    ``owners`` are the matchers of all routes in that order, with the candidate each belongs to,
    None for a route that is no part of a load. ``known`` counts the routes of the application
    itself, tried or not.
    """

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]
    owners: tuple[tuple[re.Pattern[str], Candidate | None], ...]
    documents: tuple[str, ...]  # paths at which the application describes itself
    known: int


def sort_routes(routes: Iterable[Mapping[str, Any]]) -> SortedRoutes:
    """Sort an inspection's routes into those a load can use and others. Sends nothing."""
    candidates: dict[str, Candidate] = {}
    skipped: list[Skipped] = []
    owners: list[tuple[re.Pattern[str], Candidate | None]] = []
    documents = []
    others = 0
    for route in routes:
        methods, name = route["methods"], str(route["pattern"])
        matcher = re.compile(route["regex"]) if route["regex"] else None
        if route["kind"] in _KINDS:
            skipped.append(Skipped(name, _KINDS[route["kind"]]))
            if route["kind"] == "docs" and not route["params"]:
                documents.append(str(route["template"]))
        elif route.get("host"):
            skipped.append(Skipped(name, f"answers on another host ({route['host']})"))
            others += 1
            continue
        elif methods is not None and "GET" not in methods:
            allowed = " and ".join(sorted(set(methods) - {"OPTIONS", "HEAD"})) or "OPTIONS"
            skipped.append(Skipped(f"{allowed} {name}", f"only answers {allowed}"))
            others += 1
            continue
        elif _LOGOUT.search(str(route["template"])):
            skipped.append(Skipped(name, "ends a session"))
            others += 1
        elif name not in candidates:
            candidates[name] = _candidate(route, matcher)
        if matcher is not None:
            owners.append((matcher, candidates.get(name)))
    known = others + sum(not item.is_unlisted for item in candidates.values())
    return SortedRoutes(
        tuple(candidates.values()), tuple(skipped), tuple(owners), tuple(documents), known
    )


def _candidate(route: Mapping[str, Any], matcher: re.Pattern[str] | None) -> Candidate:
    candidate = Candidate(route, matcher)
    if candidate.is_catch_all:
        if candidate.stem != "/":  # which is always asked, of whatever route
            candidate.offer(quote(candidate.stem.rstrip("/") + "/", safe="/"))
    elif not route["params"]:
        candidate.offer(quote(candidate.template, safe="/"))
    return candidate

"""From an application's routes to a workload: try each once, keep those that answer.

Routes without parameters are tried as they are. Values for parameters are taken from the
application's own answers: links in its pages, identifiers in its JSON. Only when there are none
are small numbers tried. What does not answer with success is left out, with the reason; nothing
is left out silently. Every path of the workload has answered once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pretune.loadtests.asking import Answer, ask
from pretune.loadtests.harvest import harvest, local_path
from pretune.loadtests.workload import Endpoint, Skipped, Workload

ROUNDS = 3
MAX_REQUESTS = 100
PATHS_PER_ENDPOINT = 10
GUESSES = ("1", "2", "3")

# kinds of routes that are no part of a load (server/probes/routes.py) -> why
_KINDS = {
    "static": "static files, which a web server in front should serve",
    "admin": "the admin site",
    "docs": "generated API documentation",
    "debug": "a debugging tool",
}
_LOGIN = re.compile(r"(^|[/_-])(log-?_?in|sign-?_?in|sso|oauth2?|auth)([/_-]|$)", re.IGNORECASE)


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

    @property
    def name(self) -> str:
        return str(self.route["pattern"])

    @property
    def params(self) -> Sequence[Mapping[str, str]]:
        params: Sequence[Mapping[str, str]] = self.route["params"]
        return params

    def offer(self, path: str) -> None:
        """Add a path of this route to try, if it is new and there are not enough."""
        enough = len(self.working) + len(self.waiting) >= PATHS_PER_ENDPOINT
        if path not in self.asked and path not in self.waiting and not enough:
            self.waiting.append(path)


@dataclass(frozen=True)
class SortedRoutes:
    """Routes worth trying, in the framework's order of matching, and those that are not."""

    candidates: tuple[Candidate, ...]
    skipped: tuple[Skipped, ...]


def sort_routes(routes: Iterable[Mapping[str, Any]]) -> SortedRoutes:
    """Sort an inspection's routes into those a load can use and others. Sends nothing."""
    candidates: dict[str, Candidate] = {}
    skipped: list[Skipped] = []
    for route in routes:
        methods = route["methods"]
        name = str(route["pattern"])
        if route["kind"] in _KINDS:
            skipped.append(Skipped(name, _KINDS[route["kind"]]))
        elif route.get("host"):
            skipped.append(Skipped(name, f"answers on another host ({route['host']})"))
        elif methods is not None and "GET" not in methods:
            allowed = " and ".join(sorted(set(methods) - {"OPTIONS", "HEAD"})) or "OPTIONS"
            skipped.append(Skipped(f"{allowed} {name}", f"only answers {allowed}"))
        elif name not in candidates:
            matcher = re.compile(route["regex"]) if route["regex"] else None
            candidates[name] = Candidate(route, matcher)
            if not route["params"]:
                candidates[name].offer(quote(str(route["template"]), safe="/"))
    return SortedRoutes(tuple(candidates.values()), tuple(skipped))


def probe(
    address: tuple[str, int],
    routes: Iterable[Mapping[str, Any]],
    headers: Iterable[tuple[str, str]] = (),
    ask: Callable[[tuple[str, int], str, Mapping[str, str]], Answer] = ask,
) -> Workload:
    """Try the running application and return the workload that its answers allow.

    The workload is empty when nothing answered; ``skipped`` then says why for each route.
    """
    sent = dict(headers)
    planned = sort_routes(routes)
    explorer = _Explorer(address, sent, planned.candidates, ask)
    for _ in range(ROUNDS):
        explorer.try_all()
        explorer.offer_values()
        if not explorer.waiting:
            break
    explorer.try_all()
    working = [item for item in planned.candidates if item.working]
    failed = [
        Skipped(item.name, item.reason or _reason_untried(item))
        for item in planned.candidates
        if not item.working
    ]
    count = len(working)
    return Workload(
        endpoints=tuple(Endpoint(item.name, tuple(item.working), 1 / count) for item in working),
        headers=tuple(sent.items()),
        skipped=(*failed, *planned.skipped),
        source="discovered",
        assumption=f"equal shares of {count} route{'s' * (count != 1)}",
    )


class _Explorer:
    """Requests to the application, at most MAX_REQUESTS of them."""

    def __init__(
        self,
        address: tuple[str, int],
        headers: Mapping[str, str],
        candidates: Sequence[Candidate],
        ask: Callable[[tuple[str, int], str, Mapping[str, str]], Answer],
    ) -> None:
        self._address, self._headers, self._ask = address, headers, ask
        self._candidates = candidates
        names = {f"{address[0]}:{address[1]}"}
        names |= {value for name, value in headers.items() if name.lower() == "host"}
        self._hosts = frozenset(name.lower() for name in names)
        self._left = MAX_REQUESTS
        self._seen: set[str] = set()  # links already offered to their route
        # JSON values by key, and by the path they came from
        self._values: dict[str, dict[str, list[str]]] = {}

    @property
    def waiting(self) -> bool:
        return self._left > 0 and any(item.waiting for item in self._candidates)

    def try_all(self) -> None:
        """One request to every route in turn, so that the limit is shared fairly."""
        while self.waiting:
            for item in self._candidates:
                if item.waiting and self._left > 0:
                    self._left -= 1
                    path = item.waiting.pop(0)
                    item.asked.add(path)
                    self._judge(item, path, self._ask(self._address, path, self._headers))

    def offer_values(self) -> None:
        """Offer values for the parameters of routes that have no working path yet."""
        for item in self._candidates:
            if not item.params or item.working or item.waiting:
                continue
            for path in (*self._from_values(item), *self._from_siblings(item)):
                item.offer(path)
            if not item.waiting and not item.guessed:
                item.guessed = True
                if all(is_guessable(param) for param in item.params):
                    for guess in GUESSES:
                        item.offer(_fill(item, {param["name"]: guess for param in item.params}))

    def _judge(self, item: Candidate, path: str, answer: Answer) -> None:
        reason = rejection(answer, path, self._hosts, item.route.get("query") or ())
        if not reason:
            item.working.append(path)
        elif not item.reason:
            item.reason = reason
        if answer.location:
            self._offer_link(local_path(answer.location, path, self._hosts))
        if reason:
            return
        found = harvest(answer.body, answer.content_type, path, self._hosts)
        for link in found.links:
            self._offer_link(link)
        for key, values in found.values.items():
            collected = self._values.setdefault(key, {}).setdefault(path, [])
            collected += [value for value in values if value not in collected]

    def _offer_link(self, link: str | None) -> None:
        if link is None or link in self._seen:
            return
        path, _, query = link.partition("?")
        for item in self._candidates:
            if item.matcher is None or not item.matcher.fullmatch(unquote(path)):
                continue
            if item.params:
                self._seen.add(link)
                item.offer(path)
            elif query and not item.working and (item.asked or item.route.get("query")):
                item.offer(link)  # it does not answer without a query: this one is the app's own
            return

    def _from_values(self, item: Candidate) -> list[str]:
        """Paths made of JSON values, for routes with one parameter."""
        if len(item.params) != 1:
            return []
        name = item.params[0]["name"]
        stem = str(item.route["template"]).partition("{")[0].rstrip("/")
        found: list[str] = []
        for key in (name, name.rpartition("_")[2], "id" if name == "pk" else name):
            for source, values in self._values.get(key, {}).items():
                # an "id" is the wanted one only in what the collection itself said
                if key == name or source.partition("?")[0].rstrip("/") == stem:
                    found += values
        return _matching_paths(item, [{name: value} for value in dict.fromkeys(found)])

    def _from_siblings(self, item: Candidate) -> list[str]:
        """``/api/product/<pk>/`` takes its values from the working ``/product/<pk>/``."""
        wanted = _parameter_places(item)
        if len(wanted) < len(item.params):  # a parameter that is only part of a segment
            return []
        found: list[dict[str, str]] = []
        for other in self._candidates:
            if other.matcher is not None and other.params and _parameter_places(other) == wanted:
                matches = (other.matcher.fullmatch(unquote(path)) for path in other.working)
                found += [match.groupdict() for match in matches if match]
        return _matching_paths(item, found)


def _parameter_places(item: Candidate) -> list[tuple[str, str]]:
    """Each parameter's name with the segment before it."""
    segments = str(item.route["template"]).split("/")
    names = {"{" + param["name"] + "}": param["name"] for param in item.params}
    return [(before, names[segment]) for before, segment in pairwise(segments) if segment in names]


def _matching_paths(item: Candidate, values: Iterable[Mapping[str, str]]) -> list[str]:
    """Those paths made of these values that are paths of this route."""
    names = {param["name"] for param in item.params}
    paths = [_fill(item, each) for each in values if names <= each.keys()]
    return [path for path in paths if item.matcher is None or item.matcher.fullmatch(unquote(path))]


def is_guessable(param: Mapping[str, str]) -> bool:
    """True when a small number is a fair guess for a parameter."""
    if param["converter"] == "int":
        return True
    return param["converter"] == "str" and re.search(r"(^|_)(id|pk)$", param["name"]) is not None


def _fill(item: Candidate, values: Mapping[str, str]) -> str:
    path = str(item.route["template"])
    for param in item.params:
        safe = "/" if param["converter"] == "path" else ""
        path = path.replace("{" + param["name"] + "}", quote(values[param["name"]], safe=safe))
    return path


def _reason_untried(item: Candidate) -> str:
    if not item.params:
        return f"not asked: more than {MAX_REQUESTS} requests would have been needed"
    names = " and ".join(f"<{param['name']}>" for param in item.params)
    return f"no example value for {names}; name one with --path"


def rejection(answer: Answer, path: str, hosts: frozenset[str], query: Sequence[str] = ()) -> str:
    """The reason why a path cannot be part of a load, or "" when it can."""
    status = answer.status
    if answer.failure:
        return answer.failure
    if 200 <= status < 300 or status == 304:
        return ""
    if 300 <= status < 400:
        return _describe_redirect(answer.location, hosts)
    if query and status in (400, 422):
        example = path + "?" + "&".join(f"{name}=..." for name in query)
        return f"needs the query parameter {' and '.join(query)}; give it with --path '{example}'"
    return _STATUSES.get(status, f"answers {status}")


_STATUSES = {
    401: "needs a login",
    403: "needs a login",
    405: "does not answer GET",
    429: "limits the rate of requests (answers 429)",
}


def _describe_redirect(location: str, hosts: frozenset[str]) -> str:
    try:
        target = urlsplit(location)
    except ValueError:
        return "redirects to an address that cannot be read"
    if target.hostname and target.hostname not in {_without_port(name) for name in hosts}:
        return f"redirects to another host ({target.netloc})"
    if target.scheme == "https":
        return "redirects to https (name the header that says so with a workload file's [headers])"
    if _LOGIN.search(target.path) or "next=" in target.query:
        return "redirects to a login page"
    return f"redirects to {target.path or '/'}"


def _without_port(name: str) -> str:
    return urlsplit(f"//{name}").hostname or name


def from_paths(paths: Sequence[str], headers: Iterable[tuple[str, str]] = ()) -> Workload:
    """The workload of ``--path`` options: equal shares, a path given twice counts twice.

    Raises ValueError.
    """
    if not paths:
        raise ValueError("no path given: --path /products/")
    for path in paths:
        check_path(path)
    names = list(dict.fromkeys(paths))
    return Workload(
        endpoints=tuple(Endpoint(name, (name,), paths.count(name) / len(paths)) for name in names),
        headers=tuple(headers),
        source="paths",
        assumption=f"equal shares of {len(paths)} path{'s' * (len(paths) != 1)}",
    )


def check_path(path: str) -> None:
    """Raises ValueError unless it is the path of a request."""
    if "://" in path.partition("?")[0]:
        parts = urlsplit(path)
        only = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        raise ValueError(f"{path} names a host; the load goes to the app itself, write {only}")
    if not path.startswith("/"):
        raise ValueError(f"path {path!r} must begin with a slash: /{path}")
    if any(ord(sign) < 0x20 or sign == "\x7f" for sign in path):
        raise ValueError(f"path {path!r} holds a control character; percent-encode it")

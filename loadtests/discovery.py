"""From an application's routes to a workload: try each once, keep those that answer.

``/`` is always asked. Routes without parameters are tried as they are. Values for parameters are
taken from the application's own answers: links in its pages, identifiers in its JSON, its OpenAPI
document. Only when there are none are small numbers tried. A route that answers all paths, and an
application whose routes cannot be listed, are not one page: links and a sitemap lead to their
pages. A redirect within the site is followed, and the page it leads to measured. What does not
answer with success is left out, with the reason; nothing is left out silently. Every path of the
workload has answered once.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from pretune.loadtests import openapi
from pretune.loadtests.answers import (
    is_broken,
    is_download,
    is_login_page,
    is_static,
    is_success,
    leads_to_login,
    rejection,
)
from pretune.loadtests.asking import Answer, Asking
from pretune.loadtests.candidates import (
    GUESSES,
    PATHS_PER_ENDPOINT,
    Candidate,
    is_guessable,
    is_unsafe,
    leads_to_file,
    make_operation,
    make_page,
    sort_routes,
)
from pretune.loadtests.harvest import harvest, local_path, sitemap_paths
from pretune.loadtests.shares import DOWNLOAD, PAGE, SITE, Offered, describe_shares, share
from pretune.loadtests.workload import Coverage, Endpoint, Skipped, Workload

ROUNDS = 5  # so deep may collections stand in one another
MAX_REQUESTS = 300
MAX_SECONDS = 60.0
MAX_REDIRECTS = 2
FEW = 3
# Names that say nothing of what they name: a value of another route is none for this one.
_COMMON = frozenset({"id", "pk", "slug", "name", "key", "path", "filename", "value"})
MOST_FOLDERS = 12  # endpoints made of the pages of one site
MOST_SITEMAPS = 4
# Where applications whose routes cannot be listed describe themselves.
DOCUMENTS = ("/openapi.json", "/schema/openapi.json", "/swagger.json")

HEALTH = re.compile(
    r"/(_*(l?b?heartbeat|version)__|_?(health|alive|live|ready)(z|ness|[-_]?checks?)?|livez|liveness"
    r"|readyz|readiness|ping|metrics)/?$",
    re.IGNORECASE,
)


def probe(
    address: tuple[str, int],
    routes: Iterable[Mapping[str, Any]],
    headers: Iterable[tuple[str, str]] = (),
    asking: Asking | None = None,
) -> Workload:
    """Try the running application and return the workload that its answers allow.

    The workload is empty when nothing answered; ``skipped`` then says why for each route.
    ``asking`` None: within MAX_SECONDS.
    """
    planned = sort_routes(routes)
    root = next((item for item in planned.candidates if item.template == "/"), None)
    candidates = list(planned.candidates)
    if root is None:
        root = make_page("/")
        candidates.insert(0, root)
    owners = [(root.matcher or re.compile("/"), root), *planned.owners]
    asking = asking or Asking(MAX_SECONDS)
    explorer = _Explorer(address, dict(headers), candidates, owners, asking)
    root_status = explorer.try_one(root).status
    explorer.read_documents(planned.documents)
    explorer.read_sitemap()
    for _ in range(ROUNDS):
        explorer.try_all()
        explorer.offer_values()
        if not explorer.waiting:
            break
    explorer.try_all()
    explorer.drop_logins()
    _drop_health(candidates)
    if not root.listed and root_status == 404 and (planned.candidates or planned.skipped):
        candidates.remove(root)  # an API that has no page there
        root.reason = ""
    offered = [each for item in candidates for each in _endpoints(item)]
    endpoints = share(offered)
    failed = [
        Skipped(item.name, item.reason or explorer.reason_untried(item), item.broken)
        for item in candidates
        if not item.working and (item.reason or item.listed) and not _is_elsewhere(item, candidates)
    ]
    return Workload(
        endpoints=endpoints,
        headers=tuple(explorer.headers.items()),
        skipped=(*failed, *planned.skipped),
        source="discovered",
        assumption=describe_shares(offered),
        coverage=_cover(
            candidates,
            planned.known - sum(item.unasked for item in candidates),
            "" if explorer.arrives("/") else root.reason,
        ),
    )


def _endpoints(item: Candidate) -> list[Offered]:
    """A candidate's endpoints, their shares still weights, and the kind of each.

    The pages of a site are one endpoint for each folder they stand in. A folder weighs as much as
    it has pages: all together weigh as much as so many routes do.
    """
    if not item.is_site:
        headers = tuple(item.operation.headers.items()) if item.operation else ()
        endpoint = Endpoint(item.name, tuple(item.working), 1.0, headers=headers)
        return [(endpoint, DOWNLOAD if item.download else PAGE)] * bool(item.working)
    folders: dict[str, list[str]] = defaultdict(list)
    for path in item.working:
        folders[folder_of(path)].append(path)
    known = Counter(map(folder_of, item.known | {path.partition("?")[0] for path in item.working}))
    chosen = sorted(folders, key=lambda folder: -known[folder])[:MOST_FOLDERS]
    pages = sum(known[folder] for folder in chosen)
    return [
        (
            Endpoint(
                f"{folder}*" if len(folders[folder]) > 1 else folders[folder][0],
                tuple(folders[folder][:PATHS_PER_ENDPOINT]),
                len(chosen) * known[folder] / pages,
            ),
            SITE,
        )
        for folder in folders
        if folder in chosen
    ]


def folder_of(path: str) -> str:
    """The folder that a page stands in: ``/blog/`` of ``/blog/a/``."""
    return path.partition("?")[0].rstrip("/").rpartition("/")[0] + "/"


def _is_health(item: Candidate) -> bool:
    """True of a route that machines ask for, to see whether the application lives."""
    return HEALTH.search(item.template) is not None


def _drop_health(candidates: Sequence[Candidate]) -> None:
    """Take health checks out where anything else answers: they cost less than what users ask."""
    if any(item.working and not _is_health(item) for item in candidates):
        for item in filter(_is_health, candidates):
            item.working, item.unasked = [], True
            item.reason = item.reason or "a health check, which users do not ask"


def _is_elsewhere(item: Candidate, candidates: Sequence[Candidate]) -> bool:
    """True of a site whose pages all have candidates of their own; nothing of it is left out."""
    return item.is_site and not item.reason and any(other.working for other in candidates)


def _cover(candidates: Sequence[Candidate], known: int, root: str) -> Coverage:
    pages = [path for item in candidates for path in item.working]
    listed = [
        item for item in candidates if item.listed and not item.is_unlisted and not item.unasked
    ]
    measured = sum(
        bool(item.working) or (item.is_catch_all and any(item.matches(path) for path in pages))
        for item in listed
    )
    return Coverage(
        measured=measured,
        known=max(known, len(listed)),
        listed=not any(item.is_unlisted for item in candidates),
        root=root,
    )


class _Explorer:
    """Requests to the application, at most MAX_REQUESTS of them, as long as ``asking`` may."""

    def __init__(
        self,
        address: tuple[str, int],
        headers: dict[str, str],
        candidates: list[Candidate],
        owners: list[tuple[re.Pattern[str], Candidate | None]],
        asking: Asking,
    ) -> None:
        self.headers = headers  # sent with each request
        self._address, self._asking = address, asking
        self._candidates, self._owners = candidates, owners
        names = {f"{address[0]}:{address[1]}", f"localhost:{address[1]}"}
        names |= {value for name, value in headers.items() if name.lower() == "host"}
        self._hosts = frozenset(name.lower() for name in names)
        self._left = MAX_REQUESTS
        self._seen: set[str] = set()  # links already offered to their route
        self._logins: set[str] = set()  # paths to which the application sends those without one
        self._redirects: dict[str, str] = {}  # path -> the path it leads to
        # JSON values by key, and by the path they came from
        self._values: dict[str, dict[str, list[str]]] = {}

    @property
    def _may_ask(self) -> bool:
        return self._left > 0 and self._asking.may_ask

    @property
    def waiting(self) -> bool:
        return self._may_ask and any(item.waiting for item in self._candidates)

    def try_all(self) -> None:
        """One request to every route in turn, so that the limit is shared fairly."""
        while self.waiting:
            for item in tuple(self._candidates):
                if item.waiting and self._may_ask:
                    self.try_one(item)

    def try_one(self, item: Candidate) -> Answer:
        """Ask for the next path of a route."""
        path = item.waiting.pop(0)
        item.asked.add(path)
        extra = item.operation.headers if item.operation else {}
        answer = self._get(path, extra)
        self._judge(item, path, answer)
        return answer

    def _get(self, path: str, extra: Mapping[str, str] | None = None) -> Answer:
        self._left -= 1
        return self._asking(self._address, path, {**(extra or {}), **self.headers})

    def read_documents(self, documents: Sequence[str]) -> None:
        """Take operations and values from the application's OpenAPI documents."""
        paths = [path for path in documents if path.endswith(".json")]
        if not paths and any(item.is_unlisted for item in self._candidates):
            paths = list(DOCUMENTS)
        for path in paths[: len(DOCUMENTS)]:
            answer = self._get(path)
            operations = openapi.read(answer.body) if is_success(answer) else []
            for operation in operations:
                self._use_operation(operation, path)
            if operations and path in DOCUMENTS:
                return

    @staticmethod
    def _needs_values(item: Candidate) -> bool:
        return bool(item.params or any(item.required) or item.is_unlisted)

    def _use_operation(self, operation: openapi.Operation, document: str) -> None:
        """Give an operation to its route, or to the application that has no list of routes."""
        mount = document.rpartition("/")[0]
        wanted = {openapi.shape(base + operation.path) for base in ("", operation.base, mount)}
        for item in self._candidates:
            if not item.is_unlisted and openapi.shape(item.template) in wanted:
                if (self._needs_values(item) or operation.asks) and not item.asked:
                    item.use(operation)
                return
        example = operation.base + re.sub(r"{[^{}]*}", "zq1x", operation.path)
        owner = self._owner(example)
        if owner is not None and owner.is_unlisted:
            page = make_operation(operation)
            if page.matcher is not None:
                self._owners.insert(0, (page.matcher, page))
            self._candidates.append(page)

    def read_sitemap(self) -> None:
        """Offer the pages that a sitemap names, where there is a site to find pages of."""
        if not any(item.is_site for item in self._candidates):
            return
        waiting, read = ["/sitemap.xml"], 0
        while waiting and read < MOST_SITEMAPS and self._may_ask:
            answer, read = self._get(waiting.pop(0)), read + 1
            if is_success(answer):
                pages, further = sitemap_paths(answer.body)
                waiting += further
                for path in pages:
                    self._offer_link(path)

    def offer_values(self) -> None:
        """Offer values for the parameters of routes that have no working path yet."""
        for item in tuple(self._candidates):
            if not item.params or item.working or item.waiting or item.is_site:
                continue
            for path in (*self._from_values(item), *self._from_siblings(item)):
                item.offer(path)
            if not item.waiting and not item.guessed:
                item.guessed = True
                if all(is_guessable(param) for param in item.params):
                    query = item.operation.query_string if item.operation else ""
                    for guess in GUESSES:
                        values = {param["name"]: guess for param in item.params}
                        item.offer(item.fill(values) + query)

    def drop_logins(self) -> None:
        """Take out the pages to which the application sends those that are not logged in."""
        for item in self._candidates:
            kept = [path for path in item.working if path.partition("?")[0] not in self._logins]
            if len(kept) < len(item.working):
                item.working, item.reason = kept, item.reason or "a login page"

    def arrives(self, path: str) -> bool:
        """True where a path, or the page its redirects lead to, is measured."""
        measured = {each.partition("?")[0] for item in self._candidates for each in item.working}
        for _ in range(MAX_REDIRECTS + 1):
            if path in measured:
                return True
            path = self._redirects.get(path, path)
        return False

    def reason_untried(self, item: Candidate) -> str:
        """The reason why a route has not been asked."""
        if item.is_site:
            return "answers all paths, and no link or sitemap leads to one"
        if item.params and not item.waiting:
            names = " and ".join(f"<{param['name']}>" for param in item.params)
            return f"no example value for {names}; name one with --path"
        if self._left > 0:
            return self._asking.too_long
        return f"not asked: more than {MAX_REQUESTS} requests would have been needed"

    def _judge(self, item: Candidate, path: str, answer: Answer) -> None:
        reason = rejection(answer, path, self._hosts, *item.required)
        if not reason:
            reason = self._not_a_page(item, path, answer)
        if not reason:
            item.working.append(path)
            item.download = item.download or is_download(answer)
        elif not item.reason:
            item.reason, item.broken = reason, is_broken(answer)
        if answer.location:
            self._follow(item, path, answer.location)
        if not is_success(answer):
            return
        found = harvest(answer.body, answer.content_type, path, self._hosts)
        for link in found.links:
            self._offer_link(link)
        for key, values in found.values.items():
            collected = self._values.setdefault(key, {}).setdefault(path, [])
            collected += [value for value in values if value not in collected]

    def _not_a_page(self, item: Candidate, path: str, answer: Answer) -> str:
        """The reason why an answer with success is still not what a user asks for, or ""."""
        if is_login_page(path, answer):
            return "a login page"
        if is_static(path, answer):
            return "a static file, which a web server in front should serve"
        if item.is_site and is_download(answer):
            return "a download; name it with --path to measure it"
        return ""

    def _follow(self, item: Candidate, path: str, location: str) -> None:
        """Offer the page that a redirect within the site leads to."""
        target = local_path(location, path, self._hosts)
        if target is None:
            return
        plain = target.partition("?")[0]
        if leads_to_login(location):
            self._logins.add(plain)
            return
        self._redirects[path] = plain
        if any(matcher.fullmatch(plain) for matcher, _ in self._owners) and not item.matches(plain):
            self._offer_link(target)
        elif item.redirects < MAX_REDIRECTS:
            owner = self._owner(plain) if item.matches(plain) else None
            if owner is item:
                item.redirects += 1
                item.offer(target)
            elif owner is None:
                page = make_page(target, item.redirects + 1)
                self._candidates.append(page)
                if page.matcher is not None:
                    self._owners.insert(0, (page.matcher, page))

    def _owner(self, path: str) -> Candidate | None:
        """The route that answers a path, None where that is no part of a load."""
        plain = unquote(path)
        return next((item for matcher, item in self._owners if matcher.fullmatch(plain)), None)

    def _offer_link(self, link: str | None) -> None:
        if link is None or link in self._seen or is_unsafe(link):
            return
        path, _, query = link.partition("?")
        item = self._owner(path)
        if item is None or (item.is_site and leads_to_file(link)):
            return
        if item.is_site:
            item.known.add(path)
        if item.params or item.is_catch_all:
            self._seen.add(link)
            item.offer(link if item.is_site else path)
        elif query and not item.working and (item.asked or any(item.required)):
            item.offer(link)  # it does not answer without a query: this one is the app's own

    def _from_values(self, item: Candidate) -> list[str]:
        """Paths whose last parameter is a JSON value of the collection that they stand in.

        ``/buckets/{bucket}/records/{id}`` takes each id that ``/buckets/tea/records`` said. With
        one parameter a value of its own name may come from anywhere.
        """
        name = item.params[-1]["name"]
        head, _, tail = item.template.rpartition("{" + name + "}")
        stem = re.compile("[^/]+".join(map(re.escape, re.split(r"{[^{}]*}", head.rstrip("/")))))
        found: list[str] = []
        for key in (name, name.rpartition("_")[2], "id" if name == "pk" else name):
            for source, values in self._values.get(key, {}).items():
                collection = source.partition("?")[0].rstrip("/")
                if len(item.params) == 1:
                    # an "id" is the wanted one only in what the collection itself said
                    if key == name or stem.fullmatch(collection):
                        found += [item.fill({name: value}) for value in values]
                elif head.endswith("/") and stem.fullmatch(collection):
                    found += [f"{collection}/{quote(value, safe='')}{tail}" for value in values]
        unique = dict.fromkeys(found)
        return [path for path in unique if item.matcher is None or item.matches(path)]

    def _from_siblings(self, item: Candidate) -> list[str]:
        """``/api/product/<pk>/`` takes its values from the working ``/product/<pk>/``.

        Where no other route has its parameters in such places, a few values of the same names.
        """
        wanted = item.parameter_places()
        alike, namesakes = [], []
        for other in self._candidates:
            if other.matcher is None or not other.params:
                continue
            matches = (
                other.matcher.fullmatch(unquote(path.partition("?")[0])) for path in other.working
            )
            values = [match.groupdict() for match in matches if match]
            # a parameter that is only part of a segment has no place
            if len(wanted) == len(item.params) and other.parameter_places() == wanted:
                alike += values
            namesakes += values
        names = [param["name"] for param in item.params]
        if not alike and not any(name in _COMMON for name in names):
            return item.fill_matching(namesakes)[:FEW]
        return item.fill_matching(alike)


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

"""The requests of a log by the application's own routes, and the workload that they make.

A path is the route's whose expression matches it first, in the order in which the framework asks
them. Of a request nothing but its route goes on: identifiers of the log may not exist in the
database under test, and may be nobody's business. The paths that are asked are those that discovery
has found in the running application.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote_to_bytes

from pretune.loadtests.access_logs.log import AccessLog, format_moment
from pretune.loadtests.access_logs.tally import Tally
from pretune.loadtests.candidates import leads_to_file
from pretune.loadtests.discovery import HEALTH, folder_of
from pretune.loadtests.workload import Endpoint, Skipped, Workload

SAFE = ("GET", "HEAD")
_LEAST_SHARE = 5e-4  # of a load's requests; a rarer route never gets its 30 requests
# why requests are no part of the load
UNSAFE = "requests that may change data"
FAILED = "answered with an error"
REDIRECTED = "redirected"
HEALTH_CHECK = "health checks"
STATIC = "static files, which a web server in front should serve"
NO_ROUTE = "of no route of this application"
OTHER = "of paths too many to tell apart"


@dataclass
class Mix:
    """Requests by route. ``pages``: those of routes that stand for a whole site, by their paths."""

    requests: int
    routes: Counter[str] = field(default_factory=Counter)
    pages: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)


def sort_requests(tally: Tally, routes: Iterable[Mapping[str, Any]]) -> Mix:
    """Give each request its route, or the reason why it is no part of a load."""
    matchers = [(re.compile(each["regex"]), each) for each in routes if each["regex"]]
    mix = Mix(tally.targets.total())
    good = Counter(tally.targets)
    # Where paths were folded, the two counts may be under different paths of one route: some are
    # below zero then, and their sum is right.
    for (target, status), count in tally.others.items():
        reason = _reason(status)
        if reason:
            good[target] -= count
            mix.left_out[_unsafe(target) or reason] += count
    for target, count in good.items():
        reason, route, path = _place(target, matchers)
        if reason:
            mix.left_out[reason] += count
        elif route is not None:
            mix.routes[route] += count
        else:
            mix.pages[path] += count
    return mix


def _reason(status: bytes) -> str:
    if status.startswith(b"2") or status == b"304":
        return ""
    return REDIRECTED if status.startswith(b"3") else FAILED


def _unsafe(target: bytes) -> str:
    return "" if target.partition(b" ")[0].decode() in SAFE else UNSAFE


def _place(
    target: bytes, matchers: list[tuple[re.Pattern[str], Mapping[str, Any]]]
) -> tuple[str, str | None, str]:
    """Return reason, route and path of a target; no route and no reason for a page of a site."""
    if not target:
        return OTHER, None, ""
    if _unsafe(target):
        return UNSAFE, None, ""
    path = _path(target)
    if HEALTH.search(path):
        return HEALTH_CHECK, None, path
    for matcher, route in matchers:
        methods = route["methods"]
        if (methods is not None and "GET" not in methods) or not matcher.fullmatch(path):
            continue
        if route["kind"] == "static":
            return STATIC, None, path
        if route["kind"] == "unlisted":
            return "", None, path
        return "", str(route["pattern"]), path
    return STATIC if leads_to_file(path) else NO_ROUTE, None, path


def _path(target: bytes) -> str:
    raw = target.partition(b" ")[2]
    if not raw.startswith(b"/"):  # with the site before it, as a load balancer writes it
        raw = b"/" + raw.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(raw).decode(errors="replace")


def weigh(workload: Workload, mix: Mix, log: AccessLog) -> Workload:
    """The discovered workload with the log's shares.

    Endpoints that the log does not know get none; routes of the log that did not answer here are
    named with their part of its requests.
    """
    counts = {each.name: mix.routes[each.name] for each in workload.endpoints}
    for path, count in mix.pages.items():
        owner = _owner(path, workload.endpoints)
        if owner is None:
            mix.left_out[NO_ROUTE] += count
        else:
            counts[owner] += count
    total = sum(counts.values())
    kept = {name: n for name, n in counts.items() if total and n / total >= _LEAST_SHARE}
    whole = sum(kept.values())
    reasons = {each.name: each.reason for each in workload.skipped}
    missing = [
        Skipped(
            name,
            f"{reasons.get(name, 'no path of it answered here')}; "
            f"{_percent(n, mix.requests)} of the log's requests",
        )
        for name, n in mix.routes.most_common()
        if name not in counts
    ]
    named = {each.name for each in missing}
    return replace(
        workload,
        endpoints=tuple(
            replace(each, share=kept[each.name] / whole)
            for each in workload.endpoints
            if each.name in kept
        ),
        skipped=(*missing, *(s for s in workload.skipped if s.name not in named)),
        source="log",
        coverage=replace(workload.coverage, measured=len(kept)) if workload.coverage else None,
        assumption=_describe(whole, mix, log),
        peak_rps=log.rates.peak_rps * whole / mix.requests if log.rates else None,
        peak_at=format_moment(log.rates.peak_minute) if log.rates else "",
    )


def _describe(whole: int, mix: Mix, log: AccessLog) -> str:
    """Say where the shares come from, and which part of the log is not in them."""
    part = _percent(whole, mix.requests)
    text = f"the shares of {part} of the {mix.requests:,} requests in {log.name}"
    left = [f"{_percent(n, mix.requests)} {why}" for why, n in mix.left_out.most_common() if n > 0]
    return f"{text}; left out: {'; '.join(left)}" if left else text


def _owner(path: str, endpoints: Iterable[Endpoint]) -> str | None:
    """The endpoint of a page: itself, or the pages of its folder."""
    names = {each.name for each in endpoints}
    if path in names:
        return path
    folder = folder_of(path) + "*"
    return folder if folder in names else None


def _percent(part: float, whole: float) -> str:
    share = 100 * part / whole
    return f"{share:.0f}%" if share >= 10 else f"{share:.2g}%"

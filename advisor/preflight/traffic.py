"""Which traffic the trials get: what the user named, else the routes of the app that answer."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretune.advisor.failure import AppFailed, Refused
from pretune.advisor.preflight import booting
from pretune.advisor.preflight.options import Options
from pretune.advisor.profiler import causes
from pretune.advisor.profiler.peers import Peer, watch_peers
from pretune.advisor.time_budget import TimeBudget
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.logs import log_tail
from pretune.loadtests import discovery, slow
from pretune.loadtests import file as workload_file
from pretune.loadtests.access_logs import mix
from pretune.loadtests.access_logs.log import AccessLog, read_log
from pretune.loadtests.answers import rejection
from pretune.loadtests.asking import Answer, Asking, ask
from pretune.loadtests.session import Driver, DriverFailed
from pretune.loadtests.workload import Skipped, Workload
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import BOOT_SECONDS, Launch
from pretune.server.adapters.process import ServerProcess, session_pids
from pretune.server.settings import Settings

THREADS = 2  # one slow route must not hold up the others
AGAIN_S = 20.0  # for second tries of slow routes
PEERS_EVERY_S = 0.01  # a connection may last for one query only
TRIES_PART = 0.5  # of the time that is left, for all routes: the trials need the other half
STOP_SECONDS = 5.0
STOP_PART = 0.05  # of the time budget


def find_workload(
    options: Options,
    spec: str,
    inspection: Mapping[str, Any],
    environ: Mapping[str, str],
    workspace: Workspace,
    check_peers: Callable[[set[Peer]], None],
    time_budget: TimeBudget,
    inspected_s: float,
) -> Workload:
    """Find what the user named, else what the app offers; each path is tried once.

    ``check_peers`` gets what the app has connected to outside this machine meanwhile, and may
    raise; that goes before an app that fails. ``inspected_s`` is Preflight's. Raises AppFailed,
    OutOfTime, Refused.
    """
    headers = tuple(_headers(inspection).items())
    try:
        with time_budget.not_counted("reading the access log"):
            log = _read_log(options)
        given = None if log else _given_workload(options, headers)
    except (OSError, ValueError) as error:
        raise Refused(str(error)) from error
    if given is not None and given.locustfile:
        return describe_users(given, given.locustfile, workspace)
    server = _start(options, spec, inspection, environ, workspace)
    reached: set[Peer] = set()
    try:
        with watch_peers(lambda: session_pids(server.master_pid), PEERS_EVERY_S, 0.5) as reached:
            address = booting.wait_ready(
                server,
                time_budget.within(BOOT_SECONDS),
                inspected_s,
                "the server on which routes are tried",
                workspace.log("routes"),
            )
            keep_s = (1 - TRIES_PART) * time_budget.left_s
            timed = Timed()
            asking = Asking(time_budget.within(discovery.MAX_SECONDS, keep_s), timed)
            routes = inspection["routes"]
            if given is None:
                workload = discovery.probe(address, routes, headers, asking)
            elif all(each.paths for each in given.endpoints):
                workload = tried(address, given, asking)
            else:
                offered = discovery.probe(address, routes, given.headers, asking)
                workload = tried(address, with_paths(given, offered), asking)
            if log is not None:
                workload = mix.weigh(workload, mix.sort_requests(log.tally, routes), log)
            workload = slow.set_apart(timed.with_times(address, workload, asking.left_s))
    finally:
        server.stop(min(STOP_SECONDS, STOP_PART * time_budget.seconds))
        workspace.forget_if_empty(server.master_pid)
        check_peers(reached)
    if not workload.endpoints and log is not None and workload.coverage:
        raise Refused(
            f"no request of {log.name} is of a page that answers here: {workload.assumption}"
        )
    if not workload.endpoints:
        raise _nothing_answers(workload, named=given is not None, log=workspace.log("routes"))
    return workload


def describe_users(given: Workload, locustfile: Path, workspace: Workspace) -> Workload:
    """Import a locustfile where it will run, and say who its users are. Raises Refused."""
    try:
        driver = Driver.start(on_spawn=workspace.spawned, env=workspace.marked(os.environ))
        try:
            users, left_out = driver.describe(locustfile)
        finally:
            driver.close()
            workspace.forget_if_empty(driver.pid)
    except DriverFailed as error:
        raise Refused(str(error)) from error
    said = [f"{name} is {reason}" for name, reason in left_out]
    said += [
        f"the fixed_count of {each.name} counts as a weight of {each.weight:g}"
        for each in users
        if each.fixed and len(users) > 1
    ]
    return replace(given, users=users, assumption="; ".join(said))


def _start(
    options: Options,
    spec: str,
    inspection: Mapping[str, Any],
    environ: Mapping[str, str],
    workspace: Workspace,
) -> ServerProcess:
    """Start one worker of the embedded server, on which the routes are tried."""
    wsgi = inspection["interface"] == "wsgi"
    return embedded.start(
        Launch(
            target=spec,
            settings=Settings(
                workers=1,
                threads=THREADS if wsgi else 1,
                worker_class="gthread" if wsgi else "asgi",
            ),
            python=options.location.python,
            chdir=options.location.chdir,
            env=workspace.marked(environ),
            log=workspace.log("routes"),
            on_spawn=workspace.spawned,
        )
    )


def _read_log(options: Options) -> AccessLog | None:
    """Read what is neither a workload file nor a locustfile: an access log, or several."""
    if options.workload is None or options.workload.suffix in workload_file.SUFFIXES:
        return None
    return read_log(options.workload, options.log_format)


def _given_workload(options: Options, headers: tuple[tuple[str, str], ...]) -> Workload | None:
    if options.workload:
        return workload_file.read(options.workload, dict(headers))
    if options.paths:
        return discovery.from_paths(options.paths, headers)
    return None


class Timed:
    """Asks, and keeps how long each path took to answer."""

    def __init__(self, ask: Callable[..., Answer] = ask) -> None:
        self._ask = ask
        self._seconds: dict[str, float] = {}

    def __call__(
        self, address: tuple[str, int], path: str, headers: Mapping[str, str], *timeout: float
    ) -> Answer:
        began = time.monotonic()
        answer = self._ask(address, path, headers, *timeout)
        took = time.monotonic() - began
        self._seconds[path] = min(took, self._seconds.get(path, took))
        return answer

    def with_times(
        self, address: tuple[str, int], workload: Workload, seconds: float = AGAIN_S
    ) -> Workload:
        """The workload with each endpoint's time: of its quickest path, and of a second try where
        the first was slow, which may have been for what only a first request does."""
        endpoints, until = [], time.monotonic() + min(AGAIN_S, seconds)
        for each in workload.endpoints:
            for path in each.paths[:1]:
                slow_s = self._seconds.get(path, 0.0)
                if slow_s >= slow.SLOW_S and time.monotonic() + slow_s < until:
                    self(address, path, dict((*workload.headers, *each.headers)))
            known = [self._seconds[path] for path in each.paths if path in self._seconds]
            endpoints.append(replace(each, tried_s=min(known, default=0.0)))
        return replace(workload, endpoints=tuple(endpoints))


def with_paths(given: Workload, offered: Workload) -> Workload:
    """The user's workload with the paths that the app offers for the routes it names."""
    found = {each.name: each for each in offered.endpoints}
    reasons = {each.name: each.reason for each in offered.skipped}
    return replace(
        given,
        endpoints=tuple(
            replace(found[each.name], share=each.share) if each.name in found else each
            for each in given.endpoints
            if each.paths or each.name in found
        ),
        skipped=(
            *given.skipped,
            *(
                Skipped(each.name, reasons.get(each.name, "no route of the application"))
                for each in given.endpoints
                if not each.paths and each.name not in found
            ),
        ),
    )


def tried(address: tuple[str, int], workload: Workload, asking: Asking) -> Workload:
    """Keep the user's endpoints that answer; the shares of the others are spread over them."""
    headers = dict(workload.headers)
    hosts = frozenset(v.lower() for k, v in workload.headers if k.lower() == "host")
    good, skipped = [], list(workload.skipped)
    for endpoint in workload.endpoints:
        if endpoint.method not in ("GET", "HEAD"):
            good.append(endpoint)
            continue
        for path in endpoint.paths:
            if not asking.may_ask:
                skipped.append(Skipped(endpoint.name, asking.too_long))
                break
            reason = rejection(asking(address, path, headers), path, hosts)
            if reason:
                skipped.append(Skipped(endpoint.name, reason))
                break
        else:
            good.append(endpoint)
    total = sum(e.share for e in good)
    return replace(
        workload,
        endpoints=tuple(replace(e, share=e.share / total) for e in good),
        skipped=tuple(skipped),
    )


def _nothing_answers(workload: Workload, *, named: bool, log: Path) -> AppFailed | Refused:
    """An application that fails has failed; one that asks for more than was given is refused."""
    skipped = workload.skipped
    held = any("login" in each.reason or "redirects" in each.reason for each in skipped)
    if named or (any(each.broken for each in skipped) and not held):
        told = causes.explain(causes.find_causes([causes.read_since(log, 0)]))
        return AppFailed("no_route_works", _why_none(skipped) + told, log_tail=log_tail(log))
    way = "name a route with --path"
    if any("login" in each.reason for each in skipped):
        way += ", or log in with a workload file's [headers] or a locustfile"
    return Refused(f"{_why_none(skipped)}: {way}")


def _why_none(skipped: Sequence[Skipped]) -> str:
    shown = "; ".join(f"{each.name}: {each.reason}" for each in skipped[:8])
    more = len(skipped) - 8
    text = f"no route answers with success ({shown}"
    return text + (f"; and {more} more)" if more > 0 else ")")


def _headers(inspection: Mapping[str, Any]) -> dict[str, str]:
    """Return the headers that the app's settings demand of a request to be taken for its own."""
    host = {"Host": inspection["host"]} if inspection.get("host") else {}
    return {**host, **(inspection.get("headers") or {})}

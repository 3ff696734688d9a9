"""Which traffic the trials get: what the user named, else the routes of the app that answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pretune.advisor.failure import AppFailed, Refused
from pretune.advisor.preflight.options import Options
from pretune.advisor.profiler import causes
from pretune.advisor.profiler.peers import Peer, watch_peers
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.logs import log_tail
from pretune.loadtests import discovery, slow
from pretune.loadtests import file as workload_file
from pretune.loadtests.answers import rejection
from pretune.loadtests.asking import Answer, ask
from pretune.loadtests.workload import Skipped, Workload
from pretune.server.adapters import embedded
from pretune.server.adapters.launch import BootFailed, Launch
from pretune.server.adapters.process import ServerProcess, session_pids
from pretune.server.settings import Settings

THREADS = 2  # one slow route must not hold up the others
AGAIN_S = 20.0  # for second tries of slow routes
PEERS_EVERY_S = 0.01  # a connection may last for one query only


def find_workload(
    options: Options,
    spec: str,
    inspection: Mapping[str, Any],
    environ: Mapping[str, str],
    workspace: Workspace,
    check_peers: Callable[[set[Peer]], None],
) -> Workload:
    """Find what the user named, else what the app offers; each path is tried once.

    ``check_peers`` gets what the app has connected to outside this machine meanwhile, and may
    raise; that goes before an app that fails. Raises AppFailed, Refused.
    """
    headers = tuple(_headers(inspection).items())
    try:
        given = _given_workload(options, headers)
    except (OSError, ValueError) as error:
        raise Refused(str(error)) from error
    if given is not None and given.locustfile:
        return given
    server = _start(options, spec, inspection, environ, workspace)
    reached: set[Peer] = set()
    try:
        with watch_peers(lambda: session_pids(server.master_pid), PEERS_EVERY_S, 0.5) as reached:
            address = server.wait_ready(options.boot_s)
            timed = Timed()
            if given is not None:
                workload = tried(address, given, timed)
            else:
                workload = discovery.probe(address, inspection["routes"], headers, timed)
            workload = slow.set_apart(timed.with_times(address, workload))
    except BootFailed as error:
        tail = log_tail(workspace.log("routes"))
        raise AppFailed("boot", str(error), error.traceback, tail) from error
    except TimeoutError as error:
        tail = log_tail(workspace.log("routes"))
        raise AppFailed("boot_hangs", str(error), log_tail=tail) from error
    finally:
        server.stop(5.0)
        workspace.forget_if_empty(server.master_pid)
        check_peers(reached)
    if not workload.endpoints:
        raise _nothing_answers(workload, named=given is not None, log=workspace.log("routes"))
    return workload


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

    def __call__(self, address: tuple[str, int], path: str, headers: Mapping[str, str]) -> Answer:
        began = time.monotonic()
        answer = self._ask(address, path, headers)
        took = time.monotonic() - began
        self._seconds[path] = min(took, self._seconds.get(path, took))
        return answer

    def with_times(self, address: tuple[str, int], workload: Workload) -> Workload:
        """The workload with each endpoint's time: of its quickest path, and of a second try where
        the first was slow, which may have been for what only a first request does."""
        endpoints, until = [], time.monotonic() + AGAIN_S
        for each in workload.endpoints:
            for path in each.paths[:1]:
                slow_s = self._seconds.get(path, 0.0)
                if slow_s >= slow.SLOW_S and time.monotonic() + slow_s < until:
                    self(address, path, dict((*workload.headers, *each.headers)))
            known = [self._seconds[path] for path in each.paths if path in self._seconds]
            endpoints.append(replace(each, tried_s=min(known, default=0.0)))
        return replace(workload, endpoints=tuple(endpoints))


def tried(
    address: tuple[str, int], workload: Workload, ask: Callable[..., Answer] = ask
) -> Workload:
    """Keep the user's endpoints that answer; the shares of the others are spread over them."""
    headers = dict(workload.headers)
    hosts = frozenset(v.lower() for k, v in workload.headers if k.lower() == "host")
    good, skipped = [], list(workload.skipped)
    for endpoint in workload.endpoints:
        if endpoint.method not in ("GET", "HEAD"):
            good.append(endpoint)
            continue
        for path in endpoint.paths:
            reason = rejection(ask(address, path, headers), path, hosts)
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

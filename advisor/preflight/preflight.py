"""Everything that must be known before the first load: target, limits, database, routes."""

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from pretune.advisor.confidential import hide, known_secrets
from pretune.advisor.deployed import conf, looking
from pretune.advisor.deployed.arguments import Said
from pretune.advisor.deployed.files import Place
from pretune.advisor.deployed.notes import module_names, note_bounds
from pretune.advisor.deployed.value import Look
from pretune.advisor.failure import Refused
from pretune.advisor.preflight import inspection, reverse_proxy, traffic
from pretune.advisor.preflight.app_databases import read_databases, read_thread_limit
from pretune.advisor.preflight.facts import Facts, LeftOpen
from pretune.advisor.preflight.options import DEFAULT_TIME_BUDGET_S, Options
from pretune.advisor.preflight.servers import Servers, choose
from pretune.advisor.preflight.target import Target
from pretune.advisor.profiler import causes
from pretune.advisor.profiler.peers import Peer, find_postgres
from pretune.advisor.progress import Progress
from pretune.advisor.resources import limits, postgres, postgres_url
from pretune.advisor.resources.budget import Budget, Slo, reserve
from pretune.advisor.resources.postgres import PostgresLimits
from pretune.advisor.time_budget import TimeBudget
from pretune.advisor.workspace import cores
from pretune.advisor.workspace.directory import Workspace
from pretune.advisor.workspace.hooks import run_setup
from pretune.server.adapters.launch import BOOT_SECONDS

# Loaded, an app may connect to what the environment names.
POSTGRES_DRIVERS = frozenset({"psycopg", "psycopg2", "asyncpg"})
MOST_PEERS = 8  # named in a note
_REMEDY = "let it use a test database here (DATABASE_URL, --env-file), or add --allow-remote-db"


@dataclass(frozen=True, kw_only=True)
class Preflight(Facts):
    """The facts, and what a trial needs besides: handles and secrets, which nothing stores.

    ``environ`` is the app's whole environment; ``database_urls`` are all that the app is set to
    use, ``database_url`` the one that is measured.
    """

    environ: Mapping[str, str]
    database_url: str | None
    database_urls: tuple[str, ...]
    core_plan: cores.CorePlan
    # where no trial may reach a Postgres of another machine; None: --allow-remote-db
    postgres_ports: frozenset[int] | None = None
    time_budget_s: float = DEFAULT_TIME_BUDGET_S
    inspected_s: float = 0.0  # that a process took here to start, to import the app and to look

    @property
    def facts(self) -> Facts:
        """The facts that may be stored."""
        return Facts(**{each.name: getattr(self, each.name) for each in fields(Facts)})


def run(
    options: Options,
    workspace: Workspace,
    progress: Progress,
    learned: Callable[[Mapping[str, str]], None] = lambda environ: None,
    time_budget: TimeBudget | None = None,
) -> Preflight:
    """Raises AppFailed, OutOfTime, Refused, HookError.

    ``learned`` gets the app's environment as soon as it is known, whatever happens afterwards.
    ``time_budget`` None: the options', from now on.
    """
    time_budget = time_budget or TimeBudget(options.time_budget_s)
    location = options.location
    installed = reverse_proxy.find_installed(options.front, options.statics)
    environ = dict(options.environ)
    secrets = known_secrets(environ, location.config.get("setup") or "")
    if options.database_url:
        _refuse_remote(options.database_url, environ, options.allow_remote_db)
        environ["DATABASE_URL"] = options.database_url
    if location.config.get("setup"):
        progress.phase("setup", hide(location.config.get("setup"), secrets), 4.0)
    with time_budget.not_counted("set-up"):
        environ = environ | run_setup(
            setup=location.config.get("setup"),
            teardown=location.config.get("teardown"),
            workspace=workspace,
            chdir=location.chdir,
            python=location.python,
            environ=environ,
        )
    if options.database_url:  # what the user says now beats what setup started
        environ["DATABASE_URL"] = options.database_url
    learned(environ)
    _refuse_remote(environ.get("DATABASE_URL", ""), environ, options.allow_remote_db)
    progress.phase("preflight", f"importing {location.spec}", 3.0)
    seconds = time_budget.within(BOOT_SECONDS)
    began = time.monotonic()
    inspected = inspection.inspect(
        location.spec, location.chdir, location.python, environ, workspace, seconds
    )
    inspected_s = time.monotonic() - began
    target = _target(options, inspected)
    progress.update("reading the deployment's files")
    look = _find_deployment(options, target, environ, workspace)
    deployed = look.deployed.server if look.deployed is not None else None
    servers = choose(options.server, target.interface, target.python, deployed)
    budget = _budget(options)
    notes = _of_deployment(look, servers, target.interface, budget, options)
    url, source = _database_url(options, environ, inspected)
    named = [each.get("url") or "" for each in inspected.get("databases", ())]
    if POSTGRES_DRIVERS & inspected["versions"].keys():
        named.append(_from_environment(environ))
    for each in dict.fromkeys(named):
        if each != environ.get("DATABASE_URL"):  # which was looked at before the app ran
            _refuse_remote(each, environ, options.allow_remote_db)
    database = None
    if url and not postgres_url.is_postgres(url):
        notes.append(f"{source} is not Postgres: its connections are not measured.")
        url = None
    if url:
        progress.update("asking Postgres for its limits")
        try:
            url = postgres_url.complete(url, environ)
            database = postgres.inspect(url)
        except postgres_url.PostgresError as error:
            told = causes.explain(causes.find_causes([str(error)]))
            raise Refused(f"{source}: {error}{told}") from error
        budget = _with_connections(budget, options, database)
        if database.pooler and database.pooler.problem:
            notes.append(
                f"A connection pooler ({database.pooler.kind}) stands before Postgres and does "
                f"not show its limits: {database.pooler.problem}. The limits of Postgres itself "
                "are used."
            )
    progress.update("trying the routes")
    ports = None
    if not options.allow_remote_db:
        ports = _postgres_ports([*named, url or ""], environ)

    def check_peers(reached: set[Peer]) -> None:
        refuse_postgres(reached, ports)
        notes.extend(_of_peers(reached))

    workload = traffic.find_workload(
        options, location.spec, inspected, environ, workspace, check_peers, time_budget, inspected_s
    )
    if workload.peak_rps and not options.rps:
        notes.append(
            f"The log's busiest minute, {workload.peak_at} UTC, had {workload.peak_rps:.3g} of "
            "these requests/s: that is the rate to carry. --rps N asks for another."
            if workload.peak_at
            else f"The workload file asks for {workload.peak_rps:.3g} requests/s."
        )
    available = frozenset(os.sched_getaffinity(0))
    return Preflight(
        target=target,
        budget=budget,
        slo=Slo(p95_s=options.p95_s, rps=options.rps or workload.peak_rps),
        workload=workload,
        environ=environ,
        database=database,
        database_url=url,
        core_plan=cores.plan(available, budget.cores),
        servers=servers,
        boot_memory=inspected["boot_memory"],
        settings=inspected.get("settings"),
        database_urls=tuple(d["url"] for d in inspected.get("databases", ()) if d.get("url")),
        look=look,
        notes=tuple(notes),
        postgres_ports=ports,
        time_budget_s=time_budget.seconds,
        inspected_s=inspected_s,
        front=replace(installed, statics=reverse_proxy.choose_statics(inspected, options.statics))
        if installed
        else None,
        app_databases=read_databases(inspected),
        thread_limit=read_thread_limit(inspected),
        left_open=tuple(LeftOpen(**each) for each in inspected.get("left_open", ())),
    )


def _target(options: Options, inspected: Mapping[str, Any]) -> Target:
    location = options.location
    return Target(
        spec=location.spec,
        chdir=location.chdir,
        python=location.python,
        interface=inspected["interface"],
        framework=inspected["framework"],
        callable_name=inspected["callable"],
        file=Path(inspected["file"]) if inspected.get("file") else None,
        python_version=inspected["python_version"],
        boot_s=inspected["boot_s"],
    )


def _find_deployment(
    options: Options, target: Target, environ: Mapping[str, str], workspace: Workspace
) -> Look:
    """Look for what the project's own files start, by the deployment's number of cores."""
    cores_there = options.cores or len(os.sched_getaffinity(0))
    count = max(1, math.ceil(cores_there))

    def ask(path: str, shown: str, more: Mapping[str, str]) -> Said | str:
        return conf.ask(
            path, shown, chdir=target.chdir, python=target.python, environ={**environ, **more},
            cores=count, workspace=workspace,
        )  # fmt: skip

    file = target.file or options.location.file
    directory = file.parent if file is not None else target.chdir
    names = module_names(target.spec, target.callable_name, file, target.chdir)
    return looking.find_deployment(Place(directory, target.chdir, names, count, ask))


def _of_deployment(
    look: Look, servers: Servers, interface: str, budget: Budget, options: Options
) -> list[str]:
    """Notes: what could not be read, and where the answer is for something else."""
    deployed = look.deployed
    if deployed is None:
        return [f"The deployment's files: {problem}." for problem in look.problems]
    sentences = [f"The deployment's files: {problem}." for problem in deployed.problems]
    sentences += [f"{note}." for note in note_bounds(deployed, budget, tuple(options.sources))]
    if servers.verified not in (deployed.server, options.server):
        sentences.append(
            f"{deployed.where} starts {deployed.server}, which is not installed in the app's "
            f"environment for {interface.upper()}; the answer is for {servers.label}."
        )
    return sentences


def _budget(options: Options) -> Budget:
    machine = limits.detect()
    ram = options.ram_bytes or machine.ram_bytes
    given = options.sources
    sources = (
        ("ram_bytes", given.get("ram", machine.sources["ram_bytes"])),
        ("cores", given.get("cores", machine.sources["cores"])),
        ("fds", machine.sources["fds"]),
    )
    return Budget(
        ram_bytes=ram,
        cores=options.cores or machine.cores,
        pg_connections=options.pg_connections,
        fds=machine.fds,
        instances=options.instances or 1,
        any_number=options.instances is None,
        cpu_factor=options.cpu_factor,
        reserve_bytes=reserve(ram),
        sources=sources,
    )


def _with_connections(budget: Budget, options: Options, database: PostgresLimits) -> Budget:
    if options.pg_connections is not None:
        source = options.sources["pg_connections"]
        return replace(budget, sources=(*budget.sources, ("pg_connections", source)))
    source = database.source
    return replace(
        budget,
        pg_connections=database.available,
        sources=(*budget.sources, ("pg_connections", source)),
    )


def _database_url(
    options: Options, environ: Mapping[str, str], inspected: Mapping[str, Any]
) -> tuple[str | None, str]:
    """The first that is named: the flag, the environment, the app's own settings."""
    if options.database_url:
        return options.database_url, "--database-url"
    if environ.get("DATABASE_URL"):
        return environ["DATABASE_URL"], "DATABASE_URL"
    for database in inspected.get("databases", ()):
        if database.get("url"):
            return database["url"], f"the app's database ({database.get('engine', 'settings')})"
    return None, ""


def _refuse_remote(text: str, environ: Mapping[str, str], allowed: bool) -> None:
    """Raises Refused for a Postgres of another machine, unless it is allowed."""
    try:
        if allowed or not postgres_url.is_postgres(text) or postgres_url.is_local(text, environ):
            return
    except postgres_url.Malformed as error:
        raise Refused(str(error)) from None
    shown = postgres_url.redact(text)
    hosts = ", ".join(sorted({each.host for each in postgres_url.addresses(text, environ)}))
    where = shown if hosts in shown else f"{shown} (which leads to {hosts})"
    raise Refused(
        f"the database {where} is not on this machine, and the load would reach it; {_REMEDY}"
    )


def _from_environment(environ: Mapping[str, str]) -> str:
    """Return the URL that a driver without one connects to; "" without a host in ``environ``."""
    names = ("PGHOST", "PGHOSTADDR", "PGSERVICE")
    database = environ.get("PGDATABASE") or environ.get("PGUSER") or "postgres"
    return f"dbname={database}" if any(environ.get(name) for name in names) else ""


def _postgres_ports(named: list[str], environ: Mapping[str, str]) -> frozenset[int]:
    """The ports that the app's own settings give for Postgres. Raises nothing."""
    ports: set[int] = set()
    for text in filter(postgres_url.is_postgres, named):
        with contextlib.suppress(postgres_url.Malformed):
            ports |= {each.port for each in postgres_url.addresses(text, environ)}
    if environ.get("PGPORT", "").isdigit():
        ports.add(int(environ["PGPORT"]))
    return frozenset(ports)


def refuse_postgres(reached: set[Peer], ports: frozenset[int] | None) -> None:
    """Raises Refused where the app has connected to a Postgres of another machine.

    ``ports``: where it is known to listen; None: it is allowed.
    """
    peer = find_postgres(reached, ports) if ports is not None else None
    if peer is not None:
        raise Refused(
            f"the application connected to {peer}, a Postgres that is not on this machine, and the "
            f"load would reach it; {_REMEDY}"
        )


def _of_peers(reached: set[Peer]) -> list[str]:
    """A note on what else outside this machine the load reaches through the app."""
    if not reached:
        return []
    shown = ", ".join(str(peer) for peer in sorted(reached)[:MOST_PEERS])
    more = f" and {len(reached) - MOST_PEERS} more" if len(reached) > MOST_PEERS else ""
    return [
        f"While its routes were tried, the application reached {shown}{more}, outside this "
        "machine: the load will reach it too."
    ]

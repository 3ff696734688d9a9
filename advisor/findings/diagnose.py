"""What is wrong with the application, the budget or the measurement, from what was measured.

A finding is one row of ``RULES``: an id, a severity, a function from the run to its evidence (None:
it does not apply) and two sentences that quote the evidence. A rule fires only on measured
numbers; what a run did not reach is silent. Nothing here is a guess about the user's code: a title
says what was seen, a fix what to change.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from pretune.advisor.demand.breakdown import FEWEST_LOOKS
from pretune.advisor.demand.values import Demand, EndpointDemand
from pretune.advisor.findings import deployed, environment
from pretune.advisor.findings import memory as findings_memory
from pretune.advisor.findings.rule import Case, Evidence, Rule
from pretune.advisor.model import memory
from pretune.advisor.quantity import format_bytes, format_seconds
from pretune.advisor.recommendation.space import preload_pays
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.run import SEVERITIES, Finding, Run

MANY_DB_CALLS = 20
LARGE_RESPONSE_BYTES = 1 << 20
# An event loop that stands still this long delays everybody it serves.
BLOCKING_S = 0.05
FEWEST_BLOCKS = 3
# Waiting that holds the loop: at least so much of a request's waiting, and so long.
HELD_FRACTION = 0.2
HELD_S = 0.001
SLOW_BOOT_S = 5.0
NEAR_SATURATION = 0.7
LOST_RECORDS = 0.01
SCARCE_FDS = 0.5
# Time in Postgres with several requests at once over that with one; and so long at least.
CONTENDED = 2.0
CONTENDED_S = 0.002


def diagnose(run: Run, app_settings: Mapping[str, Any] | None = None) -> tuple[Finding, ...]:
    """All findings, the most severe first. ``app_settings``: ``settings`` of the inspection."""
    case = Case(run, app_settings or {})
    found = []
    for rule in RULES:
        evidence = rule.evidence(case)
        if evidence is not None:
            shown = {name: _show(name, value) for name, value in evidence.items()}
            # known only where looks at stacks were enough
            shown["at_line"] = f", at {evidence['line']}" if evidence.get("line") else ""
            shown["to_host"] = f" to {evidence['host']}" if evidence.get("host") else ""
            title, fix = rule.title.format(**shown), rule.fix.format(**shown)
            found.append(Finding(rule.id, rule.severity, title, evidence, fix))
    return tuple(sorted(found, key=lambda f: SEVERITIES.index(f.severity)))


def _show(name: str, value: Any) -> str:
    """By the unit at the end of the name."""
    if isinstance(value, list | tuple):
        return ", ".join(str(v) for v in value[:3]) + (", ..." if len(value) > 3 else "")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    for suffix, show in _UNITS:
        if name.endswith(suffix):
            return show(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"


_UNITS: tuple[tuple[str, Callable[[float], str]], ...] = (
    ("_bytes", format_bytes),
    ("_bytes_per_request", format_bytes),
    ("_s", format_seconds),
    ("_rate", lambda x: f"{x:.2%}"),
    ("_fraction", lambda x: f"{x:.0%}"),
    ("_rps", lambda x: f"{x:.0f}"),
)


# ---- evidence: the application


def _app_errors(case: Case) -> Evidence | None:
    limit = case.run.slo.error_rate if case.run.slo else 0.0
    bad = [t for t in case.trials if t.requests and t.error_rate > limit]
    if not bad:
        return None
    worst = max(bad, key=lambda t: t.error_rate)
    return {
        "trial": worst.name,
        "error_rate": worst.error_rate,
        "limit_rate": limit,
        "most_frequent": worst.errors[0][0] if worst.errors else "no detail",
        "requests": worst.requests,
    }


def _worker_died(case: Case) -> Evidence | None:
    died: dict[str, int] = {}
    for trial in case.trials:
        for reason, count in trial.worker_exits:
            if reason in ("crash", "timeout") and count:
                died[reason] = died.get(reason, 0) + count
    if not died:
        return None
    return {"workers": sum(died.values()), "reasons": sorted(died)}


def _n_plus_one(case: Case) -> Evidence | None:
    worst = _most(case, lambda e: e.db_calls.low)
    if worst is None or worst.db_calls.low < MANY_DB_CALLS:
        return None
    return {
        "endpoint": worst.name,
        "db_calls": worst.db_calls.value,
        "db_s": worst.db_s.value,
        **_line(case, worst.name, "db"),
    }


def _large_response(case: Case) -> Evidence | None:
    worst = _most(case, lambda e: e.response_bytes)
    if worst is None or worst.response_bytes < LARGE_RESPONSE_BYTES:
        return None
    return {"endpoint": worst.name, "response_bytes": worst.response_bytes}


def _outbound(case: Case) -> Evidence | None:
    demand = case.run.demand
    if demand is None or demand.wait_calls.low < 0.5:
        return None
    fraction = demand.wait_s.low / _total(demand)
    if fraction < 0.5:
        return None
    worst = _most(case, lambda e: e.share * e.wait_s.value)
    hosts = case.run.inside.hosts if case.run.inside else ()
    most = max(hosts, key=lambda h: h.wait_s.value, default=None)
    return {
        "wait_s": demand.wait_s.value,
        "wait_calls": demand.wait_calls.value,
        "of_request_fraction": demand.wait_s.value / _total(demand),
        **({"host": most.name, "host_calls": most.calls.value} if most else {}),
        **(_line(case, worst.name, "out") if worst else {}),
    }


def _database_waits(case: Case) -> Evidence | None:
    demand = case.run.demand
    if demand is None or demand.db_s.low / _total(demand) < 0.5:
        return None
    worst = _most(case, lambda e: e.share * e.db_s.value)
    return {
        "db_s": demand.db_s.value,
        "of_request_fraction": demand.db_s.value / _total(demand),
        "endpoint": worst.name if worst else "unknown",
        **(_line(case, worst.name, "db") if worst else {}),
    }


def _idle_in_transaction(case: Case) -> Evidence | None:
    for trial in case.trials:
        idle, peak = trial.pg_idle_in_transaction_peak, trial.pg_connections_peak
        if idle is not None and peak and idle >= 2 and idle >= 0.5 * peak:
            return {"trial": trial.name, "idle_connections": idle, "connections": peak}
    return None


def _blocking_loop(case: Case) -> Evidence | None:
    demand = case.run.demand
    if demand is None or not case.asgi or not len(demand.tuples):
        return None
    inside = case.run.inside
    loop = inside.loop if inside else None
    if loop is not None and loop.blocking and loop.blocking[0].times >= FEWEST_BLOCKS:
        # seen at work: computing, or waiting in a call that does not let the loop go on
        first = loop.blocking[0]
        evidence = {
            "blocked_s": first.longest_s,
            "times": first.times,
            "endpoint": first.endpoint or "a task of no request",
            "line": first.shown,
        }
        return evidence | {"lag_p99_s": loop.lag_p99_s.value}
    cpu = float(np.quantile(demand.tuples["cpu"], 0.99))
    if cpu < BLOCKING_S:
        return None
    worst = _most(case, lambda e: e.cpu_s.value)
    if worst is None:
        return {"blocked_s": cpu, "endpoint": "unknown"}
    return {"blocked_s": cpu, "endpoint": worst.name, **_line(case, worst.name, "cpu")}


def _sync_on_loop(case: Case) -> Evidence | None:
    """Calls that wait without letting the loop go on: too short each to block it for long."""
    inside = case.run.inside
    if inside is None or not case.asgi or _blocking_loop(case) is not None:
        return None
    for endpoint in inside.endpoints:
        held = endpoint.held_fraction
        if held is None or held.low < HELD_FRACTION:
            continue
        cost = next((e for e in _endpoints(case) if e.name == endpoint.name), None)
        waits = cost.db_s.value + cost.wait_s.value if cost else 0.0
        if held.value * waits >= HELD_S:
            return {
                "endpoint": endpoint.name,
                "held_fraction": held.value,
                "held_s": held.value * waits,
                **_line(case, endpoint.name, "db", "out", "other"),
            }
    return None


def _debug(case: Case) -> Evidence | None:
    return {"debug": True} if case.app.get("debug") is True else None


def _slow_boot(case: Case) -> Evidence | None:
    demand = case.run.demand
    if demand is None or demand.worker.boot_s < SLOW_BOOT_S:
        return None
    return {"boot_s": demand.worker.boot_s}


def _routes_skipped(case: Case) -> Evidence | None:
    workload = case.run.workload
    if workload is None or not workload.skipped:
        return None
    return {
        "skipped": len(workload.skipped),
        "tested": len(workload.endpoints),
        "routes": [f"{s.name} ({s.reason})" for s in workload.skipped],
    }


# ---- evidence: the arrangement and its budgets


def _bound_by(*resources: str) -> Callable[[Case], Recommendation | None]:
    def bound(case: Case) -> Recommendation | None:
        found = case.run.recommendation
        return found if found is not None and found.binding in resources else None

    return bound


def _db_bound(case: Case) -> Evidence | None:
    """Postgres computes more than the app, on cores that are all busy."""
    found = _bound_by("db", "cpu")(case)
    demand = case.run.demand
    if found is None or demand is None or demand.db_cpu_s is None:
        return None
    app = demand.cpu_s.value + demand.overhead_cpu_s.value
    # of many instances none has the database on its cores
    shared = case.run.fleet is None and demand.db_cpu_s.low > app
    if found.binding == "cpu" and not shared:
        return None
    worst = _most(case, lambda e: e.share * e.db_s.value)
    return {
        "capacity_rps": found.predicted.throughput_rps.value,
        "db_cpu_s": demand.db_cpu_s.value,
        "app_cpu_s": app,
        "endpoint": worst.name if worst else "unknown",
        **(_line(case, worst.name, "db") if worst else {}),
    }


def _db_contended(case: Case) -> Evidence | None:
    """A query takes much longer in Postgres when several run: they wait for each other there."""
    timed = {t.name: t for t in case.trials if t.database_time is not None}
    alone, several = timed.get("demand"), timed.get("contrast")
    if alone is None or several is None:
        return None
    assert alone.database_time is not None
    assert several.database_time is not None
    one, many = alone.database_time.server_active_s, several.database_time.server_active_s
    late = several.database_time.server_delay_s  # wanted a core: that is no lock
    held = many.low - (late.high if late is not None else 0.0)
    if not held > CONTENDED * one.high or held < CONTENDED_S:
        return None
    worst = _most(case, lambda e: e.share * e.db_s.value)
    return {
        "alone_s": one.value,
        "several_s": many.value,
        "requests": several.settings.slots,
        "endpoint": worst.name if worst else "unknown",
        **(_line(case, worst.name, "db") if worst else {}),
    }


def _own_lock(case: Case) -> Evidence | None:
    lock = case.run.own_lock
    if lock is None:
        return None
    worst = _most(case, lambda e: e.share * (e.db_s.value + e.wait_s.value))
    return {
        "lock_s": lock.seconds.value,
        "low_s": lock.seconds.low,
        "high_s": lock.seconds.high,
        "requests": lock.requests,
        "measured_rps": lock.measured_rps,
        "without_rps": lock.without_rps,
        "endpoint": worst.name if worst else "unknown",
        **(_line(case, worst.name, "other", "out", "db") if worst else {}),
    }


def _cpu_bound(case: Case) -> Evidence | None:
    found = _bound_by("cpu")(case)
    worst = _most(case, lambda e: e.share * e.cpu_s.value)
    demand = case.run.demand
    if found is None or worst is None or demand is None or not demand.cpu_s.value > 0:
        return None
    return {
        "capacity_rps": found.predicted.throughput_rps.value,
        "cpu_s": demand.cpu_s.value,
        "endpoint": worst.name,
        "of_cpu_fraction": worst.share * worst.cpu_s.value / demand.cpu_s.value,
        **_line(case, worst.name, "cpu"),
    }


def _gil_bound(case: Case) -> Evidence | None:
    found = case.run.recommendation
    demand = case.run.demand
    # The fraction's low end is above 0 only where the contrast trial could tell.
    if found is None or demand is None or case.asgi or demand.cpu_gil_fraction.low < 0.5:
        return None
    busy = dict(found.predicted.utilisation).get("gil", 0.0)
    if busy < 0.8:
        return None
    contention = case.run.inside.contention if case.run.inside else None
    waits = {}
    if contention is not None and contention.lock == "gil":
        waits = {"threads": contention.requests, "gil_wait_s": contention.wait_s.value}
    return {"gil_fraction": demand.cpu_gil_fraction.value, "busy_fraction": busy, **waits}


def _connections(case: Case) -> Evidence | None:
    budget = case.run.budget
    if budget is None or budget.pg_connections is None or not case.run.candidates:
        return None
    bound = _bound_by("pg_connections")(case) is not None
    none_fits = case.run.recommendation is None and (
        "Postgres connections" in case.run.candidates[0].rejected_by
    )
    if not (bound or none_fits):
        return None
    over = [c for c in case.run.candidates if c.predicted.pg_connections > budget.pg_connections]
    return {
        "budget_connections": budget.pg_connections,
        "wanted_connections": min((c.predicted.pg_connections for c in over), default=0),
        "instances": budget.instances,
    }


def _fds(case: Case) -> Evidence | None:
    found, budget = case.run.recommendation, case.run.budget
    if found is None or budget is None or found.predicted.fds < SCARCE_FDS * budget.fds:
        return None
    return {"fds": found.predicted.fds, "limit": budget.fds, "users": found.predicted.users}


def _timeout(case: Case) -> Evidence | None:
    found = case.run.recommendation
    slowest = _most(case, lambda e: e.unloaded_p95_s)
    if found is None or slowest is None or case.asgi or not found.settings.timeout:
        return None
    if 3 * slowest.unloaded_p95_s <= found.settings.timeout:
        return None
    return {
        "endpoint": slowest.name,
        "unloaded_p95_s": slowest.unloaded_p95_s,
        "timeout_s": found.settings.timeout,
    }


def _preload(case: Case) -> Evidence | None:
    found, demand = case.run.recommendation, case.run.demand
    if (
        found is None
        or demand is None
        or not found.settings.preload_app
        or not preload_pays(demand)
    ):
        return None
    each = demand.worker.preload_saving_bytes
    saving = memory.preload_saving(demand.worker, found.settings.workers)
    assert each is not None, "preload_pays says it was measured"
    assert saving is not None
    return {
        "saving_bytes": saving.value,
        "each_bytes": each.value,
        "further": found.settings.workers - 1,
        "once_bytes": demand.worker.preload_once_bytes,
    }


def _formula(case: Case) -> Evidence | None:
    for baseline in case.run.baselines:
        if baseline.violates and baseline.name.startswith("gunicorn: 2 x"):
            return {
                "formula": baseline.name,
                "workers": baseline.settings.workers,
                "violates": list(baseline.violates),
            }
    return None


# ---- evidence: the measurement


def _not_pinned(case: Case) -> Evidence | None:
    loose = [t.name for t in case.trials if not t.conditions.pinned]
    return {"trials": loose} if loose else None


def _generator(case: Case) -> Evidence | None:
    worst = max(case.trials, key=lambda t: t.generator_cpu, default=None)
    if worst is None or worst.generator_cpu < NEAR_SATURATION:
        return None
    return {"trial": worst.name, "generator_fraction": worst.generator_cpu}


def _disturbed(case: Case) -> Evidence | None:
    found = [f"{t.name}: {t.disturbed}" for t in case.trials if t.disturbed]
    return {"trials": found} if found else None


def _not_steady(case: Case) -> Evidence | None:
    found = [f"{t.name}: {t.steady_note}" for t in case.trials if not t.steady]
    return {"trials": found} if found else None


def _telemetry_lost(case: Case) -> Evidence | None:
    for trial in case.trials:
        if trial.requests and trial.telemetry_lost > LOST_RECORDS * trial.requests:
            return {"trial": trial.name, "lost": trial.telemetry_lost, "requests": trial.requests}
    return None


def _prediction_missed(case: Case) -> Evidence | None:
    verification = case.run.verification
    if verification is None or not verification.misses:
        return None
    return {"misses": list(verification.misses)}


# ---- what evidence is made of


def _endpoints(case: Case) -> Iterable[EndpointDemand]:
    return case.run.demand.by_endpoint if case.run.demand else ()


def _most(case: Case, measure: Callable[[EndpointDemand], float]) -> EndpointDemand | None:
    """The endpoint with the largest; one that was never served has no number to compare."""
    known = [e for e in _endpoints(case) if math.isfinite(measure(e))]
    return max(known, key=measure, default=None)


def _line(case: Case, endpoint: str, *kinds: str) -> Evidence:
    """The line at which the endpoint spends most of this kind, with its part; {} if unknown.

    Of lines that have as much, one of the user's own says more than a library's.
    """
    inside = case.run.inside
    found = inside.endpoint(endpoint) if inside else None
    lines = [line for line in (found.lines if found else ()) if line.kind in kinds]
    best = max(lines, key=lambda line: (line.own, line.looks), default=None)
    if best is None or best.looks < FEWEST_LOOKS:
        return {}
    what = "CPU" if best.kind == "cpu" else "waiting"
    return {"line": f"{best.shown} ({best.fraction.value:.0%} of its {what})"}


def _total(demand: Demand) -> float:
    parts = (demand.cpu_s, demand.overhead_cpu_s, demand.db_s, demand.wait_s)
    return max(sum(p.value for p in parts), 1e-9)


RULES: tuple[Rule, ...] = (
    *findings_memory.RULES,
    *environment.RULES,
    *deployed.RULES,
    Rule(
        "app-errors", "critical", _app_errors,
        "{error_rate} of the {trial} trial's requests failed, most often: {most_frequent}",
        "Look for {most_frequent} in the app's log; errors are cheaper than answers, so capacity "
        "counts only when they are gone (allowed: {limit_rate}).",
    ),
    Rule(
        "worker-died", "critical", _worker_died,
        "{workers} workers died under load ({reasons})",
        "Read the end of the app's log for the last request before each exit; a native crash shows "
        "with PYTHONFAULTHANDLER=1, a timeout names a request that never ends.",
    ),
    Rule(
        "debug-on", "critical", _debug,
        "The application runs in debug mode",
        "Switch debug off (Django: DEBUG = False; Flask: no debug=True) and measure again: it "
        "keeps every query in memory, shows tracebacks to strangers and is slower.",
    ),
    Rule(
        "connections-exhausted", "critical", _connections,
        "Postgres connections are the limit: {budget_connections} are free for {instances} "
        "instance(s), the next larger arrangement takes {wanted_connections}",
        "Put PgBouncer (pool_mode = transaction) between the app and Postgres, or fewer threads "
        "per worker; raise max_connections only with RAM for about 10 MB per connection.",
    ),
    Rule(
        "n-plus-one", "warning", _n_plus_one,
        "{endpoint} makes {db_calls} database calls per request ({db_s}){at_line}",
        "Fetch related rows together (Django: select_related, prefetch_related; SQLAlchemy: "
        "selectinload) and check {endpoint} again.",
    ),
    Rule(
        "idle-in-transaction", "warning", _idle_in_transaction,
        "{idle_connections} of {connections} connections were idle in a transaction at once in "
        "the {trial} trial",
        "Commit before slow work such as rendering or calling other services: open transactions "
        "hold connections, locks and old row versions (Django: no ATOMIC_REQUESTS on such views).",
    ),
    Rule(
        "blocking-event-loop", "warning", _blocking_loop,
        "{endpoint} holds the event loop for {blocked_s} at a time{at_line}",
        "Move it off the loop (asyncio.to_thread, a process pool, a plain def endpoint), or call "
        "an async library there: while it runs its worker answers nobody.",
    ),
    Rule(
        "sync-on-the-loop", "warning", _sync_on_loop,
        "{endpoint} waits for {held_s} per request without letting the event loop go on{at_line}",
        "Use the async version of the library (psycopg.AsyncConnection, httpx.AsyncClient), or "
        "make it a plain def endpoint: the other requests of the worker wait, too.",
    ),
    Rule(
        "db-bound", "warning", _db_bound,
        "The database is the limit at {capacity_rps} requests/s: of each request Postgres computes "
        "{db_cpu_s} and the app {app_cpu_s}, most of it for {endpoint}{at_line}",
        "More workers would not help. Fix that query (EXPLAIN ANALYZE, a missing index), cache its "
        "result, or give Postgres cores of its own; pg_stat_statements names the dearest.",
    ),
    Rule(
        "db-contended", "warning", _db_contended,
        "Requests wait for each other in the database: a request is {alone_s} in Postgres alone, "
        "and {several_s} with {requests} at once{at_line}",
        "More workers would not help while they wait for the same rows or locks: look at "
        "wait_event in pg_stat_activity under load, and shorten the transaction of {endpoint}.",
    ),
    Rule(
        "own-lock", "warning", _own_lock,
        "The requests of one worker wait for each other: one at a time takes {lock_s} ({low_s} to "
        "{high_s}) while it waits{at_line}; {requests} at once made {measured_rps} requests/s "
        "where {without_rps} were expected",
        "Look in {endpoint} for a lock, a client that serves one call at a time, or a pool with "
        "fewer connections than threads; hold it shorter or make the pool larger. Until then "
        "threads do not help, workers do.",
    ),
    Rule(
        "timeout-near-slowest", "warning", _timeout,
        "{endpoint} takes {unloaded_p95_s} (p95) without load, near the timeout of {timeout_s}",
        "Move the slow work of {endpoint} to a queue, or raise timeout above three times its p95.",
    ),
    Rule(
        "fds-scarce", "warning", _fds,
        "One worker may need {fds} of {limit} file descriptors with {users} users",
        "Raise the limit (ulimit -n, LimitNOFILE= in systemd, --ulimit nofile in Docker) to at "
        "least twice {fds}.",
    ),
    Rule(
        "large-response", "warning", _large_response,
        "{endpoint} answers with {response_bytes}",
        "Let the proxy or object storage send it (X-Accel-Redirect, a signed URL), or page it: a "
        "worker is busy until the last byte has gone.",
    ),
    Rule(
        "machine-disturbed", "warning", _disturbed,
        "Other work disturbed the measurement ({trials})",
        "Stop what else runs here, or repeat on a quiet machine: the numbers of these trials are "
        "marked, not corrected.",
    ),
    Rule(
        "generator-near-saturation", "warning", _generator,
        "The load generator used {generator_fraction} of its core in the {trial} trial",
        "Measure with one core more, or a heavier workload: beyond this the generator, not the "
        "app, limits what is seen.",
    ),
    Rule(
        "prediction-missed", "warning", _prediction_missed,
        "The verification trial did not match the prediction: {misses}",
        "Trust the measured numbers over the predicted ones and repeat with a larger "
        "--time-budget; if it stays, please report it with report.json.",
    ),
    Rule(
        "not-steady", "warning", _not_steady,
        "No steady state was reached ({trials})",
        "Give more time with --time-budget: the app was still warming up or its load kept "
        "changing.",
    ),
    Rule(
        "telemetry-lost", "warning", _telemetry_lost,
        "{lost} of the {trial} trial's {requests} request records were overwritten unread",
        "Repeat on a quieter machine: the sampler was kept from running, so demands rest on the "
        "rest.",
    ),
    Rule(
        "formula-breaks", "info", _formula,
        "The usual formula ({formula}) gives {workers} workers, which breaks: {violates}",
        "Do not copy it to this machine; the recommendation keeps the same budgets.",
    ),
    Rule(
        "gil-bound", "info", _gil_bound,
        "{gil_fraction} of the CPU needs the GIL and it is busy {busy_fraction} of the time",
        "Threads only overlap waits here. More CPU throughput comes from more workers, as far as "
        "cores and RAM go.",
    ),
    Rule(
        "cpu-bound", "info", _cpu_bound,
        "CPU is the limit at {capacity_rps} requests/s: {cpu_s} per request, {of_cpu_fraction} of "
        "it in {endpoint}{at_line}",
        "Begin with {endpoint}: its lines are in the report. Then add cores; more workers on the "
        "same cores would not help.",
    ),
    Rule(
        "database-waits-dominate", "info", _database_waits,
        "{of_request_fraction} of a request is spent waiting for the database ({db_s}), most of "
        "it in {endpoint}{at_line}",
        "Shorten the queries of {endpoint} (EXPLAIN ANALYZE) before adding workers: each further "
        "one waits too, with a connection in hand.",
    ),
    Rule(
        "outbound-calls-dominate", "info", _outbound,
        "{of_request_fraction} of a request is spent waiting outside app and database ({wait_s}, "
        "{wait_calls} outbound calls{to_host}){at_line}",
        "Give the calls a timeout, keep their connections (one Session or client per worker), "
        "cache the answers or make them after the response.",
    ),
    Rule(
        "preload-saves", "info", _preload,
        "Preloading saves {saving_bytes}: {each_bytes} for each of {further} further workers, less "
        "{once_bytes} for the process that loads the app",
        "Keep preload_app on, and open database connections and threads only after the fork.",
    ),
    Rule(
        "slow-boot", "info", _slow_boot,
        "A worker takes {boot_s} to boot",
        "python -X importtime shows what is imported; move heavy imports into the functions that "
        "need them. Deploys and restarts wait for it.",
    ),
    Rule(
        "not-pinned", "info", _not_pinned,
        "Server and load generator could not be kept on separate cores ({trials})",
        "Run on a machine with at least two cores and with sched_setaffinity permitted; until "
        "then times hold some of the generator's.",
    ),
    Rule(
        "routes-skipped", "info", _routes_skipped,
        "{skipped} routes were not measured, {tested} were: {routes}",
        "Describe the missing traffic in a workload file (--workload) or with --path if it "
        "matters in production.",
    ),
)  # fmt: skip

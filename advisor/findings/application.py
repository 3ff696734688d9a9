"""Findings about the application: what it does for each request, and how it boots."""

from __future__ import annotations

import math

import numpy as np

from pretune.advisor.demand.apart import judge_apart
from pretune.advisor.demand.values import Demand, loop_cpu_s
from pretune.advisor.findings.rule import Evidence, FindingContext, Rule

MANY_DB_CALLS = 20
LARGE_RESPONSE_BYTES = 1 << 20
# An event loop that stands still this long delays everybody it serves.
BLOCKING_S = 0.05
# A block delays a sign that the loop is asked for meanwhile by half its length, on average.
LAG_FRACTION = 0.5
FEWEST_BLOCKS = 3
# Waiting that holds the loop: at least so much of a request's waiting, and so long.
HELD_FRACTION = 0.2
HELD_S = 0.001
SLOW_BOOT_S = 5.0


def _app_errors(context: FindingContext) -> Evidence | None:
    limit = context.run.slo.error_rate if context.run.slo else 0.0
    bad = [t for t in context.judged if t.requests and t.error_rate > limit]
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


def _worker_died(context: FindingContext) -> Evidence | None:
    died: dict[str, int] = {}
    for trial in context.judged:
        for reason, count in trial.worker_exits:
            if reason in ("crash", "timeout") and count:
                died[reason] = died.get(reason, 0) + count
    if not died:
        return None
    return {"workers": sum(died.values()), "reasons": sorted(died)}


def _n_plus_one(context: FindingContext) -> Evidence | None:
    worst = context.largest(lambda e: e.db_calls.low)
    if worst is None or worst.db_calls.low < MANY_DB_CALLS:
        return None
    return {
        "endpoint": worst.name,
        "db_calls": worst.db_calls.value,
        "db_s": worst.db_s.value,
        **context.line(worst.name, "db"),
    }


def _large_response(context: FindingContext) -> Evidence | None:
    worst = context.largest(lambda e: e.response_bytes)
    if worst is None or worst.response_bytes < LARGE_RESPONSE_BYTES:
        return None
    return {"endpoint": worst.name, "response_bytes": worst.response_bytes}


def _outbound(context: FindingContext) -> Evidence | None:
    demand = context.run.demand
    if demand is None or demand.wait_calls.low < 0.5:
        return None
    fraction = demand.wait_s.low / _request_s(demand)
    if fraction < 0.5:
        return None
    worst = context.largest(lambda e: e.share * e.wait_s.value)
    hosts = context.run.breakdown.hosts if context.run.breakdown else ()
    most = max(hosts, key=lambda h: h.wait_s.value, default=None)
    return {
        "wait_s": demand.wait_s.value,
        "wait_calls": demand.wait_calls.value,
        "of_request_fraction": demand.wait_s.value / _request_s(demand),
        **({"host": most.name, "host_calls": most.calls.value} if most else {}),
        **(context.line(worst.name, "out") if worst else {}),
    }


def _database_waits(context: FindingContext) -> Evidence | None:
    demand = context.run.demand
    if demand is None or demand.db_s.low / _request_s(demand) < 0.5:
        return None
    worst = context.largest(lambda e: e.share * e.db_s.value)
    return {
        "db_s": demand.db_s.value,
        "of_request_fraction": demand.db_s.value / _request_s(demand),
        **context.place(worst, "db"),
    }


def _idle_in_transaction(context: FindingContext) -> Evidence | None:
    for trial in context.trials:
        idle, peak = trial.pg_idle_in_transaction_peak, trial.pg_connections_peak
        if idle is not None and peak and idle >= 2 and idle >= 0.5 * peak:
            return {"trial": trial.name, "idle_connections": idle, "connections": peak}
    return None


def _blocking_loop(context: FindingContext) -> Evidence | None:
    demand = context.run.demand
    if demand is None or not context.asgi or not len(demand.tuples):
        return None
    breakdown = context.run.breakdown
    loop = breakdown.loop if breakdown else None
    if loop is not None and loop.lag_max_s < LAG_FRACTION * BLOCKING_S:
        return None  # whatever took so long, the loop answered all the while
    if loop is not None and loop.blocking and loop.blocking[0].times >= FEWEST_BLOCKS:
        # seen at work: computing, or waiting in a call that does not let the loop go on
        first = loop.blocking[0]
        evidence = {
            "blocked_s": first.longest_s,
            "times": first.times,
            "endpoint": first.endpoint or "a task outside any request",
            "line": first.shown,
        }
        return evidence | {"lag_p99_s": loop.lag_p99_s.value}
    own = loop_cpu_s(demand.tuples)
    cpu = float(np.quantile(own, 0.99))
    if cpu < BLOCKING_S:
        return None
    numbers = demand.tuples["endpoint"]
    each = {k: float(own[numbers == k].mean()) for k in np.unique(numbers).tolist()}
    worst = max(each, key=lambda k: each[k])
    named = context.endpoints[worst] if worst < len(context.endpoints) else None
    return {"blocked_s": cpu, **context.place(named, "cpu")}


def _sync_on_loop(context: FindingContext) -> Evidence | None:
    """Calls that wait without letting the loop go on: too short each to block it for long."""
    breakdown = context.run.breakdown
    if breakdown is None or not context.asgi or _blocking_loop(context) is not None:
        return None
    for endpoint in breakdown.endpoints:
        held = endpoint.held_fraction
        if held is None or held.low < HELD_FRACTION:
            continue
        cost = next((e for e in context.endpoints if e.name == endpoint.name), None)
        waits = cost.db_s.value + cost.wait_s.value if cost else 0.0
        if held.value * waits >= HELD_S:
            return {
                "endpoint": endpoint.name,
                "held_fraction": held.value,
                "held_s": held.value * waits,
                **context.line(endpoint.name, "db", "out", "other"),
            }
    return None


def _slow_routes(context: FindingContext) -> Evidence | None:
    workload = context.run.workload
    if workload is None or not workload.apart:
        return None
    routes = context.run.slow or judge_apart(workload.apart)
    slowest = max(routes, key=lambda route: route.seconds)
    return {
        "routes": [route.shown for route in routes],
        "others": len(workload.endpoints),
        "slowest": slowest.name,
        "slowest_s": slowest.seconds,
        "share_fraction": slowest.share,
        "requests": slowest.requests,
        "held": max(1, math.ceil(slowest.seconds)),
    }


def _debug(context: FindingContext) -> Evidence | None:
    return {"debug": True} if context.debug else None


def _slow_boot(context: FindingContext) -> Evidence | None:
    demand = context.run.demand
    if demand is None or demand.worker.boot_s < SLOW_BOOT_S:
        return None
    return {"boot_s": demand.worker.boot_s}


def _request_s(demand: Demand) -> float:
    """Seconds of a request."""
    parts = (demand.cpu_s, demand.overhead_cpu_s, demand.db_s, demand.wait_s)
    return max(sum(p.value for p in parts), 1e-9)


RULES: tuple[Rule, ...] = (
    Rule(
        "app-errors", "critical", _app_errors,
        "{error_rate} of the {trial} trial's requests failed, most often: {most_frequent}",
        "Look for {most_frequent} in the app's log. Errors cost less than answers, so the "
        "capacity means something only once they are gone (allowed: {limit_rate}).",
    ),
    Rule(
        "worker-died", "critical", _worker_died,
        "{workers} workers died under load ({reasons})",
        "Read the end of the app's log for the last request before each exit. "
        "PYTHONFAULTHANDLER=1 shows where a native crash happened; a timeout means a request "
        "that did not end in time.",
    ),
    Rule(
        "debug-on", "critical", _debug,
        "The application runs in debug mode: while it does, nothing is said of leaks, nor of what "
        "is deployed today",
        "Switch debug off ({debug_off}) and measure again: "
        "debug mode keeps every query in memory, shows tracebacks to strangers and is slower.",
    ),
    Rule(
        "slow-routes", "warning", _slow_routes,
        "Too slow to be measured among the others: {routes}. The answer is for the other {others} "
        "route(s), and does not hold for these",
        "Every request of {slowest} holds a thread (under ASGI a plain def endpoint's) for "
        "{slowest_s}: for each one that comes per second add {held} threads to workers x threads, "
        "or answer at once and do the work in a queue. Threads that it shares with quick routes "
        "keep those waiting: give it a server process of its own, by path.",
    ),
    Rule(
        "n-plus-one", "warning", _n_plus_one,
        "{endpoint} makes {db_calls} database calls per request ({db_s}){at_line}",
        "Fetch related rows together ({related_rows}) and check {endpoint} again.",
    ),
    Rule(
        "idle-in-transaction", "warning", _idle_in_transaction,
        "{idle_connections} of {connections} connections were idle in a transaction at once in "
        "the {trial} trial",
        "Commit before slow work such as rendering or calling other services: open transactions "
        "hold connections, locks and old row versions{no_transaction}.",
    ),
    Rule(
        "blocking-event-loop", "warning", _blocking_loop,
        "{endpoint} holds the event loop for {blocked_s} at a time{at_line}",
        "Move this work off the loop (asyncio.to_thread, a process pool, a plain def endpoint), "
        "or use an async library for it: while it runs, its worker answers nobody.",
    ),
    Rule(
        "sync-on-the-loop", "warning", _sync_on_loop,
        "{endpoint} waits {held_s} per request and holds the event loop meanwhile{at_line}",
        "Use the async version of the library (psycopg.AsyncConnection, httpx.AsyncClient), or "
        "make it a plain def endpoint: until then the worker's other requests wait too.",
    ),
    Rule(
        "large-response", "warning", _large_response,
        "{endpoint} answers with {response_bytes}",
        "Let the proxy or object storage send it (X-Accel-Redirect, a signed URL), or split it "
        "into pages: a worker is busy until the last byte has left.",
    ),
    Rule(
        "database-waits-dominate", "info", _database_waits,
        "{of_request_fraction} of a request is spent waiting for the database ({db_s}), most of "
        "it in {endpoint}{at_line}",
        "Shorten the queries of {endpoint} (EXPLAIN ANALYZE) before adding workers: each "
        "further worker would wait too, and hold a connection.",
    ),
    Rule(
        "outbound-calls-dominate", "info", _outbound,
        "{of_request_fraction} of a request is spent waiting for something other than the "
        "database ({wait_s}, {wait_calls} outbound calls{to_host}){at_line}",
        "Give the calls a timeout, keep their connections open (one Session or client per "
        "worker), cache the answers, or make the calls after the response.",
    ),
    Rule(
        "slow-boot", "info", _slow_boot,
        "A worker takes {boot_s} to boot",
        "python -X importtime shows what is imported; move heavy imports into the functions that "
        "need them. Deploys and restarts wait for it.",
    ),
)  # fmt: skip

"""Findings about connections and pools: what preflight knows of them, held against the trials."""

from __future__ import annotations

from pretune.advisor.findings.rule import Evidence, FindingContext, Rule
from pretune.advisor.preflight.facts import AppDatabase
from pretune.advisor.profiler.measurement import Measurement, Role

# A request holds so many connections to one database at most, where nothing else is known.
OF_ONE_REQUEST = 2


def in_flight(trial: Measurement) -> int:
    """Requests that one worker of a closed trial can have in hand at once, at most."""
    if trial.settings.interface == "asgi":
        return trial.load.users
    return min(trial.settings.slots // trial.settings.workers, trial.load.users)


def held(trial: Measurement) -> int:
    """The most connections to Postgres that one worker had."""
    return max((w.pg_connections for w in trial.workers), default=0)


def _databases(context: FindingContext) -> tuple[AppDatabase, ...]:
    return context.facts.app_postgres if context.facts else ()


def _at_once(context: FindingContext) -> int | None:
    """Requests of one recommended worker that may want a connection at once; None: unknown."""
    recommended, facts = context.run.recommendation, context.facts
    if recommended is None or facts is None:
        return None
    settings = recommended.settings
    if not context.asgi:
        return settings.slots // settings.workers
    users = -(-recommended.predicted.users // settings.workers)
    demand = context.run.demand
    threaded = demand is not None and bool((demand.tuples["pool"] > 0).any())
    return min(users, facts.thread_limit) if threaded and facts.thread_limit else users


def _pool_is_the_cap(context: FindingContext) -> Evidence | None:
    """All that the app's pool allows was in use while more requests were there: the peak is the
    pool's, not what requests want."""
    most = context.facts.pool_most if context.facts else None
    if most is None:
        return None
    full = [t for t in context.trials if held(t) >= most and in_flight(t) > most]
    if full:
        worst = max(full, key=in_flight)
        seen = {"trial": worst.name, "at_once": in_flight(worst)}
        return {"pool": most, **seen, "held": held(worst)}
    return None


def _pool_too_few(context: FindingContext) -> Evidence | None:
    most = context.facts.pool_most if context.facts else None
    at_once = _at_once(context)
    if most is None or at_once is None or at_once <= most:
        return None
    demand = context.run.demand
    if demand is None or not demand.db_calls.value > 0 or _pool_is_the_cap(context) is not None:
        return None
    return {"pool": most, "at_once": at_once}


def _pools_over_budget(context: FindingContext) -> Evidence | None:
    facts, recommended, budget = context.facts, context.run.recommendation, context.run.budget
    if facts is None or recommended is None or budget is None or budget.pg_connections is None:
        return None
    most = facts.pool_most
    if most is None:
        return None
    workers = recommended.settings.workers
    every = most * workers * budget.instances
    if every <= budget.pg_connections:
        return None
    return {
        "pool": most,
        "workers": workers,
        "instances": budget.instances,
        "every": every,
        "budget_connections": budget.pg_connections,
        "each": budget.pg_connections // (workers * budget.instances),
    }


def _outlive_requests(context: FindingContext) -> Evidence | None:
    """More connections than requests in hand, and no pool that keeps them."""
    databases = _databases(context)
    if any(each.pooled for each in databases):
        return None
    for trial in context.trials:
        if trial.load.rps is not None:
            continue
        hands = in_flight(trial)
        allowed = OF_ONE_REQUEST * max(1, len(databases)) * hands
        if trial.role is not Role.DEMAND and databases and all(d.per_thread for d in databases):
            allowed = len(databases) * hands  # Django: one for each, and no more
        if held(trial) > allowed:
            return {"trial": trial.name, "held": held(trial), "at_once": hands}
    return None


def _persist_under_asgi(context: FindingContext) -> Evidence | None:
    kept = [each for each in _databases(context) if each.persistent and not each.pooled]
    if not context.asgi or not kept or _outlive_requests(context) is not None:
        return None
    return {"databases": len(kept)}


def _thread_limit(context: FindingContext) -> Evidence | None:
    """Plain def endpoints for which more requests come at once than anyio lets run."""
    facts, recommended, demand = context.facts, context.run.recommendation, context.run.demand
    if facts is None or facts.thread_limit is None or recommended is None or demand is None:
        return None
    users = -(-recommended.predicted.users // recommended.settings.workers)
    seen = max((w.threads for t in context.trials for w in t.workers), default=0)
    raised = seen > facts.thread_limit + 8  # the app has changed the limit: a loop has few others
    if users <= facts.thread_limit or raised or not (demand.tuples["pool"] > 0).any():
        return None
    return {"users": users, "thread_limit": facts.thread_limit}


RULES: tuple[Rule, ...] = (
    Rule(
        "pool-is-the-limit", "warning", _pool_is_the_cap,
        "The app's own pool was full in the {trial} trial: all {pool} connections that it may have "
        "were in use with {at_once} requests in one worker, so the others waited for one, and "
        "{pool} is what the pool allows, not what the requests want",
        "Give the pool as many connections as a worker has requests at once (SQLAlchemy: pool_size "
        "+ max_overflow; psycopg_pool: max_size), as far as Postgres has them; or let fewer "
        "requests in, and give a connection back before slow work.",
    ),
    Rule(
        "pool-below-requests", "warning", _pool_too_few,
        "The app's own pool allows a worker {pool} connections, and {at_once} of its requests may "
        "want one at once: the others wait for it, and fail when that takes too long",
        "Make the pool as large as requests at once, or run fewer threads (under ASGI fewer at "
        "once) in more workers.",
    ),
    Rule(
        "pools-over-postgres", "warning", _pools_over_budget,
        "The app's pools may open {every} connections ({workers} workers x {instances} instances x "
        "{pool}) and {budget_connections} are free",
        "Let a pool have at most {each}, or put PgBouncer before Postgres: what was counted is "
        "less, but nothing keeps a pool from filling.",
    ),
    Rule(
        "connections-outlive-requests", "warning", _outlive_requests,
        "One worker held {held} connections in the {trial} trial, where at most {at_once} requests "
        "were in hand: connections outlive the requests that opened them",
        "Under ASGI a persistent connection belongs to a thread that ends with its request: "
        "Django's CONN_MAX_AGE must be 0 there, or its pool (OPTIONS pool, Django 5.1) takes its "
        "place. Elsewhere close what each request opens.",
    ),
    Rule(
        "persistent-under-asgi", "warning", _persist_under_asgi,
        "Connections are persistent (CONN_MAX_AGE) and the app is ASGI: they belong to threads "
        "that end with their requests, and stay open without anybody to use them",
        "Set CONN_MAX_AGE = 0 under ASGI, or use Django's pool (OPTIONS pool, Django 5.1).",
    ),
    Rule(
        "thread-limit", "info", _thread_limit,
        "anyio runs at most {thread_limit} plain def endpoints of a worker at once, and {users} "
        "requests may be there",
        "Raise it at startup (anyio.to_thread.current_default_thread_limiter().total_tokens), "
        "together with the pool of connections, make the endpoints async, or run more workers.",
    ),
)  # fmt: skip

"""Findings about the arrangement: what binds it, what it waits for, what its settings miss."""

from __future__ import annotations

from pretune.advisor.findings.rule import Evidence, FindingContext, Rule
from pretune.advisor.model import memory
from pretune.advisor.model.lock import OwnLock
from pretune.advisor.profiler.measurement import Role
from pretune.advisor.recommendation.space import preload_pays
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.recommendation.violations import surely

SCARCE_FDS = 0.5
# Time in Postgres with several requests at once over that with one; and so long at least.
CONTENDED = 2.0
CONTENDED_S = 0.002


def _bound_by(context: FindingContext, *resources: str) -> Recommendation | None:
    """The recommendation where one of these limits it."""
    recommended = context.run.recommendation
    return recommended if recommended is not None and recommended.binding in resources else None


def _db_bound(context: FindingContext) -> Evidence | None:
    """Postgres computes more than the app, on cores that are all busy."""
    recommended = _bound_by(context, "db", "cpu")
    demand = context.run.demand
    if recommended is None or demand is None or demand.db_cpu_s is None:
        return None
    app = demand.cpu_s.value + demand.overhead_cpu_s.value
    # of many instances none has the database on its cores
    shared = context.run.fleet is None and demand.db_cpu_s.low > app
    if recommended.binding == "cpu" and not shared:
        return None
    worst = context.largest(lambda e: e.share * e.db_s.value)
    return {
        "capacity_rps": recommended.predicted.throughput_rps.value,
        "db_cpu_s": demand.db_cpu_s.value,
        "app_cpu_s": app,
        **context.place(worst, "db"),
    }


def _db_contended(context: FindingContext) -> Evidence | None:
    """A query takes much longer in Postgres when several run: they wait for each other there."""
    alone, several = context.trial(Role.DEMAND), context.trial(Role.CONTRAST)
    if alone is None or several is None or not alone.database_time or not several.database_time:
        return None
    one, many = alone.database_time.server_active_s, several.database_time.server_active_s
    late = several.database_time.server_delay_s  # wanted a core: that is no lock
    held = many.low - (late.high if late is not None else 0.0)
    if not held > CONTENDED * one.high or held < CONTENDED_S:
        return None
    worst = context.largest(lambda e: e.share * e.db_s.value)
    return {
        "alone_s": one.value,
        "several_s": many.value,
        "requests": several.settings.slots,
        **context.place(worst, "db"),
    }


def _own_lock(context: FindingContext) -> Evidence | None:
    lock = context.run.own_lock
    if lock is None or lock.shared:
        return None
    return _held(
        context,
        lock,
        requests=lock.requests,
        measured_rps=lock.measured_rps,
        without_rps=lock.without_rps,
    )


def _shared_lock(context: FindingContext) -> Evidence | None:
    lock = context.run.own_lock
    if lock is None or not lock.shared:
        return None
    return _held(
        context,
        lock,
        one_rps=lock.measured_rps,
        workers=lock.workers,
        measured_rps=lock.workers_rps,
        without_rps=lock.apart_rps,
    )


def _held(context: FindingContext, lock: OwnLock, **rates: float) -> Evidence:
    """Evidence of a lock: how long a request holds it, ``rates``, and the line where the endpoint
    waits that waits most."""
    worst = context.largest(lambda e: e.share * (e.db_s.value + e.wait_s.value))
    return {
        "lock_s": lock.seconds.value,
        "low_s": lock.seconds.low,
        "high_s": lock.seconds.high,
        **rates,
        **context.place(worst, "other", "out", "db"),
    }


def _cpu_bound(context: FindingContext) -> Evidence | None:
    recommended = _bound_by(context, "cpu")
    worst = context.largest(lambda e: e.share * e.cpu_s.value)
    demand = context.run.demand
    if recommended is None or worst is None or demand is None or not demand.cpu_s.value > 0:
        return None
    return {
        "capacity_rps": recommended.predicted.throughput_rps.value,
        "cpu_s": demand.cpu_s.value,
        "endpoint": worst.name,
        "of_cpu_fraction": worst.share * worst.cpu_s.value / demand.cpu_s.value,
        **context.line(worst.name, "cpu"),
    }


def _gil_bound(context: FindingContext) -> Evidence | None:
    recommended = context.run.recommendation
    demand = context.run.demand
    # The fraction's low end is above 0 only where the contrast trial could tell.
    if recommended is None or demand is None or context.asgi or demand.cpu_gil_fraction.low < 0.5:
        return None
    busy = dict(recommended.predicted.utilisation).get("gil", 0.0)
    if busy < 0.8:
        return None
    contention = context.run.breakdown.contention if context.run.breakdown else None
    waits = {}
    if contention is not None and contention.lock == "gil":
        waits = {"threads": contention.requests, "gil_wait_s": contention.wait_s.value}
    return {"gil_fraction": demand.cpu_gil_fraction.value, "busy_fraction": busy, **waits}


def _connections(context: FindingContext) -> Evidence | None:
    budget = context.run.budget
    if budget is None or budget.pg_connections is None or not context.run.candidates:
        return None
    bound = _bound_by(context, "pg_connections") is not None
    none_fits = context.run.recommendation is None and (
        "Postgres connections" in context.run.candidates[0].rejected_by
    )
    if not (bound or none_fits):
        return None
    over = [c for c in context.run.candidates if c.predicted.pg_connections > budget.pg_connections]
    return {
        "budget_connections": budget.pg_connections,
        "wanted_connections": min((c.predicted.pg_connections for c in over), default=0),
        "instances": budget.instances,
    }


def _fds(context: FindingContext) -> Evidence | None:
    recommended, budget = context.run.recommendation, context.run.budget
    if recommended is None or budget is None or recommended.predicted.fds < SCARCE_FDS * budget.fds:
        return None
    return {
        "fds": recommended.predicted.fds,
        "limit": budget.fds,
        "users": recommended.predicted.users,
    }


def _timeout(context: FindingContext) -> Evidence | None:
    recommended = context.run.recommendation
    slowest = context.largest(lambda e: e.unloaded_p95_s)
    if recommended is None or slowest is None or context.asgi or not recommended.settings.timeout:
        return None
    if 3 * slowest.unloaded_p95_s <= recommended.settings.timeout:
        return None
    return {
        "endpoint": slowest.name,
        "unloaded_p95_s": slowest.unloaded_p95_s,
        "timeout_s": recommended.settings.timeout,
    }


def _preload(context: FindingContext) -> Evidence | None:
    recommended, demand = context.run.recommendation, context.run.demand
    if (
        recommended is None
        or demand is None
        or not recommended.settings.preload_app
        or not preload_pays(demand)
    ):
        return None
    each = demand.worker.preload_saving_bytes
    saving = memory.preload_saving(demand.worker, recommended.settings.workers)
    assert each is not None, "preload_pays says it was measured"
    assert saving is not None
    return {
        "saving_bytes": saving.value,
        "each_bytes": each.value,
        "further": recommended.settings.workers - 1,
        "once_bytes": demand.worker.preload_once_bytes,
    }


def _preload_unsafe(context: FindingContext) -> Evidence | None:
    why = context.run.preload_hindrance
    if not why:
        return None
    left = context.facts.left_open if context.facts else ()
    return {"why": why, "left_open": [f"{each.kind} {each.name}" for each in left]}


def _formula(context: FindingContext) -> Evidence | None:
    for baseline in context.run.baselines:
        violates = surely(baseline.violates)
        if violates and baseline.name.startswith("gunicorn: 2 x"):
            return {
                "formula": baseline.name,
                "workers": baseline.settings.workers,
                "violates": list(violates),
            }
    return None


RULES: tuple[Rule, ...] = (
    Rule(
        "connections-exhausted", "critical", _connections,
        "Postgres connections are the limit: {budget_connections} are free for {instances} "
        "instance(s), and the next larger arrangement needs {wanted_connections}",
        "Put PgBouncer (pool_mode = transaction) between the app and Postgres, or use fewer "
        "threads per worker. Raise max_connections only if there is RAM for about 10 MB per "
        "connection.",
    ),
    Rule(
        "db-bound", "warning", _db_bound,
        "The database is the limit at {capacity_rps} requests/s: per request Postgres computes "
        "for {db_cpu_s} and the app for {app_cpu_s}, most of it for {endpoint}{at_line}",
        "More workers would not help. Fix that query (EXPLAIN ANALYZE, a missing index), cache "
        "its result, or give Postgres cores of its own; pg_stat_statements shows the most "
        "expensive one.",
    ),
    Rule(
        "db-contended", "warning", _db_contended,
        "Requests wait for each other in the database: a request spends {alone_s} in Postgres "
        "when it is alone and {several_s} with {requests} at once{at_line}",
        "More workers would not help while they wait for the same rows or locks: look at "
        "wait_event in pg_stat_activity under load, and shorten the transaction of {endpoint}.",
    ),
    Rule(
        "own-lock", "warning", _own_lock,
        "Requests in one worker wait for each other: each keeps the others out for {lock_s} "
        "({low_s} to {high_s}) while it waits{at_line}. {requests} at once reached "
        "{measured_rps} requests/s where {without_rps} were expected",
        "Look in {endpoint} for a lock, a client that serves one call at a time, or a pool with "
        "fewer connections than threads; hold it for less time or make the pool larger. Until "
        "then more workers help and more threads do not.",
    ),
    Rule(
        "shared-lock", "warning", _shared_lock,
        "All workers wait for one lock: each request keeps every other out for {lock_s} ({low_s} "
        "to {high_s}){at_line}. One worker carried {one_rps} requests/s and {workers} workers "
        "{measured_rps}, where {without_rps} were expected of locks of their own",
        "Neither workers nor threads help, so the smallest arrangement is the answer. Look in "
        "{endpoint} for what all processes share and one at a time may change (a SQLite file, a "
        "lock on a file, one row that every request writes): write less often or in batches, hold "
        "it for less time, or move it to a database that locks rows.",
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
        "preload-unsafe", "warning", _preload_unsafe,
        "The app must not be loaded before the fork: {why}",
        "Leave preload_app off. To have what it saves, open connections, pools, event loops, locks "
        "and threads in each worker: at the first use, at startup (ASGI lifespan) or in the "
        "server's post_fork hook, not while a module is imported.",
    ),
    Rule(
        "formula-breaks", "info", _formula,
        "The usual formula ({formula}) gives workers = {workers}, which is predicted to break: "
        "{violates}",
        "Do not copy it to this machine; the recommendation keeps the same budgets.",
    ),
    Rule(
        "gil-bound", "info", _gil_bound,
        "{gil_fraction} of the CPU time needs the GIL, which is busy {busy_fraction} of the time",
        "Threads only overlap waiting here. For more CPU throughput add workers, as far as "
        "cores and RAM allow.",
    ),
    Rule(
        "cpu-bound", "info", _cpu_bound,
        "CPU is the limit at {capacity_rps} requests/s: {cpu_s} per request, {of_cpu_fraction} of "
        "it in {endpoint}{at_line}",
        "Start with {endpoint}; the report names its lines. Then add cores: more workers on the "
        "same cores would not help.",
    ),
    Rule(
        "preload-saves", "info", _preload,
        "Preloading saves {saving_bytes}: {each_bytes} for each of {further} further workers, less "
        "{once_bytes} for the process that loads the app",
        "Keep preload_app on, and open database connections and threads only after the fork.",
    ),
)  # fmt: skip

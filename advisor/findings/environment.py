"""Findings about what the app stands on: quota, memory limit, Postgres and what is before it."""

from __future__ import annotations

from pretune.advisor.findings.rule import Evidence, FindingContext, Rule
from pretune.advisor.profiler.measurement import Measurement, Surroundings
from pretune.advisor.trials import answering

THROTTLED = 0.02  # s held back per s
STALLED = 0.05  # of the time some task waited for memory
CROWDED = 0.5  # of the connections, held by others
RESERVED = 0.1  # of max_connections


def _server_fails(context: FindingContext) -> Evidence | None:
    found = answering.find_loss(context.trials)
    if found is None:
        return None
    theirs, ours = found
    here, there = ours.counts, theirs.counts
    assert here is not None
    assert there is not None
    return {
        "server": context.run.server,
        "trial": theirs.name,
        "worker_class": theirs.settings.worker_class,
        "sent": there.sent,
        "unanswered": there.unanswered,
        "failed": there.failed,
        "embedded_sent": here.sent,
        "embedded_lost": here.lost,
    }


def _around(context: FindingContext) -> list[tuple[Measurement, Surroundings]]:
    return [(t, t.surroundings) for t in context.trials if t.surroundings is not None]


def _throttled(context: FindingContext) -> Evidence | None:
    held = [(t, s) for t, s in _around(context) if s.throttled.low > THROTTLED]
    if not held:
        return None
    trial, worst = max(held, key=lambda pair: pair[1].throttled.value)
    return {
        "trial": trial.name,
        "throttled_fraction": worst.throttled.value,
        "periods": worst.throttled_periods,
    }


def _killed(context: FindingContext) -> Evidence | None:
    for trial, around in _around(context):
        if around.memory_events and around.memory_events.oom_kill:
            return {"trial": trial.name, "kills": around.memory_events.oom_kill}
    return None


def _memory_pressure(context: FindingContext) -> Evidence | None:
    for trial, around in _around(context):
        shares = [p.memory for p in (around.pressure, around.cgroup_pressure) if p is not None]
        stalled = max((s.value for s in shares if s.low > STALLED), default=0.0)
        events = around.memory_events
        hits = events.high + events.max if events and not events.oom_kill else 0
        if stalled or hits:
            return {"trial": trial.name, "hits": hits, "stalled_fraction": stalled}
    return None


def _crowded(context: FindingContext) -> Evidence | None:
    """Others' sessions, in preflight or in a trial; behind a pooler they do not count."""
    database = context.run.database
    if database is None or (database.pooler and database.pooler.available is not None):
        return None
    usable = database.max_connections - database.reserved_slots
    seen = [t.database_time.others_peak for t in context.trials if t.database_time]
    others = max([database.others_in_use, *seen])
    if usable <= 0 or others < CROWDED * usable:
        return None
    return {"others": others, "usable": usable, "of_usable_fraction": others / usable}


def _reserved(context: FindingContext) -> Evidence | None:
    database, recommended = context.run.database, context.run.recommendation
    if database is None or not database.reserved_slots:
        return None
    bound = recommended is not None and recommended.binding == "pg_connections"
    if not bound and database.reserved_slots < RESERVED * database.max_connections:
        return None
    return {"reserved": database.reserved_slots, "max_connections": database.max_connections}


def _pooler(context: FindingContext) -> Evidence | None:
    database = context.run.database
    if database is None or database.pooler is None:
        return None
    pooler = database.pooler
    if pooler.available is None:
        return {"pooler": pooler.kind, "said": f"it does not show its limits ({pooler.problem})"}
    sentence = f"{pooler.bound}; it passes at most {pooler.pool_size} at a time on to Postgres"
    mode = f" in {pooler.pool_mode} mode"
    return {"pooler": f"{pooler.kind} {pooler.version}{mode}", "said": sentence}


def _pool_too_small(context: FindingContext) -> Evidence | None:
    database, recommended = context.run.database, context.run.recommendation
    pooler = database.pooler if database else None
    if database is None or pooler is None or not pooler.pool_size or recommended is None:
        return None
    wanted = recommended.predicted.pg_connections
    if wanted <= pooler.pool_size:
        return None
    room = database.max_connections - database.reserved_slots - database.others_in_use
    return {"wanted": wanted, "pool_size": pooler.pool_size, "room": room}


RULES: tuple[Rule, ...] = (
    Rule(
        "server-fails-app", "critical", _server_fails,
        "{server} loses requests of this app: of {sent} in the {trial} trial, {unanswered} were "
        "never answered and {failed} failed; on the embedded server, {embedded_lost} of "
        "{embedded_sent}",
        "Take another version of it (an older one that answered, or a newer one), another worker "
        "class than {worker_class}, or another server (--server), and measure again: no setting "
        "is derived from this trial. Its log is in logs/.",
    ),
    Rule(
        "out-of-memory", "critical", _killed,
        "The kernel killed {kills} process(es) of the {trial} trial because memory ran out",
        "Free memory on this machine or give it more, and measure again. If a single request "
        "needs so much, stream its response or split it into pages.",
    ),
    Rule(
        "cpu-throttled", "warning", _throttled,
        "A CPU quota held the app back in the {trial} trial: for {throttled_fraction} of a "
        "core's time, in {periods} periods",
        "Give the container more CPU (docker --cpus, limits.cpu in Kubernetes), or name its "
        "quota with --cores. Under a quota latency grows in steps of the quota's period, "
        "usually 100 ms.",
    ),
    Rule(
        "memory-pressure", "warning", _memory_pressure,
        "Memory was short in the {trial} trial: its limit was hit {hits} times, and tasks waited "
        "for memory {stalled_fraction} of the time",
        "Use fewer workers or more RAM: an app that keeps reclaiming pages becomes slow before "
        "it is killed.",
    ),
    Rule(
        "others-hold-connections", "warning", _crowded,
        "Others hold {others} of the {usable} Postgres connections that are not reserved "
        "({of_usable_fraction})",
        "Find out who they are (select usename, application_name, count(*) from "
        "pg_stat_activity group by 1, 2), give roles a limit (alter role ... connection limit), "
        "or let them share through PgBouncer.",
    ),
    Rule(
        "pool-too-small", "warning", _pool_too_small,
        "Up to {wanted} connections share the pooler's {pool_size}; the others wait in the "
        "pooler, which the prediction does not include",
        "Raise default_pool_size to what Postgres has room for ({room} connections), or run fewer "
        "threads.",
    ),
    Rule(
        "connection-pooler", "info", _pooler,
        "The database is reached through {pooler}: {said}",
        "In transaction mode keep nothing in a session (prepared statements, SET, advisory "
        "locks, LISTEN{no_cursors}); add the app's user to stats_users "
        "so that the limits can be read.",
    ),
    Rule(
        "reserved-slots", "info", _reserved,
        "{reserved} of Postgres's {max_connections} connections are reserved",
        "An app whose role is not a superuser gets none of them. superuser_reserved_connections "
        "and reserved_connections set their number; keep some for the operator at 3 am.",
    ),
)  # fmt: skip

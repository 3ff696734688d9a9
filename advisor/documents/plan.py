"""The plan of a run, as a plain dict for ``reports.dry_run``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pretune.advisor.documents.report import assemble
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.profiler.measurement import Role
from pretune.advisor.resources.pooler import Pooler
from pretune.advisor.resources.postgres_url import redact
from pretune.advisor.reverse_proxy import checks
from pretune.advisor.reverse_proxy import cost as front
from pretune.advisor.run import Run
from pretune.advisor.trials.plan import BETWEEN_S, PlannedTrial, Terms

# Trials that are run whatever server the answer is for; the others depend on what is measured.
ALWAYS = frozenset({Role.DEMAND, Role.CONTRAST, Role.PRELOAD})
# of the document, shown as they would stand in it
SHOWN = ("target", "machine", "budget", "slo", "workload", "today", "notes")


def describe(
    run: Run,
    preflight: Preflight,
    planned: Sequence[PlannedTrial],
    terms: Terms,
    total_s: float,
) -> dict[str, Any]:
    """Trials with their expected seconds; the database without its password.

    ``total_s``: the time budget.
    """
    document = assemble(run)
    verification = terms.seconds[Role.VERIFICATION] + terms.around_s + BETWEEN_S
    return {
        **{key: document[key] for key in SHOWN},
        "database": _database(preflight),
        "deployment_files": list(preflight.look.read),
        "trials": [
            *(
                {"name": p.name, "detail": p.why, "expected_s": p.expected_s}
                for p in planned
                if p.role in ALWAYS
            ),
            *_front(preflight, terms),
            {
                "name": "verification",
                "detail": "the recommended settings at the claimed load and at half of it",
                "expected_s": verification,
            },
        ],
        "total_s": total_s,
    }


def _front(preflight: Preflight, terms: Terms) -> list[dict[str, Any]]:
    """List the steps for a front before the verification through it."""
    if preflight.front is None:
        return []
    cost_s = terms.seconds[Role.FRONT] + terms.around_s
    cost = f"the same through {preflight.front.name}: what it costs"
    gives = "the same server by itself and behind it"
    return [
        {"name": front.TRIAL, "detail": cost, "expected_s": cost_s},
        {"name": "checks", "detail": gives, "expected_s": checks.SECONDS},
    ]


def _pooler(pooler: Pooler | None) -> str | None:
    if pooler is None:
        return None
    if pooler.available is None:
        return f"{pooler.kind}: {pooler.problem}"
    return f"{pooler.kind} {pooler.version}, {pooler.pool_mode} mode, pool of {pooler.pool_size}"


def _database(preflight: Preflight) -> dict[str, Any] | None:
    if preflight.database is None or preflight.database_url is None:
        return None
    database = preflight.database
    return {
        "url": redact(preflight.database_url),
        "version": database.version,
        "local": database.local,
        "pooler": _pooler(database.pooler),
        "max_connections": database.max_connections,
        "reserved": database.reserved_slots,
        "others_in_use": database.others_in_use,
        "available": database.available,
    }

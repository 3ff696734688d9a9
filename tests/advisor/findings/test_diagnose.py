"""Every finding fires on its evidence and is silent on a healthy run and on an empty one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pretune.advisor.demand.allocation_sites import Holder, Holders
from pretune.advisor.demand.allocators import Saving
from pretune.advisor.demand.breakdown import (
    Blocking,
    Breakdown,
    EndpointBreakdown,
    Host,
    Line,
    Loop,
)
from pretune.advisor.demand.values import TUPLE, Demand, EndpointDemand, WorkerDemand
from pretune.advisor.deployed.value import Deployed
from pretune.advisor.findings import deployed
from pretune.advisor.findings.diagnose import RULES, diagnose
from pretune.advisor.model.lock import OwnLock
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight.facts import AppDatabase, Facts, LeftOpen
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.preflight.target import Target
from pretune.advisor.profiler.causes import CAUSES
from pretune.advisor.profiler.measurement import (
    Conditions,
    DatabaseTime,
    ErrorCause,
    Latency,
    Measurement,
    MemoryEvents,
    MemorySeries,
    PressureShares,
    RequestCounts,
    Role,
    Settled,
    Surroundings,
    WorkerMeasurement,
)
from pretune.advisor.profiler.telemetry import RECORD
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.recommendation.today import Today
from pretune.advisor.recommendation.values import Baseline, Candidate, Recommendation
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.resources.pooler import Pooler
from pretune.advisor.resources.postgres import PostgresLimits
from pretune.advisor.run import SEVERITIES, Row, Run, Trial, Verification
from pretune.advisor.verdict import Verdict
from pretune.loadtests.workload import Endpoint, Load, Skipped, Workload
from pretune.server.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
EXACT = Interval.exact
TENTH = EXACT(0.1)

PREDICTION = Prediction(
    8, EXACT(300.0), Latency(TENTH, TENTH, TENTH, TENTH), EXACT(200.0 * MIB), EXACT(300.0 * MIB), 6,
    30, (("cpu", 0.6), ("gil", 0.5)), "slots", "slots are it",
)  # fmt: skip
ENDPOINT = EndpointDemand(
    "/a", 1.0, 500, EXACT(0.006), EXACT(0.003), EXACT(3.0), EXACT(0.001), 0.012, 2000.0
)
WORKER = WorkerDemand(
    EXACT(80.0 * MIB), EXACT(1.0 * MIB), 15.0 * MIB, None, EXACT(0.0), "none", 0.8, 0.1, 15, 1, 1.0
)
TUPLES = np.zeros(500, TUPLE)
TUPLES["cpu"] = 0.006
DEMAND = Demand(
    TUPLES, (1.0,), EXACT(0.006), Interval(1.0, 0.0, 1.0), EXACT(0.0002), EXACT(0.003), EXACT(3.0),
    EXACT(0.001), EXACT(0.001), EXACT(0.0), (ENDPOINT,), WORKER, 0.012, 0.0001,
)  # fmt: skip
TRIAL = Measurement(
    name="demand", settings=Settings(), load=Load(1, 10.0),
    conditions=Conditions(1.0, 1.0, True, True), steady=True, steady_note="", window_s=10.0,
    requests=1000, throughput_rps=EXACT(100.0), latency=Latency(TENTH, TENTH, TENTH, TENTH),
    error_rate=0.0, errors=(), by_endpoint=(), pss_bytes=EXACT(95.0 * MIB), rss_bytes=120.0 * MIB,
    master_pss_bytes=15.0 * MIB, kernel_bytes=0.0, workers=(), memory_series=(),
    pg_connections_peak=4, pg_idle_in_transaction_peak=1, db_cpu_s_per_request=None,
    cpu_s_per_request=UNKNOWN, telemetry=np.zeros(0, RECORD), telemetry_lost=0, generator_cpu=0.2,
    generator_saturated=False, disturbed="",
)  # fmt: skip
RECOMMENDATION = Recommendation(Settings(2, 3), PREDICTION, "slots", (), ())
HEALTHY = Run(
    "app", 1, Verdict.FITS,
    target=Target("app", Path("."), Path("python"), "wsgi", "flask", "app:app", None, "3.12", 0.5),
    budget=Budget(4 * GIB, 2.0, 97, 1024), slo=Slo(0.3),
    workload=Workload((Endpoint("/a", ("/a",), 1.0),)), demand=DEMAND, trials=(Trial(TRIAL),),
    candidates=(Candidate(Settings(2, 3), PREDICTION, ""),), recommendation=RECOMMENDATION,
    verification=Verification(Trial(TRIAL), ()),
)  # fmt: skip


assert HEALTHY.target is not None
assert HEALTHY.budget is not None
assert HEALTHY.slo is not None
assert HEALTHY.workload is not None
FACTS = Facts(
    HEALTHY.target, HEALTHY.budget, HEALTHY.slo, HEALTHY.workload, None,
    Servers("embedded", "embedded"), {}, {"debug": False},
)  # fmt: skip


def contended(several_s: float, delay_s: float = 0.0) -> Run:
    """Time in Postgres, alone 3 ms, with four requests at once."""

    def timed(role: Role, threads: int, active_s: float, late_s: float) -> Trial:
        zero = EXACT(0.0)
        spent = DatabaseTime(None, EXACT(active_s), zero, EXACT(1.0), EXACT(late_s), zero, 0, 0)
        settings = Settings(1, threads)
        trial = replace(TRIAL, name=role, role=role, settings=settings, database_time=spent)
        return Trial(trial)

    trials = (timed(Role.DEMAND, 1, 0.003, 0.0), timed(Role.CONTRAST, 4, several_s, delay_s))
    return replace(HEALTHY, trials=trials)


MISSED = Row("p95_ms", Interval(80, 70, 89), Interval(90, 89, 91), False, sentence="p95 90 ms")


def trial(**changes: Any) -> Run:
    return replace(HEALTHY, trials=(Trial(replace(TRIAL, **changes)),))


def demand(**changes: Any) -> Run:
    return replace(HEALTHY, demand=replace(DEMAND, **changes))


def worker(**changes: Any) -> Run:
    return demand(worker=replace(WORKER, **changes))


def endpoint(**changes: Any) -> Run:
    return demand(by_endpoint=(replace(ENDPOINT, **changes),))


def bound(binding: str, *, run: Run = HEALTHY, **changes: Any) -> Run:
    prediction = replace(PREDICTION, **changes)
    return replace(
        run, recommendation=replace(RECOMMENDATION, binding=binding, predicted=prediction)
    )


def asgi_that_computes() -> Run:
    tuples = TUPLES.copy()
    tuples["cpu"][:20] = 0.2
    assert HEALTHY.target is not None
    target = replace(HEALTHY.target, interface="asgi")
    return replace(HEALTHY, target=target, demand=replace(DEMAND, tuples=tuples))


def out_of_connections() -> Run:
    over = Candidate(
        Settings(40, 4), replace(PREDICTION, pg_connections=164), "164 Postgres connections > 97"
    )
    return replace(bound("pg_connections"), candidates=(*HEALTHY.candidates, over))


def preloaded() -> Run:
    saving = Interval(30.0 * MIB, 28.0 * MIB, 32.0 * MIB)
    settings = Settings(3, 3, preload_app=True)
    return replace(
        worker(preload_saving_bytes=saving),
        recommendation=replace(RECOMMENDATION, settings=settings),
    )


def nobody_holds() -> Run:
    numbers = np.arange(3.0)
    one = MemorySeries(1, numbers, numbers, numbers, settled=Settled(MIB, 3.0 * MIB, True))
    run = worker(leak_class="fragmentation", leak_slope_bytes_per_request=Interval(9.0, 0.0, 90.0))
    return replace(run, trials=(Trial(replace(TRIAL, memory_series=(one,))),))


def in_arenas() -> Run:
    """After 100 requests a worker of eight threads has 42 MiB more than one of a single one."""

    def grown(role: Role, threads: int, megabytes: float) -> Trial:
        requests = np.linspace(0.0, 100.0, 30)
        memory = np.full(30, megabytes * MIB)
        series = MemorySeries(1, requests, requests, memory, memory)
        settings = Settings(1, threads)
        return Trial(
            replace(TRIAL, name=role, role=role, settings=settings, memory_series=(series,))
        )

    trials = (grown(Role.DEMAND, 1, 100.0), grown(Role.CONTRAST, 8, 142.0))
    return replace(HEALTHY, trials=trials)


QUIET = PressureShares(EXACT(0.1), EXACT(0.0), EXACT(0.0))
NO_EVENTS = MemoryEvents(0, 0, 0, 0)
SURROUNDINGS = Surroundings(EXACT(0.0), EXACT(0.0), EXACT(0.0), 0, QUIET, None, NO_EVENTS)
POSTGRES = PostgresLimits(100, 3, 0, None, None, 2, 95, "127.0.0.1", True, "17.2")
POOLER = Pooler("PgBouncer", "1.23.1", "", "transaction", 20, 100, None, 4, 0)


def around(**changes: Any) -> Run:
    return trial(surroundings=replace(SURROUNDINGS, **changes))


def postgres(**changes: Any) -> Run:
    return replace(HEALTHY, database=replace(POSTGRES, **changes))


def small_pool() -> Run:
    """With the finding that there is a pooler at all."""
    return postgres(pooler=replace(POOLER, pool_size=5))


def explained(*lines: Line, run: Run = HEALTHY, loop: Loop | None = None, **changes: Any) -> Run:
    """The run, and where the time of its one endpoint went."""
    zero = EXACT(0.0)
    fields = {"held_fraction": None, **changes}
    one = EndpointBreakdown("/a", ("/a",), zero, zero, (), lines, **fields)
    host = Host("api.example:443", EXACT(50.0), EXACT(0.02))
    breakdown = Breakdown(zero, zero, (host,), (one,), loop, None, 1000, 0.0, 0.003)
    return replace(run, breakdown=breakdown)


def line(kind: str, number: int, *, looks: int = 80, own: bool = True) -> Line:
    part = EXACT(looks / 100)
    return Line(kind, "shop/views.py", number, "execute", own, looks, part, EXACT(0.002))


def asgi(run: Run) -> Run:
    assert run.target is not None
    return replace(run, target=replace(run.target, interface="asgi"))


BLOCKED = Loop(
    100, TENTH, TENTH, TENTH, 0.1, (Blocking("/a", "shop/views.py", 9, "sleep", 40, 0.08),)
)
# finding -> a run in which the line is known, and what the title then says
LINES: dict[str, tuple[Callable[[], Run], str]] = {
    "n-plus-one": (
        lambda: explained(line("db", 41), run=endpoint(db_calls=EXACT(31.0))),
        "at shop/views.py:41 in execute (80% of its waiting)",
    ),
    "database-waits-dominate": (
        lambda: explained(
            line("db", 7, looks=90, own=False), line("db", 41), line("other", 1),
            run=demand(db_s=EXACT(0.02)),
        ),
        "at shop/views.py:41",
    ),
    "outbound-calls-dominate": (
        lambda: explained(
            line("out", 5), run=demand(wait_s=EXACT(0.09), wait_calls=EXACT(50.0))
        ),
        "50 outbound calls to api.example:443), at shop/views.py:5",
    ),
    "cpu-bound": (lambda: explained(line("cpu", 3), run=bound("cpu")), "views.py:3 in execute"),
    "blocking-event-loop": (
        lambda: asgi(explained(loop=BLOCKED)), "/a holds the event loop for 80 ms at a time, at sh",
    ),
    "sync-on-the-loop": (
        lambda: asgi(explained(line("db", 41), held_fraction=EXACT(0.9))),
        "holds the event loop meanwhile, at shop/views.py:41",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LINES)
def test_a_finding_names_the_line_where_it_is_known(name):
    make, said = LINES[name]
    (found,) = [f for f in diagnose(make()) if f.id == name]
    assert said in found.title


def test_few_looks_name_no_line():
    run = explained(line("db", 41, looks=3), run=endpoint(db_calls=EXACT(31.0)))
    (found,) = [f for f in diagnose(run) if f.id == "n-plus-one"]
    assert "views.py" not in found.title


def held_at() -> Run:
    line = Holder("shop/views.py:41", 512.0, 0.3, "orm.py:7")
    return replace(leaking(), holders=Holders((line,), 1800.0, 3000))


def held_outside() -> Run:
    return replace(leaking(), holders=Holders((), 100.0, 3000))


def leaking() -> Run:
    return worker(leak_class="leak", leak_slope_bytes_per_request=Interval(2048.0, 2e3, 2.1e3))


def allocated(saved: float) -> Run:
    saving = Saving(
        "MALLOC_ARENA_MAX=2", {"MALLOC_ARENA_MAX": "2"}, 4, 100.0 * MIB,
        Interval(saved * MIB, (saved - 3) * MIB, (saved + 3) * MIB), Interval(0.01, -0.01, 0.03),
    )  # fmt: skip
    return replace(HEALTHY, allocators=(saving,))


LEAK = Interval(2000.0, 1900.0, 2100.0)
# finding -> others that stand beside it
BESIDE = {"leak-held-at": ("leak",), "leak-outside-python": ("leak",)}


# finding -> (a run that shows it, what its title or fix must quote)
def losing() -> Run:
    """Each of two users gets one answer of the server that is deployed, and then none."""
    ours = replace(TRIAL, name="contrast", role=Role.CONTRAST, counts=RequestCounts(1000, 0, 0))
    there = replace(TRIAL.conditions, server="gunicorn")
    theirs = replace(
        TRIAL, name="server", role=Role.SERVER, conditions=there, counts=RequestCounts(2, 0, 8)
    )
    return replace(HEALTHY, server="gunicorn 26.2.0", trials=(Trial(ours), Trial(theirs)))


DJANGO = AppDatabase("DATABASES", "postgresql", persistent=True)
SQLALCHEMY = AppDatabase("sqlalchemy engine", "postgresql", pooled=True, most=15)


def known(*databases: AppDatabase, thread_limit: int | None = None) -> Facts:
    return replace(FACTS, app_databases=databases, thread_limit=thread_limit)


def worked(connections: int, **changes: Any) -> Run:
    """A trial whose one worker held so many connections."""
    one = WorkerMeasurement(
        1, 0.5, 100, 1.0, 50.0 * MIB, 45.0 * MIB, 70.0 * MIB, 12, 9, connections
    )
    run = trial(name="contrast", workers=(one,), pg_idle_in_transaction_peak=0, **changes)
    return replace(run, recommendation=None, candidates=())


def in_threads() -> Run:
    """Endpoints that an event loop hands to threads."""
    tuples = TUPLES.copy()
    tuples["pool"] = 0.004
    return replace(HEALTHY, demand=replace(DEMAND, tuples=tuples))


def failing(kind: str) -> Run:
    """Errors whose reason the answers name, where errors are allowed."""
    run = trial(error_rate=0.02, causes=(ErrorCause(kind, 9, "words {limit_rate} of it"),))
    return replace(run, slo=Slo(0.3, error_rate=0.05))


SHOWN: dict[str, tuple[Callable[[], Run], str]] = {
    "server-fails-app": (losing, "gunicorn 26.2.0 loses requests of this app"),
    "app-errors": (lambda: trial(error_rate=0.02, errors=(("500 on /x", 20),)), "500 on /x"),
    "worker-died": (lambda: trial(worker_exits=(("crash", 2), ("stop", 1))), "2 workers died"),
    "connections-exhausted": (out_of_connections, "164"),
    "out-of-memory": (lambda: around(memory_events=MemoryEvents(0, 9, 0, 2)), "killed 2"),
    "cpu-throttled": (lambda: around(throttled=EXACT(0.25), throttled_periods=12), "25%"),
    "memory-pressure": (lambda: around(memory_events=MemoryEvents(0, 9, 0, 0)), "hit 9 times"),
    "others-hold-connections": (lambda: postgres(others_in_use=60), "60 of the 97"),
    "connection-pooler": (lambda: postgres(pooler=POOLER), "max_client_conn 100 - clients 4"),
    "reserved-slots": (lambda: postgres(superuser_reserved=10, reserved=5), "15 of"),
    "leak": (
        lambda: worker(leak_class="leak", leak_slope_bytes_per_request=LEAK), "1.86 GiB",
    ),
    "leak-held-at": (held_at, "shop/views.py:41: 512 B of 2 KiB per request, through orm.py:7"),
    "leak-outside-python": (held_outside, "only 100 B of the 2 KiB"),
    "grows-with-threads": (in_arenas, "8 threads holds 42 MiB more than one with a single thread"),
    "trial-beyond-answer": (
        lambda: trial(
            role=Role.CONTRAST, settings=Settings(1, 4), throughput_rps=Interval(390, 380, 400)
        ),
        "carried 390 requests/s with a p95 of 100 ms, within the limit; the answer claims 300",
    ),
    "allocator-saves": (lambda: allocated(60.0), "MALLOC_ARENA_MAX=2 would save 60 MiB of the 100"),
    "fragmentation": (nobody_holds, "3 MiB of freed memory and 1 MiB of uncollected garbage"),
    "still-warming": (
        lambda: worker(
            leak_class="still_warming", leak_slope_bytes_per_request=Interval(40.0, 0.0, 90.0)
        ),
        "90 B",
    ),
    "n-plus-one": (lambda: endpoint(db_calls=Interval(120.0, 110.0, 130.0)), "120 database calls"),
    "idle-in-transaction": (lambda: trial(pg_idle_in_transaction_peak=3), "3 of 4"),
    "blocking-event-loop": (asgi_that_computes, "200 ms"),
    "sync-on-the-loop": (
        lambda: asgi(explained(line("db", 41), held_fraction=EXACT(0.9))), "3.6 ms"
    ),
    "db-bound": (lambda: bound("db"), "Postgres computes for 1 ms and the app for 6.2 ms"),
    "db-contended": (
        lambda: contended(0.030), "3 ms in Postgres when it is alone and 30 ms with 4 at once"
    ),
    "timeout-near-slowest": (lambda: endpoint(unloaded_p95_s=20.0), "20 s"),
    "fds-scarce": (lambda: bound("slots", fds=900), "900 of 1,024"),
    "large-response": (lambda: endpoint(response_bytes=5.0 * MIB), "5 MiB"),
    "slow-routes": (
        lambda: replace(
            HEALTHY,
            workload=Workload(
                (Endpoint("/a", ("/a",), 1.0),),
                apart=(Endpoint("/report", ("/report",), 0.5, tried_s=8.02),),
            ),
        ),
        "/report (8.02 s). The answer is for the other 1 route(s)",
    ),
    "own-lock": (
        lambda: replace(
            HEALTHY,
            own_lock=OwnLock(Interval(1.0, 0.9, 1.1), Interval(0.004, 0.0036, 0.0044), 210, 814, 4),
        ),
        "210 requests/s where 814",
    ),
    "machine-disturbed": (lambda: trial(disturbed="steal 4.1%"), "steal 4.1%"),
    "generator-near-saturation": (lambda: trial(generator_cpu=0.85), "85%"),
    "prediction-missed": (
        lambda: replace(HEALTHY, verification=Verification(Trial(TRIAL), (MISSED,))),
        "p95 90 ms",
    ),
    "not-steady": (lambda: trial(steady=False, steady_note="still rising"), "still rising"),
    "telemetry-lost": (lambda: trial(telemetry_lost=200), "200 of"),
    "formula-breaks": (
        lambda: replace(
            HEALTHY,
            baselines=(
                Baseline("gunicorn: 2 x cores + 1", Settings(5), PREDICTION, ("RAM: 5 GiB > 4",)),
            ),
        ),
        "RAM: 5 GiB > 4",
    ),
    "gil-bound": (
        lambda: bound(
            "gil",
            run=demand(cpu_gil_fraction=Interval(0.9, 0.8, 1.0)),
            utilisation=(("gil", 0.95),),
        ),
        "95%",
    ),
    "cpu-bound": (lambda: bound("cpu"), "100% of it in /a"),
    "database-waits-dominate": (lambda: demand(db_s=EXACT(0.05)), "50 ms"),
    "outbound-calls-dominate": (
        lambda: demand(wait_s=EXACT(0.05), wait_calls=EXACT(1.0)), "1 outbound calls",
    ),
    "preload-unsafe": (
        lambda: replace(HEALTHY, preload_hindrance="its import leaves a thread"), "leaves a thread"
    ),
    "preload-saves": (preloaded, "60 MiB"),
    "slow-boot": (lambda: worker(boot_s=9.0), "9 s"),
    "not-pinned": (lambda: trial(conditions=Conditions(1.0, 0.0, False, True)), "demand"),
    "routes-skipped": (
        lambda: replace(
            HEALTHY,
            workload=Workload((Endpoint("/a", ("/a",), 1.0),), skipped=(Skipped("/b", "404"),)),
        ),
        "/b (404)",
    ),
}  # fmt: skip
# finding -> (a run, what was known before it, what its title must quote)
KNOWN: dict[str, tuple[Callable[[], Run], Facts, str]] = {
    "pool-is-the-limit": (
        lambda: worked(15, role=Role.CONTRAST, settings=Settings(1, 40), load=Load(80, 10.0)),
        known(SQLALCHEMY), "all 15 connections that it may have were in use with 40 requests",
    ),
    "pool-below-requests": (lambda: HEALTHY, known(replace(SQLALCHEMY, most=2)), "and 3 of its"),
    "pools-over-postgres": (
        lambda: replace(HEALTHY, budget=Budget(4 * GIB, 2.0, 20, 1024)),
        known(SQLALCHEMY), "may open 30 connections (2 workers x 1 instances x 15) and 20 are free",
    ),
    "connections-outlive-requests": (
        lambda: worked(31, role=Role.CONTRAST, settings=Settings(1, 8), load=Load(16, 10.0)),
        known(DJANGO), "held 31 connections in the contrast trial, where at most 8 requests",
    ),
    "persistent-under-asgi": (lambda: asgi(HEALTHY), known(DJANGO), "CONN_MAX_AGE"),
    "thread-limit": (
        lambda: asgi(bound("slots", run=in_threads(), users=200)), known(thread_limit=40),
        "at most 40 plain def endpoints of a worker at once, and 100 requests",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_what_preflight_knows_is_held_against_the_trials(name: str) -> None:
    make, before, quoted = KNOWN[name]
    (finding,) = diagnose(make(), before)
    assert finding.id == name
    assert quoted in finding.title
    assert finding.fix.endswith(".")
    # without the knowledge there is no such finding, but for connections that nobody explains
    assert name == "connections-outlive-requests" or diagnose(make(), FACTS) == ()


@pytest.mark.parametrize(
    ("held", "hands", "database"),
    [
        (15, 40, AppDatabase("sqlalchemy engine", "postgresql", pooled=True)),  # without a limit
        (14, 40, AppDatabase("sqlalchemy engine", "postgresql", pooled=True, most=15)),
        (15, 15, AppDatabase("sqlalchemy engine", "postgresql", pooled=True, most=15)),
        (8, 8, AppDatabase("DATABASES", "postgresql", persistent=True)),  # one for each
        (12, 8, AppDatabase("sqlalchemy engine", "postgresql")),  # two for some
        (4, 1, AppDatabase("psycopg_pool", "postgresql", pooled=True, most=20)),  # its least
    ],
)
def test_as_many_connections_as_were_to_be_expected_are_no_finding(
    held: int, hands: int, database: AppDatabase
) -> None:
    run = worked(held, role=Role.CONTRAST, settings=Settings(1, hands), load=Load(80, 10.0))
    assert diagnose(replace(run, recommendation=None), known(database)) == ()


def test_memory_that_a_leak_explains_is_not_that_of_threads() -> None:
    leak = {"leak_class": "leak", "leak_slope_bytes_per_request": LEAK}
    run = replace(worker(**leak), trials=in_arenas().trials)
    assert [f.id for f in diagnose(run)] == ["leak"]


def test_a_trial_of_more_than_is_recommended_contradicts_nothing() -> None:
    settings = Settings(3, 4)
    more = trial(role=Role.CROWD, settings=settings, throughput_rps=Interval(390, 380, 400))
    assert diagnose(more) == ()


def test_a_lock_of_all_workers_is_told_apart_from_one_of_each() -> None:
    one = OwnLock(
        Interval(1.0, 0.9, 1.1), Interval(0.008, 0.007, 0.009), 113, 300, 4,
        shared=True, workers=3, workers_rps=111, apart_rps=330,
    )  # fmt: skip
    (found,) = diagnose(replace(HEALTHY, own_lock=one))
    assert found.id == "shared-lock"
    assert "One worker carried 113 requests/s and 3 workers 111, where 330" in found.title
    assert "the smallest arrangement" in found.fix


def test_in_debug_mode_nothing_is_said_of_today() -> None:
    debug = replace(FACTS, settings={"debug": True})
    today = Today(
        Deployed("gunicorn", "Procfile:1"), Settings(9), on="gunicorn", predicted=PREDICTION,
        violates=("RAM: 5 GiB > 4 GiB",),
    )  # fmt: skip
    run = replace(HEALTHY, today=today)
    assert [f.id for f in diagnose(run, FACTS)] == ["today-breaks"]
    (found,) = diagnose(run, debug)
    assert found.id == "debug-on"
    assert "nothing is said of leaks, nor of what is deployed" in found.title


SHOWN |= {f"errors-{each.kind}": (partial(failing, each.kind), "2.00% of") for each in CAUSES}


def test_a_healthy_run_has_no_findings() -> None:
    assert diagnose(HEALTHY, FACTS) == ()


def test_a_run_that_learned_nothing_has_no_findings() -> None:
    assert diagnose(Run("app", 1, Verdict.APP_FAILED)) == ()


@pytest.mark.parametrize("name", SHOWN)
def test_a_finding_fires_on_its_evidence_and_alone(name: str) -> None:
    run, quoted = SHOWN[name]
    found = diagnose(run())
    (finding,) = [f for f in found if f.id == name]
    assert {f.id for f in found} <= {name, *BESIDE.get(name, ())}
    assert quoted in finding.title
    assert finding.fix.endswith(".")
    json.dumps(finding.evidence, allow_nan=False)


def test_debug_mode_is_taken_from_the_application() -> None:
    (finding,) = diagnose(HEALTHY, replace(FACTS, settings={"debug": True}))
    assert finding.id == "debug-on"


def test_a_pool_smaller_than_the_arrangement_is_told_beside_the_pooler() -> None:
    found = diagnose(small_pool())
    assert [f.id for f in found] == ["pool-too-small", "connection-pooler"]
    assert "6 connections share the pooler's 5" in found[0].title


def test_a_pooler_that_does_not_tell_is_named_all_the_same() -> None:
    (found,) = diagnose(postgres(pooler=Pooler("PgBouncer", problem="not in stats_users")))
    assert "not in stats_users" in found.title


def test_connections_of_others_in_a_trial_count_too() -> None:
    times = DatabaseTime(None, EXACT(0.0), EXACT(0.0), EXACT(0.0), None, EXACT(0.0), 70, 0)
    run = replace(postgres(), trials=(Trial(replace(TRIAL, database_time=times)),))
    (found,) = diagnose(run)
    assert "70 of the 97" in found.title


def test_time_waited_for_memory_is_memory_pressure() -> None:
    stalled = PressureShares(EXACT(0.1), EXACT(0.2), EXACT(0.0))
    (found,) = diagnose(around(pressure=stalled))
    assert found.id == "memory-pressure"
    assert "20%" in found.title


def test_every_rule_is_shown_here_and_well_formed() -> None:
    ids = [rule.id for rule in RULES]
    assert len(ids) == len(set(ids))
    of_today = {rule.id for rule in deployed.RULES}  # tests/advisor/test_today.py
    others = {"debug-on", "pool-too-small", "shared-lock"}
    assert {*SHOWN, *KNOWN, *others, *of_today} == set(ids)
    assert {rule.severity for rule in RULES} <= set(SEVERITIES)


def test_errors_of_preloaded_workers_are_no_errors_of_an_answer_without_preload() -> None:
    """They are why it is without."""
    run = trial(error_rate=0.41, errors=(("500 on /x", 20),), settings=Settings(preload_app=True))
    forbidden = replace(run, preload_hindrance="41% of the requests failed")
    left = (LeftOpen("connection", "127.0.0.1:5432"),)
    (found,) = diagnose(forbidden, replace(FACTS, left_open=left))
    assert found.id == "preload-unsafe"
    assert found.evidence["left_open"] == ["connection 127.0.0.1:5432"]
    assert [f.id for f in diagnose(run)] == ["app-errors"]


def test_words_of_an_error_in_a_trial_without_errors_are_no_finding() -> None:
    assert diagnose(trial(causes=(ErrorCause("sqlite-locked", 1, "database is locked"),))) == ()


def test_the_most_severe_comes_first() -> None:
    run = trial(error_rate=0.5, errors=(("500", 9),), disturbed="steal", conditions=Conditions(
        1.0, 0.0, False, True))  # fmt: skip
    assert [f.severity for f in diagnose(run)] == ["critical", "warning", "info"]


def test_braces_from_traffic_are_only_text() -> None:
    run = trial(error_rate=0.5, errors=(("500 on /{limit_rate}/{0.__class__}", 9),))
    (finding,) = diagnose(run)
    assert "/{limit_rate}/{0.__class__}" in finding.title


def test_an_endpoint_never_served_is_no_evidence() -> None:
    unknown = replace(
        ENDPOINT, name="/never", cpu_s=UNKNOWN, db_s=UNKNOWN, db_calls=UNKNOWN, wait_s=UNKNOWN,
        unloaded_p95_s=float("nan"), response_bytes=float("nan"),
    )  # fmt: skip
    assert diagnose(demand(by_endpoint=(unknown, ENDPOINT))) == ()


@pytest.mark.parametrize("kind", ["none", "not_enough_data"])
def test_without_a_proven_leak_there_is_no_alarm(kind: str) -> None:
    assert diagnose(worker(leak_class=kind, leak_slope_bytes_per_request=UNKNOWN)) == ()


def test_a_saving_within_noise_is_no_finding() -> None:
    assert diagnose(allocated(2.0)) == ()


def test_the_database_is_the_limit_where_it_computes_more_than_the_app() -> None:
    dear = demand(db_cpu_s=EXACT(0.008))
    (found,) = [f for f in diagnose(bound("cpu", run=dear)) if f.id == "db-bound"]
    assert "More workers would not help" in found.fix
    assert not [f for f in diagnose(bound("cpu")) if f.id == "db-bound"]


def test_waiting_for_a_core_is_not_waiting_for_each_other() -> None:
    found = diagnose(contended(0.030, delay_s=0.027))
    assert not [f for f in found if f.id == "db-contended"]


def test_executor_threads_do_not_hold_the_loop() -> None:
    """Of 200 ms of CPU all but 2 ms was spent on other threads."""
    elsewhere = asgi_that_computes()
    assert elsewhere.demand is not None
    rows = elsewhere.demand.tuples.copy()
    rows["pool"] = rows["cpu"] - 0.002
    moved = replace(elsewhere, demand=replace(elsewhere.demand, tuples=rows))
    assert "blocking-event-loop" in {f.id for f in diagnose(elsewhere)}
    assert "blocking-event-loop" not in {f.id for f in diagnose(moved)}


def test_a_loop_that_answered_all_the_while_was_not_blocked() -> None:
    """A sign asked for every 50 ms came back within 5 ms, whatever the clocks of requests say."""
    prompt = EXACT(0.004)
    loop = Loop(100, prompt, prompt, prompt, 0.005, ())
    run = explained(run=asgi_that_computes(), loop=loop)
    assert "blocking-event-loop" not in {f.id for f in diagnose(run)}


@pytest.mark.parametrize(
    ("framework", "said", "unsaid"),
    [("django", "select_related", "SQLAlchemy"), ("litestar", "SQLAlchemy", "select_related")],
)
def test_a_fix_speaks_of_the_app_s_own_framework(framework: str, said: str, unsaid: str) -> None:
    run = endpoint(db_calls=Interval(120.0, 110.0, 130.0))
    assert run.target is not None
    run = replace(run, target=replace(run.target, framework=framework))
    (fix,) = [f.fix for f in diagnose(run) if f.id == "n-plus-one"]
    assert said in fix
    assert unsaid not in fix

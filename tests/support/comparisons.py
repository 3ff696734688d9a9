"""Comparisons with known truth, made by hand."""

from __future__ import annotations

from dataclasses import replace

from support.measured import MIB, measurement

from pretune.advisor.comparison.broken import BootFailure
from pretune.advisor.comparison.contestants import Absent
from pretune.advisor.comparison.disruption import Disruption
from pretune.advisor.comparison.entry import Entry, Result, Turn
from pretune.advisor.comparison.lifecycle import Check, Lifecycle
from pretune.advisor.comparison.steps import Crossing, Step
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.measurement import Latency
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import Slo
from pretune.advisor.run import Run, Trial
from pretune.advisor.verdict import Verdict
from pretune.server.settings import Settings

USERS = 4
SETTINGS = Settings(workers=2, threads=4)
DRIFT = (1.0, 1.3, 0.8, 1.1)


def around(value: float) -> Interval:
    return Interval(value, 0.95 * value, 1.05 * value)


def prediction(users: int, rps: float, p95_s: float) -> Prediction:
    return Prediction(
        users=users, throughput_rps=around(rps),
        latency=Latency(*(around(p95_s * part) for part in (0.6, 0.5, 1.0, 1.4))),
        pss_bytes=around(100 * MIB), ram_bytes=around(200 * MIB), pg_connections=8, fds=40,
        utilisation=(("cpu", 0.9),), binding="cpu", explanation="1 core / 5 ms = 200 requests/s",
    )  # fmt: skip


def turn(name: str, number: int, capacity: float | None, p95_s: float, pss: float) -> Turn:
    drift = DRIFT[number - 1]
    seen = measurement(SETTINGS, rps=150 * drift, pss=pss)
    p95 = around(p95_s / drift)
    seen = replace(seen, name=f"{name}-{number}", latency=Latency(p95, p95, p95, p95))
    if capacity is None:
        return Turn(seen.name, seen, (Step(1, 3.0, 0.4, 100, 0),), None)
    rate = capacity * drift
    steps = (Step(12, rate, 0.08, 400, 0, 0.2), Step(16, rate, 0.12, 400, 0, 0.2))
    return Turn(seen.name, seen, steps, Crossing(14, rate))


LIFE = Lifecycle(
    reload=Check(Disruption("reload", 400, (("connection reset", 3),), 2, 0, 1.2, 0.02, 0.05, 0.9)),
    recycling=Check(None, "There is none"),
    term=Check(Disruption("term", 90, (), 0, 7, 0.8, 0.02, 0.03, 0.1)),
    boot=BootFailure(None, None, said=True, tries=41, answer=""),
)


def entry(
    name: str,
    version: str,
    capacity: float | None,
    p95_s: float = 0.02,
    pss: float = 100.0 * MIB,
    wobble: tuple[float, ...] = (1.0, 1.01, 0.99, 1.0),
) -> Entry:
    """With the drift of the rounds in all that has to do with time, and what is its own."""
    return Entry(
        Servers(name, name, version),
        SETTINGS,
        Recommendation(SETTINGS, prediction(12, 200, 0.09), "cpu", (), (("workers", "two do"),)),
        prediction(USERS, 150, 0.02),
        tuple(
            turn(name, n, capacity and capacity * wobble[n - 1], p95_s / wobble[n - 1], pss)
            for n in (1, 2, 3, 4)
        ),
        LIFE,
    )


def result() -> Result:
    """granian is the fastest; gunicorn and uwsgi are alike; waitress keeps no SLO."""
    entries = (
        entry("gunicorn", "27.0", 200.0, 0.020),
        entry("granian", "2.8", 300.0, 0.015, 120.0 * MIB),
        entry("uwsgi", "2.0", 201.0, 0.0201, wobble=(0.99, 1.0, 1.02, 0.985)),
        entry("waitress", "3.0", None, 0.3, 60.0 * MIB),
        Entry(Servers("mod_wsgi", "mod_wsgi", "5.0"), failure="round 1: every worker died"),
    )
    trials = tuple(Trial(t.measured, e.alike) for e in entries for t in e.done)
    run = Run("app:application", 1, Verdict.FITS, slo=Slo(0.1), slo_source="--p95", trials=trials)
    absent = (Absent("hypercorn", "hypercorn serves ASGI only; the app is WSGI"),)
    return Result(run, entries, absent, USERS, 300.0, 280.0)

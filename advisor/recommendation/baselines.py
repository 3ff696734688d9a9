"""Other people's formulas for workers and threads, on this application and this budget.

Each is predicted by the same model as the recommendation and judged by the same budgets, so the
report can show everyone's answer beside ours. A formula is one row of ``FORMULAS``; where its
source leaves a number open (memory per process), it gets the measured one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.quantity import format_rate
from pretune.advisor.recommendation.search import Capacity
from pretune.advisor.recommendation.space import MOST_WORKERS
from pretune.advisor.recommendation.values import Baseline
from pretune.advisor.recommendation.violations import broken, filled_after
from pretune.advisor.resources.budget import Budget
from pretune.server.adapters.catalogue import find, offer
from pretune.server.settings import Settings

MIB, GIB = 1 << 20, 1 << 30
MOST_THREADS = 32


@dataclass(frozen=True)
class FormulaInputs:
    """The inputs of published formulas. ``cores`` as a formula reads them: whole, at least 1."""

    cores: int
    ram_bytes: float
    worker_bytes: float
    blocking: bool  # the request waits longer than it computes
    users: float = 0.0  # at once, at the load that is recommended for; 0: not known


# workers, threads
Shape = tuple[int, int]
Formula = Callable[[FormulaInputs], Shape]


def _passenger(c: FormulaInputs) -> Shape:
    """Pmax = 0.75 RAM / r processes where I/O blocks, else at most the cores; rest for threads."""
    most = _between(int(0.75 * c.ram_bytes / c.worker_bytes), 1, MOST_WORKERS)
    if not c.blocking:
        return min(most, c.cores), 1
    free = 0.75 * c.ram_bytes - 0.9 * most * c.worker_bytes
    return most, _between(int(free / (c.worker_bytes / 10) / most), 1, MOST_THREADS)


def _gitlab(c: FormulaInputs) -> Shape:
    """As many workers as cores and RAM (less the reserve) allow, 4 threads each."""
    return max(1, min(c.cores, int(c.ram_bytes / c.worker_bytes))), 4


def _puma(c: FormulaInputs) -> Shape:
    """1 GB for the system, 1 GB (the upper of 0.5 to 1) for each worker, 5 threads each."""
    return max(1, min(c.cores, int((c.ram_bytes - GIB) / GIB))), 5


def _odoo(c: FormulaInputs) -> Shape:
    """One worker for 6 users at once, at most 2 x cores + 1."""
    most = 2 * c.cores + 1
    return (max(1, min(most, math.ceil(c.users / 6))) if c.users else most), 1


def _hikari(c: FormulaInputs) -> Shape:
    """2 x cores + 1 (one disk) connections in all: so many threads, over as many workers as cores.

    The cores are the database's; where it is not known, those of the budget.
    """
    return c.cores, math.ceil((2 * c.cores + 1) / c.cores)


def _puppet(c: FormulaInputs) -> Shape:
    """``puppet infrastructure tune``: a quarter of the RAM and one core stay to the system."""
    by_ram = int(0.75 * c.ram_bytes / c.worker_bytes)
    return max(1, min(max(by_ram, 2), 24, max(1, c.cores - 1))), 1


# name, formula, timeout in s (None: gunicorn's 30)
FORMULAS: tuple[tuple[str, Formula, float | None], ...] = (
    ("gunicorn: 2 x cores + 1", lambda c: (2 * c.cores + 1, 1), None),
    ("gunicorn: 4 x cores (upper of 2-4)", lambda c: (4 * c.cores, 1), None),
    ("gunicorn: 2 x cores (lower of 2-4)", lambda c: (2 * c.cores, 1), None),
    ("gunicorn: 4 workers (lower of 4-12)", lambda c: (4, 1), None),
    ("gunicorn: 12 workers (upper of 4-12)", lambda c: (12, 1), None),
    (
        "Heroku: min(2 x cores + 1, MB / 256)",
        lambda c: (min(2 * c.cores + 1, max(1, int(c.ram_bytes / MIB / 256))), 1),
        None,
    ),
    ("tiangolo image: max(cores, 2)", lambda c: (max(c.cores, 2), 1), 120.0),
    ("Azure App Service: 2 x cores + 1", lambda c: (2 * c.cores + 1, 1), 600.0),
    ("Puma: cores x 5 threads", lambda c: (c.cores, 5), None),
    ("Passenger: 0.75 x RAM / process", _passenger, None),
    ("GitLab: cores by RAM, 4 threads", _gitlab, None),
    ("Puma: 1 GB + 1 GB a worker, 5 threads", _puma, None),
    ("GitLab: 0.9 x cores, 4 threads", lambda c: (max(1, int(0.9 * c.cores)), 4), None),
    ("Odoo: min(2 x cores + 1, users / 6)", _odoo, None),
    ("HikariCP: 2 x cores + 1 connections", _hikari, None),
    ("Puppet: 0.75 x RAM / process, a core left", _puppet, None),
)


def settings_of(inputs: FormulaInputs, interface: str) -> tuple[tuple[str, Settings], ...]:
    """Return the settings that each formula gives; under asgi there are no threads to choose."""
    formulas = []
    for name, formula, timeout in FORMULAS:
        workers, threads = formula(inputs)
        if interface == "asgi":
            settings = Settings(workers, 1, "asgi")
        elif threads == 1:
            settings = Settings(workers, 1, "sync")
        else:
            settings = Settings(workers, threads, "gthread")
        if timeout is not None:
            settings = Settings(settings.workers, settings.threads, settings.worker_class, timeout)
        formulas.append((name, settings))
    return tuple(formulas)


def predict_all(
    question: Question, capacity: Capacity, *, users: float = 0.0
) -> tuple[Baseline, ...]:
    """Every formula at the highest load that keeps the SLO. Equal shapes are predicted once.

    Like the search's losers they are screened: the first of a kind lends the others its intervals.
    ``users``: at once, at the load that is recommended for; 0: not known.
    """
    demand, budget = question.demand, question.budget
    computes = demand.cpu_s.value + demand.overhead_cpu_s.value
    inputs = FormulaInputs(
        cores=max(1, math.floor(budget.cores)),
        ram_bytes=float(budget.ram_bytes - budget.reserve_bytes),
        worker_bytes=max(1.0, demand.worker.base_pss_bytes.value),
        blocking=demand.db_s.value + demand.wait_s.value > computes,
        users=users,
    )
    judge = _Judge(question, capacity, {})
    predicted = []
    offered = offer(question.conditions.server)
    for name, settings in settings_of(inputs, question.interface):
        if offered.most_workers is not None and settings.workers > offered.most_workers:
            continue  # nobody could start it there
        if settings.worker_class == "sync" and not offered.sync:
            settings = replace(settings, worker_class="gthread")
        predicted.append(judge.baseline(name, settings))
    return tuple(predicted)


def predict_one(name: str, settings: Settings, question: Question, capacity: Capacity) -> Baseline:
    """One arrangement in full, with intervals of its own. With a rate to carry (of one instance),
    not carrying it is broken, too."""
    baseline = _Judge(question, capacity, None).baseline(name, settings)
    rps = question.slo.rps
    if rps is not None and baseline.predicted.throughput_rps.high < rps:
        carried = baseline.predicted.throughput_rps.value
        sentence = f"carries {format_rate(carried)} of {format_rate(rps)} requests/s"
        baseline = replace(baseline, violates=(*baseline.violates, sentence))
    return baseline


@dataclass(frozen=True)
class _Judge:
    """``known``: predictions that lend others their intervals; None: each has its own."""

    question: Question
    capacity: Capacity
    known: dict[Settings, Prediction] | None

    def baseline(self, name: str, settings: Settings) -> Baseline:
        prediction = self._predicted(settings)
        budget, worker = self.question.budget, self.question.demand.worker
        violates = list(broken(prediction, budget, self.question.p95_s))
        server = find(self.question.conditions.server)
        if settings.max_requests and not server.recycles(settings.workers):
            violates.insert(0, f"ends after {settings.max_requests:,} requests, for good")
        # What leaks without a limit ends the RAM in any case; say when instead of how much.
        if worker.leak_class == "leak" and settings.max_requests == 0:
            when = filled_after(worker, settings, prediction, budget)
            violates = [v for v in violates if not v.startswith("RAM")]
            violates[:0] = [when] if when else []
        return Baseline(name, settings, prediction, tuple(violates))

    def _predicted(self, settings: Settings) -> Prediction:
        key = Settings(settings.workers, settings.threads, settings.worker_class)
        if self.known is not None and key in self.known:
            return self.known[key]
        made = self.capacity(self.question, settings, self.known)
        if self.known is not None:
            self.known[key] = made
        return made


# name, connections that one worker may open, whether the app's is a framework of that default
POOLS: tuple[tuple[str, Callable[[Settings], int], Callable[[str], bool]], ...] = (
    (
        "Django's default: a connection per thread",
        lambda s: s.slots // s.workers,
        lambda framework: framework == "django",
    ),
    (
        "SQLAlchemy's default, if the app uses it: a pool of 5 + 10 per worker",
        lambda s: 15,
        lambda framework: framework != "django",
    ),
)


def judge_pools(
    settings: Settings,
    prediction: Prediction,
    budget: Budget,
    slo_p95_s: float,
    framework: str = "",
) -> tuple[Baseline, ...]:
    """Judge what the default pools of the app's framework would let the recommended workers open,
    one overlapping included.

    The times are the recommendation's: more connections than threads are never in use.
    """
    if budget.pg_connections is None or not prediction.pg_connections:
        return ()
    judged = []
    for name, per_worker, is_default in POOLS:
        if not is_default(framework):
            continue
        connections = budget.instances * (settings.workers + 1) * per_worker(settings)
        with_pool = replace(prediction, pg_connections=connections)
        judged.append(Baseline(name, settings, with_pool, broken(with_pool, budget, slo_p95_s)))
    return tuple(judged)


def _between(n: int, low: int, high: int) -> int:
    return max(low, min(n, high))

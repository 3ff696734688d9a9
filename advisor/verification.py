"""The trial that holds the answer to its word: how it is planned, and what became of each promise.

Pure. The recommended settings are predicted for the conditions in which this machine can run them,
so that measured stands beside predicted like beside like.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pretune.advisor.conclusion import Conclusion
from pretune.advisor.demand import server_costs
from pretune.advisor.demand.values import WorkerDemand
from pretune.advisor.model import extrapolation, memory
from pretune.advisor.model.occupancy import idle_workers
from pretune.advisor.model.predict import capacity, predict, predict_arrivals
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.model.scenario import discipline
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.servers import EMBEDDED
from pretune.advisor.profiler.measurement import Conditions, Measurement, Role
from pretune.advisor.quantity import Interval, format_bytes
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.run import Row, Trial, Verification
from pretune.advisor.trials import plan
from pretune.advisor.trials.plan import AROUND_S, PlannedTrial
from pretune.server.adapters.nginx_conf import Front
from pretune.server.settings import Settings

SHORTEST = 0.5  # of a verification's own seconds
# All workers' boots one after the other may take so long before a verification.
BOOTS_S = 20.0


@dataclass(frozen=True)
class PlannedVerification:
    """A trial and what it is to show. ``reduced``: of fewer workers than are recommended."""

    trial: PlannedTrial
    predicted: Prediction
    reduced: bool
    claimed_users: int | None  # of this machine's part of the cores; None: an open load


def plan_verification(
    preflight: Facts,
    conclusion: Conclusion,
    conditions: Conditions,
    *,
    seed: int,
    think_s: float,
    duration_s: float,
    free_bytes: float,
    through: Callable[[Settings, float], Front | None],
) -> PlannedVerification:
    """Plan the recommended settings' trial, and predict it.

    ``conditions`` are those of trials on the answer's server here. ``free_bytes`` bounds the
    workers. ``through`` configures what stands in front, for settings and a rate. The conclusion
    must have a recommendation.
    """
    recommendation = conclusion.recommendation
    assert recommendation is not None
    wanted, server = recommendation.settings, conditions.server
    demand = server_costs.on_server(conclusion.estimate.demand, server, wanted.worker_class)
    settings = runnable(
        wanted,
        demand.worker,
        free_bytes,
        conditions.server_cores,
        preflight.budget.pg_connections,
    )
    conditions = replace(conditions, generator_cpu_s_per_request=demand.generator_cpu_s)
    question = Question(
        demand=demand,
        budget=replace(preflight.budget, instances=1),
        slo=replace(conclusion.estimate.slo, p95_s=conclusion.estimate.p95_here_s),
        conditions=conditions,
        interface=preflight.target.interface,
        calibration=conclusion.estimate.calibration,
        think_s=think_s,
        seed=seed,
    )
    claimed = None
    if conclusion.rps is None:
        cores = min(1.0, conditions.server_cores / preflight.budget.cores)
        workers = settings.workers / wanted.workers
        claimed = scale_users(recommendation.predicted.users, min(cores, workers))
    predicted, rps = _predict(conclusion, question, settings, claimed)
    what = f"{predicted.users} users" if rps is None else f"{rps:g} requests a second"
    front = f", through {preflight.front.name}" if preflight.front else ""
    trial = PlannedTrial(
        "verification",
        f"{settings.workers} workers x {settings.threads} threads on {server}, {what}{front}",
        settings,
        predicted.users,
        duration_s,
        stop_under_load=True,
        rps=rps,
        ramp_s=plan.RAMP_S if server != EMBEDDED and rps is None else 0.0,
        front=through(settings, predicted.throughput_rps.value),
        role=Role.VERIFICATION,
    )
    idle = Interval.exact(0.0)  # arrivals find every worker in turn
    if rps is None:
        idle = idle_workers(discipline(server, settings), settings.workers, predicted.users)
    pss = memory.peak_pss_of_trial(
        demand.worker, settings, predicted.throughput_rps, duration_s, idle
    )
    predicted = replace(predicted, pss_bytes=pss)
    return PlannedVerification(trial, predicted, settings != wanted, claimed)


def _predict(
    conclusion: Conclusion, question: Question, settings: Settings, claimed_users: int | None
) -> tuple[Prediction, float | None]:
    """The prediction, and the rate of an open load; None: users bring it."""
    rps = conclusion.rps
    if rps is None:
        assert claimed_users is not None
        found = find_load(
            claimed_users, lambda users: predict(question, settings, users), question.p95_s
        )
        return found, None
    if conclusion.answer.fleet or conclusion.estimate.extrapolation != extrapolation.NOTHING:
        # what was asked of a larger machine may be more than this one can show
        most = capacity(replace(question, arrivals=True), settings)
        rps = min(rps, most.rps or rps)
    return predict_arrivals(question, settings, rps), rps


def scale_users(users: int, part: float) -> int:
    """The users of a part of the cores, at least one."""
    return max(1, round(users * part))


def find_load(users: int, predict: Callable[[int], Prediction], slo_p95_s: float) -> Prediction:
    """The prediction for so many users, or for the most of fewer that this machine can show.

    More users on more cores than here wait less for each other, so that the same number for each
    core may break the p95 here. The load is then lowered until the p95 is predicted to keep the SLO
    by half its interval, one standard deviation: more would break it by luck, less would leave the
    claim unshown.
    """
    found = predict(users)
    while users > 1:
        p95 = found.latency.p95
        likely_s = math.sqrt(p95.value * p95.high)
        if not likely_s > slo_p95_s:
            break
        users = max(1, min(users - 1, int(users * slo_p95_s / likely_s)))
        found = predict(users)
    return found


def runnable(
    settings: Settings,
    worker: WorkerDemand,
    free_bytes: float,
    cores: float,
    pg_connections: int | None,
) -> Settings:
    """``settings`` with as many of their workers as this machine can run, at least one.

    What is recommended for a larger machine need not fit this one's free memory, its Postgres, or
    the time to boot.
    """
    held = memory.worker_connections_to_postgres(worker, settings)

    def runs(workers: int) -> bool:
        fewer = replace(settings, workers=workers)
        return (
            memory.peak_pss(worker, fewer).high <= free_bytes
            and workers * worker.boot_s <= BOOTS_S * max(1.0, cores)
            and (pg_connections is None or workers * held <= pg_connections)
        )

    most = settings.workers
    while most > 1 and not runs(most):
        most -= 1
    return replace(settings, workers=most)


def duration(time_budget_s: float, left_s: float, after_s: float) -> float:
    """Seconds of load: fewer, by half at most, where ``after_s`` of the time that is left are
    wanted for more."""
    whole = plan.duration(Role.VERIFICATION, time_budget_s)
    room = left_s - after_s - AROUND_S if after_s > 0 else whole
    return min(whole, max(whole * SHORTEST, room))


def judge_verification(
    preflight: Facts, conclusion: Conclusion, predicted: Prediction, measured: Measurement
) -> Verification:
    """Set measured beside predicted and promised."""
    slo = replace(conclusion.estimate.slo, p95_s=conclusion.estimate.p95_here_s)
    return Verification(
        Trial(measured, predicted),
        rows(predicted, measured, conclusion.answer.budget, slo),
        slo.p95_s,
        preflight.servers.worker_class(measured.settings.worker_class),
    )


# So many requests have to lie beyond a percentile, or it is the luck of a few slow ones.
FEWEST_BEYOND = 5
SLO_P95 = "slo_p95_ms"


def fewest(quantile: float) -> int:
    """Requests in the steady part of a trial, for that percentile to be judged: 100 for p95."""
    return math.ceil(round(FEWEST_BEYOND / (1 - quantile), 6))


# name, what a reader calls it, whether it is promised, requests it takes; in the name's unit
_PREDICTED = (
    ("throughput_rps", "throughput", True, 1),
    ("mean_ms", "mean latency", True, 1),
    ("p50_ms", "p50", False, fewest(0.5)),
    ("p95_ms", "p95", True, fewest(0.95)),
    ("p99_ms", "p99", False, fewest(0.99)),
    ("pss_bytes", "memory", True, 0),
)


def rows(predicted: Prediction, measured: Measurement, budget: Budget, slo: Slo) -> tuple[Row, ...]:
    """Every prediction and every promise with what became of it, in the order of reports.

    A measured value outside the predicted interval is a miss, and so is any broken promise: the
    SLO or a budget. What was not measured, or a percentile of too few requests, is neither kept nor
    missed: its row says why.
    """
    limits, values = _quantities(predicted), _quantities(measured)
    compared = [
        _inside(name, words, limits[name], values[name], promised, (measured.requests, least))
        for name, words, promised, least in _PREDICTED
    ]
    peak = measured.pg_connections_peak
    if peak is not None:
        most = predicted.pg_connections
        sentence = f"{peak} Postgres connections, {most} predicted"
        compared.append(_at_most("pg_connections", most, peak, sentence))
    return (*compared, *promises(measured, budget, slo))


def promises(measured: Measurement, budget: Budget, slo: Slo) -> tuple[Row, ...]:
    """SLO and budgets, by what was measured; of p95 the lower end decides."""
    checked = []
    if slo.p95_s is not None:
        most, p95 = slo.p95_s * 1e3, measured.latency.p95.scaled(1e3)
        sentence = f"p95 {_milliseconds(p95.value)} > {_milliseconds(most)}"
        sentence += f" at {measured.load.users} users"
        row = _at_most(SLO_P95, most, p95, sentence)
        # surely broken can be told from few; kept cannot
        if row.kept and measured.requests < fewest(0.95):
            row = replace(row, kept=None, said=_too_few("p95", measured.requests, fewest(0.95)))
        checked.append(row)
    rate = measured.error_rate
    sentence = f"error rate {rate:.2%} > {slo.error_rate:.2%}"
    row = _at_most("error_rate", slo.error_rate, rate, sentence)
    if row.kept and not measured.requests:
        row = replace(row, kept=None, said="error rate: no request was answered")
    checked.append(row)
    ram = measured.pss_bytes.value + measured.kernel_bytes + budget.reserve_bytes
    ram += measured.db_pss_bytes or 0.0
    ram += measured.front.pss_bytes.value if measured.front else 0.0
    sentence = f"RAM {format_bytes(ram)} > {format_bytes(budget.ram_bytes)}"
    checked.append(_at_most("ram_bytes", budget.ram_bytes, ram, sentence))
    peak = measured.pg_connections_peak
    if peak is not None and budget.pg_connections is not None:
        total = peak * budget.instances
        sentence = f"{total} Postgres connections > {budget.pg_connections}"
        checked.append(_at_most("pg_connections_budget", budget.pg_connections, total, sentence))
    return tuple(checked)


def keeps_promises(conclusion: Conclusion, measured: Measurement) -> bool:
    """Say whether the trial broke no promise: neither the SLO, in this machine's time, nor a
    budget."""
    slo = replace(conclusion.estimate.slo, p95_s=conclusion.estimate.p95_here_s)
    judged = promises(measured, conclusion.answer.budget, slo)
    return all(row.kept is not False for row in judged)


def _quantities(of: Prediction | Measurement) -> dict[str, Interval]:
    latency = of.latency
    return {
        "throughput_rps": of.throughput_rps,
        "mean_ms": latency.mean.scaled(1e3),
        "p50_ms": latency.p50.scaled(1e3),
        "p95_ms": latency.p95.scaled(1e3),
        "p99_ms": latency.p99.scaled(1e3),
        "pss_bytes": of.pss_bytes,
    }


def _inside(
    name: str,
    words: str,
    limit: Interval,
    value: Interval,
    promised: bool,
    requests: tuple[int, int],
) -> Row:
    """``requests``: those measured, and those that the value takes."""
    got, show = value.value, _SHOWN[name.rpartition("_")[2]]
    kept: bool | None = None
    if requests[0] < requests[1]:
        sentence = _too_few(words, *requests)
    elif not math.isfinite(got):
        sentence = f"{words} was not measured"
    elif not (math.isfinite(limit.low) and math.isfinite(limit.high)):
        sentence = f"{words} was not predicted"
    else:
        kept = limit.contains(got)
        sentence = f"{words} {show(got)} is outside {show(limit.low)} to {show(limit.high)}"
    return Row(name, limit, value, kept, promised, "" if kept else sentence)


def _at_most(name: str, limit: float, value: Interval | float, sentence: str) -> Row:
    got = value.low if isinstance(value, Interval) else value
    if not math.isfinite(got):
        return Row(name, limit, value, None, True, f"{_named(name)} was not measured")
    kept = not got > limit
    return Row(name, limit, value, kept, True, "" if kept else sentence)


def _named(name: str) -> str:
    """The words for a promise's row, without its unit."""
    return {SLO_P95: "p95", "ram_bytes": "RAM"}.get(name, name.replace("_", " "))


def _too_few(words: str, requests: int, least: int) -> str:
    if not requests:
        return f"{words}: no request was answered"
    return f"{words} of {requests} requests, {least} are needed"


def _rate(x: float) -> str:
    return f"{x:.3g} requests/s"


def _milliseconds(x: float) -> str:
    return f"{x:.3g} ms"


# last word of a row's name -> how a sentence shows its value
_SHOWN: dict[str, Callable[[float], str]] = {
    "rps": _rate,
    "ms": _milliseconds,
    "bytes": format_bytes,
}

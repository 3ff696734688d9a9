"""Whether what was predicted came true, and what the whole run amounts to. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval, format_bytes
from pretune.advisor.resources.budget import UNLOADED_SOURCE, Budget, Slo
from pretune.advisor.run import Row, Run
from pretune.advisor.verdict import Verdict

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
    SLO or a budget. A percentile of too few requests is neither kept nor missed.
    """
    limits, values = _quantities(predicted), _quantities(measured)
    found = [
        _inside(name, words, limits[name], values[name], promised, measured.requests >= least)
        for name, words, promised, least in _PREDICTED
    ]
    peak = measured.pg_connections_peak
    if peak is not None:
        most = predicted.pg_connections
        said = f"{peak} Postgres connections, {most} predicted"
        found.append(_at_most("pg_connections", most, peak, said))
    return (*found, *promises(measured, budget, slo))


def promises(measured: Measurement, budget: Budget, slo: Slo) -> tuple[Row, ...]:
    """SLO and budgets, by what was measured; of p95 the lower end decides."""
    found = []
    if slo.p95_s is not None:
        most, p95 = slo.p95_s * 1e3, measured.latency.p95.scaled(1e3)
        said = f"p95 {_milliseconds(p95.value)} > {_milliseconds(most)}"
        said += f" at {measured.load.users} users"
        row = _at_most(SLO_P95, most, p95, said)
        # surely broken can be told from few; kept cannot
        few = measured.requests < fewest(0.95) and row.kept
        found.append(replace(row, kept=None) if few else row)
    rate = measured.error_rate
    said = f"error rate {rate:.2%} > {slo.error_rate:.2%}"
    found.append(_at_most("error_rate", slo.error_rate, rate, said))
    ram = measured.pss_bytes.value + measured.kernel_bytes + budget.reserve_bytes
    ram += measured.db_pss_bytes or 0.0
    ram += measured.front.pss_bytes.value if measured.front else 0.0
    said = f"RAM {format_bytes(ram)} > {format_bytes(budget.ram_bytes)}"
    found.append(_at_most("ram_bytes", budget.ram_bytes, ram, said))
    peak = measured.pg_connections_peak
    if peak is not None and budget.pg_connections is not None:
        total = peak * budget.instances
        said = f"{total} Postgres connections > {budget.pg_connections}"
        found.append(_at_most("pg_connections_budget", budget.pg_connections, total, said))
    return tuple(found)


def broken(measured: Measurement, budget: Budget, slo: Slo) -> tuple[str, ...]:
    """The promises a trial broke: SLO and budgets."""
    return tuple(row.said for row in promises(measured, budget, slo) if row.kept is False)


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
    name: str, words: str, limit: Interval, value: Interval, promised: bool, enough: bool
) -> Row:
    got = value.value
    kept: bool | None = limit.contains(got)
    if not enough or not all(map(math.isfinite, (limit.low, limit.high, got))):
        kept = None
    show = _SHOWN[name.rpartition("_")[2]]
    said = f"{words} {show(got)} is outside {show(limit.low)} to {show(limit.high)}"
    return Row(name, limit, value, kept, promised, "" if kept else said)


def _at_most(name: str, limit: float, value: Interval | float, said: str) -> Row:
    got = value.low if isinstance(value, Interval) else value
    kept = not got > limit if math.isfinite(got) else None
    return Row(name, limit, value, kept, True, "" if kept else said)


def verdict(
    run: Run, budget: Budget, slo: Slo, predicted: Verdict, reason: str
) -> tuple[Verdict, str]:
    """The verdict and, unless it fits, the sentence that says why.

    ``predicted`` and ``reason`` are the search's. A promise broken in the verification trial is
    worse than any prediction. A p95 beyond the SLO there, at a load that we chose ourselves, says
    that the capacity is not what was predicted, not that the settings do not fit.
    """
    verification = run.verification
    if verification is None:
        if run.recommendation is not None:
            return Verdict.NOT_ENOUGH_DATA, "the recommendation was not verified"
        return predicted, reason
    measured = verification.trial.measurement
    if verification.p95_s is not None:
        slo = replace(slo, p95_s=verification.p95_s)
    judged = [row for row in promises(measured, budget, slo) if row.kept is False]
    exceeded = [row.said for row in judged if row.name != SLO_P95]
    if exceeded:
        return Verdict.DOES_NOT_FIT, "; ".join(exceeded)
    if predicted is not Verdict.FITS:
        return predicted, reason
    late = next((row.said for row in judged if row.name == SLO_P95), "")
    if late and measured.disturbed:
        return (
            Verdict.MEASUREMENT_INVALID,
            f"{late}, while {measured.disturbed}; repeat on a quiet machine",
        )
    if late:
        return Verdict.NOT_ENOUGH_DATA, f"{late}: the predicted capacity was not confirmed"
    if measured.generator_saturated:
        return Verdict.MEASUREMENT_INVALID, "the load generator was saturated"
    few = too_few(run)
    if few:
        return Verdict.NOT_ENOUGH_DATA, few
    return Verdict.FITS, ""


def unanswered(measured: Measurement) -> str:
    """Of a trial in which nothing came back, not even an error: whether the app never answers or
    this machine gave it no time, it cannot tell. "" for any other."""
    if measured.requests or measured.errors or measured.error_rate:
        return ""
    return (
        f"no request was answered in {measured.load.duration_s:.0f} s: one takes longer than that, "
        "or the machine had no time for it; give more with --time-budget, on a quieter machine"
    )


def with_doubt(run: Run) -> Run:
    """A throughput that came out beyond what was predicted leaves open what limits it: what the
    model named, it named for another rate."""
    found, verification = run.recommendation, run.verification
    if found is None or verification is None:
        return run
    missed = [r for r in verification.rows if r.name == "throughput_rps" and r.kept is False]
    return replace(run, recommendation=found.doubted(missed[0].said)) if missed else run


def too_few(run: Run) -> str:
    """Which trial a p95 rests on that has too few requests for one, and what would help; "" where
    all have enough. The demand trial's counts where the SLO was made of it."""
    asked = [] if run.verification is None else [run.verification.trial.measurement]
    if run.slo_source == UNLOADED_SOURCE:
        asked += [t.measurement for t in run.trials if t.measurement.name == "demand"]
    least = fewest(0.95)
    short = [m for m in asked if m.requests < least]
    if not short:
        return ""
    worst = min(short, key=lambda m: m.requests)
    longer = f"about {math.ceil(least / worst.requests)} times as long" if worst.requests else ""
    slo = ", and so of the SLO" if worst.name == "demand" else ""
    return (
        f"only {worst.requests} requests in the {worst.name} trial, too few for its p95{slo} "
        f"(it takes {least}): give more time with --time-budget{longer and ', ' + longer}"
    )


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

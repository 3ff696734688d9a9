"""Rows of a verification: each prediction and each promise, with what became of it. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval, format_bytes
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.run import Row

# So many requests have to lie beyond a percentile, or it is the luck of a few slow ones.
FEWEST_BEYOND = 5
SLO_P95, ERROR_RATE = "slo_p95_ms", "error_rate"


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
    limits = _quantities(predicted)
    compared = _compared(predicted, measured, tuple(limits))
    peak = measured.pg_connections_peak
    if peak is not None:
        most = predicted.pg_connections
        sentence = f"{peak} Postgres connections, {most} predicted"
        compared.append(_at_most("pg_connections", most, peak, sentence))
    return (*compared, *promises(measured, budget, slo))


OF_A_LOAD = ("throughput_rps", "mean_ms", "p50_ms", "p95_ms", "p99_ms")


def rows_at_half(
    predicted: Prediction, measured: Measurement, budget: Budget, slo: Slo
) -> tuple[Row, ...]:
    """The rows of half of the load on the same server. Its memory and connections are those of the
    whole load's rows, which ran there before."""
    found = _compared(predicted, measured, OF_A_LOAD)
    return (*_said_of_half(found), *promises_at_half(measured, budget, slo))


def promises_at_half(measured: Measurement, budget: Budget, slo: Slo) -> tuple[Row, ...]:
    """The promises that a load is made for: p95 and errors."""
    found = (r for r in promises(measured, budget, slo) if r.name in (SLO_P95, ERROR_RATE))
    return _said_of_half(found)


def _said_of_half(found: Iterable[Row]) -> tuple[Row, ...]:
    at_half = "at half of the load: "
    return tuple(replace(row, sentence=row.sentence and at_half + row.sentence) for row in found)


def _compared(predicted: Prediction, measured: Measurement, names: Collection[str]) -> list[Row]:
    limits, values = _quantities(predicted), _quantities(measured)
    return [
        _inside(name, words, limits[name], values[name], promised, (measured.requests, least))
        for name, words, promised, least in _PREDICTED
        if name in names
    ]


def promises(measured: Measurement, budget: Budget, slo: Slo) -> tuple[Row, ...]:
    """SLO and budgets, by what was measured; of p95 the lower end decides."""
    checked = []
    if slo.p95_s is not None:
        most, p95 = slo.p95_s * 1e3, measured.latency.p95.scaled(1e3)
        sentence = f"p95 {_milliseconds(p95.value)} > {_milliseconds(most)}"
        sentence += f" at {measured.load.shown}"
        row = _at_most(SLO_P95, most, p95, sentence)
        # surely broken can be told from few; kept cannot
        if row.kept and measured.requests < fewest(0.95):
            row = replace(row, kept=None, sentence=_too_few("p95", measured.requests, fewest(0.95)))
        checked.append(row)
    rate = measured.error_rate
    sentence = f"error rate {rate:.2%} > {slo.error_rate:.2%}"
    row = _at_most(ERROR_RATE, slo.error_rate, rate, sentence)
    if row.kept and not measured.requests:
        row = replace(row, kept=None, sentence="error rate: no request was answered")
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

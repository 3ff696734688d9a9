"""The thresholds of ``[tool.pretune.gate]``, judged against a finished run's document.

A threshold fails only when the whole interval of what was measured lies beyond it, and passes
only when none of it does; an interval across the limit decides nothing. So a build breaks for a
regression, not for noise. A threshold is one row of ``THRESHOLDS``.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pretune.advisor.quantity import (
    UNKNOWN,
    Interval,
    format_bytes,
    format_seconds,
    parse_duration,
    parse_size,
)
from pretune.advisor.verdict import Verdict

Document = Mapping[str, Any]


@dataclass(frozen=True)
class Check:
    """One threshold. ``passed`` None: not enough data. ``value`` and ``limit`` in SI units."""

    name: str
    limit: float
    value: Interval
    passed: bool | None
    message: str


@dataclass(frozen=True)
class Threshold:
    """``least``: the limit is a minimum. ``find`` gives UNKNOWN where the run did not learn it."""

    what: str
    parse: Callable[[Any], float]
    show: Callable[[float], str]
    find: Callable[[Document], Interval]
    least: bool = False


def parse(table: Mapping[str, Any]) -> dict[str, float]:
    """Limits in SI units. Raises ValueError with a sentence for a wrong key or value."""
    limits = {}
    for name, text in table.items():
        if name not in THRESHOLDS:
            close = difflib.get_close_matches(name, THRESHOLDS, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(THRESHOLDS)}"
            raise ValueError(f"[tool.pretune.gate] {name} is no threshold; {hint}")
        try:
            limits[name] = THRESHOLDS[name].parse(text)
        except (ValueError, TypeError) as error:
            raise ValueError(f"[tool.pretune.gate] {name}: {error}") from None
    return limits


def judge(document: Document, limits: Mapping[str, float]) -> list[Check]:
    """One check per limit, in the order given. ``limits`` as ``parse`` gives them."""
    return [_check(name, limit, document) for name, limit in limits.items()]


def verdict(run: Verdict, checks: Sequence[Check]) -> Verdict:
    """The run's verdict, or a worse one: a failed check fails a run that fitted or knew too little.

    A run that failed by itself keeps its own word.
    """
    if run in (Verdict.FITS, Verdict.NOT_ENOUGH_DATA):
        if any(check.passed is False for check in checks):
            return Verdict.DOES_NOT_FIT
        if any(check.passed is None for check in checks):
            return Verdict.NOT_ENOUGH_DATA
    return run


def _check(name: str, limit: float, document: Document) -> Check:
    threshold = THRESHOLDS[name]
    value = threshold.find(document)
    show = threshold.show
    word = "at least" if threshold.least else "at most"
    if not all(map(math.isfinite, (value.value, value.low, value.high))):
        message = f"{threshold.what} is not known from this run; {word} {show(limit)} is asked for"
        return Check(name, limit, value, None, message)
    if threshold.least:
        good, bad = value.low >= limit, value.high < limit
    else:
        good, bad = value.high <= limit, value.low > limit
    passed = True if good else False if bad else None
    shown = show(value.value)
    if value.low != value.high:
        shown += f" ({show(value.low)} to {show(value.high)})"
    message = f"{threshold.what} is {shown}, {word} {show(limit)} is asked for"
    if passed is None:
        message += "; the interval lies across the limit"
    return Check(name, limit, value, passed, message)


# ---- how limits are written and shown


def _size(x: Any) -> float:
    return float(_not_negative(x) if _is_number(x) else parse_size(str(x)))


def _duration(x: Any) -> float:
    return float(_not_negative(x) if _is_number(x) else parse_duration(str(x)))


def _count(x: Any) -> float:
    if not _is_number(x):
        raise ValueError(f"{x!r} is not a number")
    return _not_negative(x)


def _fraction(x: Any) -> float:
    """``0.01`` or ``"1%"``."""
    percent = isinstance(x, str) and x.strip().endswith("%")
    value = float(x.strip()[:-1]) / 100 if percent else _count(x)
    if not 0 <= value <= 1:
        raise ValueError(f"{x!r} is not a rate between 0 and 1")
    return value


def _is_number(x: Any) -> bool:
    return isinstance(x, int | float) and not isinstance(x, bool)


def _not_negative(x: float) -> float:
    if not x >= 0:
        raise ValueError(f"{x!r} is below 0")
    return float(x)


def _number(x: float) -> str:
    return f"{x:.3g}" if x < 1000 else f"{x:,.0f}"


def _percent(x: float) -> str:
    return f"{x:.2%}"


# ---- where the values stand in the document


def _at(*path: str) -> Callable[[Document], Interval]:
    def find(document: Document) -> Interval:
        node: Any = document
        for key in path:
            node = node.get(key) if isinstance(node, Mapping) else None
        return _interval(node)

    return find


def _interval(node: Any) -> Interval:
    """Read ``{"value", "low", "high"}`` or a number as an interval; a null bound is unknown."""
    if _is_number(node):
        return Interval.exact(float(node))
    if not isinstance(node, Mapping):
        return UNKNOWN
    parts = [node.get(key) for key in ("value", "low", "high")]
    return Interval(*(math.nan if x is None else float(x) for x in parts))


def _p95(document: Document) -> Interval:
    """Measured where the recommendation was verified, else predicted; seconds."""
    measured = _at("verification", "measured", "latency_ms", "p95")(document)
    if math.isfinite(measured.value):
        return measured.scaled(1e-3)
    return _at("recommendation", "predicted", "latency_ms", "p95")(document).scaled(1e-3)


def _error_rate(document: Document) -> Interval:
    """Return the share of failed requests over all trials, with Wilson's (1927) interval."""
    # A lazy import: it loads scipy, and thresholds are parsed before anything is measured.
    from pretune.advisor.profiler.statistics import proportion

    trials = [t.get("measured") or {} for t in document.get("trials") or ()]
    counted = [(float(m["requests"]), float(m["error_rate"])) for m in trials if m.get("requests")]
    failed = sum(requests * rate for requests, rate in counted)
    return proportion(failed, sum(requests for requests, _ in counted))


_PREDICTED = ("recommendation", "predicted")
_WORKER = ("demand", "worker")

THRESHOLDS: dict[str, Threshold] = {
    "max_worker_memory": Threshold(
        "the memory of one worker", _size, format_bytes, _at(*_WORKER, "base_pss_bytes")
    ),
    "max_ram": Threshold("the RAM to provide", _size, format_bytes, _at(*_PREDICTED, "ram_bytes")),
    "max_cpu_per_request": Threshold(
        "the CPU of one request", _duration, format_seconds, _at("demand", "cpu_s")
    ),
    "max_db_time": Threshold(
        "the database time of one request", _duration, format_seconds, _at("demand", "db_s")
    ),
    "max_db_calls": Threshold(
        "the number of database calls of one request", _count, _number, _at("demand", "db_calls")
    ),
    "max_p95": Threshold("p95 at capacity", _duration, format_seconds, _p95),
    "max_unloaded_p95": Threshold(
        "p95 without load", _duration, format_seconds, _at("demand", "unloaded_p95_s")
    ),
    "min_rps": Threshold(
        "the capacity in requests/s", _count, _number, _at(*_PREDICTED, "throughput_rps"), True
    ),
    "max_pg_connections": Threshold(
        "the number of Postgres connections", _count, _number, _at(*_PREDICTED, "pg_connections")
    ),
    "max_error_rate": Threshold("the error rate", _fraction, _percent, _error_rate),
    "max_leak_per_request": Threshold(
        "the growth of memory per request",
        _size,
        format_bytes,
        _at(*_WORKER, "leak_slope_bytes_per_request"),
    ),
    "max_boot": Threshold(
        "the boot time of a worker", _duration, format_seconds, _at(*_WORKER, "boot_s")
    ),
}

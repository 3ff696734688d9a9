"""Errors, coverage, capacities and regrets from predicted and measured figures. Pure."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from bench.accuracy.store import Point
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.quantity import Interval

QUANTITIES = ("throughput", "mean", "p95", "p99", "pss_bytes")
LATENCIES = ("mean", "p95", "p99")
CYCLES = 3  # of every user in a window, so that its latencies are of all requests
# Above it percentiles of so short a run are not promised.
PROMISED_UTILISATION = 0.85
Shape = tuple[int, int, str]


@dataclass(frozen=True)
class Pair:
    """One point and what the model says of it."""

    point: Point
    predicted: Prediction

    def claimed(self, quantity: str) -> Interval:
        if quantity == "throughput":
            return self.predicted.throughput_rps
        if quantity == "pss_bytes":
            return self.predicted.pss_bytes
        found: Interval = getattr(self.predicted.latency, quantity)
        return found

    def measured(self, quantity: str) -> float:
        return float(getattr(self.point, quantity))

    def error(self, quantity: str) -> float:
        """Signed, of the measured: 0.1 is a tenth too much."""
        return self.claimed(quantity).value / self.measured(quantity) - 1

    def covered(self, quantity: str) -> bool:
        return self.claimed(quantity).contains(self.measured(quantity))

    def told(self, quantity: str) -> bool:
        """Whether the point measured it: of requests that take as long as the window only the
        quick ones are seen to end."""
        cycles = self.point.window_s * self.point.throughput / self.point.users
        return quantity not in LATENCIES or cycles >= CYCLES

    @property
    def promised(self) -> bool:
        return promised(self.point)


def promised(point: Point) -> bool:
    return point.utilisation <= PROMISED_UTILISATION


@dataclass(frozen=True)
class Spread:
    """Of absolute relative errors; NaN without any."""

    median: float
    p90: float
    count: int

    @classmethod
    def of(cls, errors: Iterable[float]) -> Spread:
        found = sorted(abs(e) for e in errors if math.isfinite(e))
        if not found:
            return cls(math.nan, math.nan, 0)
        return cls(statistics.median(found), found[math.ceil(0.9 * len(found)) - 1], len(found))


def errors(pairs: Iterable[Pair], quantity: str) -> Spread:
    return Spread.of(pair.error(quantity) for pair in pairs if pair.told(quantity))


def noise(groups: Iterable[Iterable[Point]], quantity: str) -> Spread:
    """How far two runs of one point lie apart, relative to their mean: each pair of repeats.

    ``groups``: points of different ones are never the same (an arrangement may have run with what
    is recommended beside it, and without).
    """
    runs: dict[tuple[object, ...], list[float]] = defaultdict(list)
    for number, points in enumerate(groups):
        for point in points:
            runs[number, *point.key[:-1]].append(float(getattr(point, quantity)))
    return Spread.of(
        2 * (a - b) / (a + b)
        for values in runs.values()
        for n, a in enumerate(values)
        for b in values[:n]
    )


def coverage(pairs: Sequence[Pair], quantity: str) -> float:
    found = [pair.covered(quantity) for pair in pairs if pair.told(quantity)]
    return statistics.mean(found) if found else math.nan


# --- capacity and regret ---------------------------------------------------------------------

# users, throughput, p95
Level = tuple[float, float, float]


def capacity(measured: Sequence[Level], slo_p95_s: float) -> float:
    """The highest throughput that keeps the SLO, between measured loads as straight lines of
    logarithms. Beyond the highest load nothing is assumed: there it is that load's. 0 when even
    the lowest breaks the SLO."""
    best = 0.0
    before: Level | None = None
    for level in sorted(measured):
        _, rate, p95 = level
        if p95 > slo_p95_s:
            if before is None:
                return 0.0
            part = math.log(slo_p95_s / before[2]) / math.log(p95 / before[2])
            rate = math.exp(math.log(before[1]) * (1 - part) + math.log(rate) * part)
            return max(best, rate)
        best = max(best, rate)
        before = level
    return best


def capacities(
    points: Iterable[Point], alone: Level, slo_p95_s: float, loads: int
) -> dict[Shape, float]:
    """Of every shape that was measured at so many loads; repeats of a point are averaged.

    ``alone``: one user by himself, where every shape's curve begins unless it was measured there.
    """
    runs: dict[Shape, list[Point]] = defaultdict(list)
    for point in points:
        runs[point.shape].append(point)
    return {
        shape: capacity(levels(mine, alone), slo_p95_s)
        for shape, mine in runs.items()
        if len({point.users for point in mine}) >= loads
    }


def levels(points: Iterable[Point], alone: Level) -> list[Level]:
    """Of one arrangement."""
    by_users: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        by_users[point.users].append(point)
    found = [_averaged(users, same) for users, same in by_users.items()]
    return [alone, *found] if min(by_users) > alone[0] else found


def _averaged(users: int, points: Sequence[Point]) -> Level:
    return (
        float(users),
        statistics.mean(p.throughput for p in points),
        statistics.mean(p.p95 for p in points),
    )


def regret(rates: dict[Shape, float], shape: Shape) -> float:
    """How much less this shape carries than the best measured one; NaN when it was not measured."""
    most = max(rates.values(), default=0.0)
    return 1 - rates[shape] / most if shape in rates and most > 0 else math.nan


def grouped(pairs: Iterable[Pair], key: Callable[[Pair], str]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in pairs:
        found[key(pair)].append(pair)
    return dict(sorted(found.items()))

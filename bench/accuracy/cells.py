"""How the page writes a number, an arrangement, an interval."""

from __future__ import annotations

import math

from bench.accuracy.judge import Shape
from pretune.advisor.quantity import Interval


def percent(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1%}"


def percent_interval(x: Interval) -> str:
    if math.isnan(x.low):
        return percent(x.value)
    return f"{x.value:.1%} ({x.low:.1%} to {x.high:.1%})"


def shape(of: Shape) -> str:
    workers, threads, worker_class = of
    return f"{workers}x{threads}" if worker_class == "gthread" else f"{workers} {worker_class}"


def interval(x: Interval) -> str:
    return f"{x.value:.1f} ({x.low:.1f} to {x.high:.1f})"


def yes(met: bool) -> str:
    return "yes" if met else "no"

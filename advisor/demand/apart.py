"""Routes so slow that they were measured by themselves: their time, and how much is CPU. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pretune.advisor.quantity import format_seconds

if TYPE_CHECKING:
    from pretune.advisor.profiler.measurement import Measurement
    from pretune.loadtests.workload import Endpoint


@dataclass(frozen=True)
class SlowRoute:
    """``seconds`` of an answer; ``cpu_s`` of them the app computes, None where that was not
    measured. ``requests`` 0: the time is that of trying it. ``share`` of all requests, with it."""

    name: str
    share: float
    seconds: float
    cpu_s: float | None = None
    requests: int = 0

    @property
    def shown(self) -> str:
        """``/report (8.02 s, 3 ms of it CPU)``."""
        cpu = "" if self.cpu_s is None else f", {format_seconds(self.cpu_s)} of it CPU"
        return f"{self.name} ({format_seconds(self.seconds)}{cpu})"


def judge_apart(
    apart: Sequence[Endpoint], measured: Measurement | None = None
) -> tuple[SlowRoute, ...]:
    """The slow routes, by their own trial as far as it has a request of each."""
    routes = []
    for number, each in enumerate(apart, start=1):
        route = SlowRoute(each.name, each.share, each.tried_s)
        if measured is not None:
            rows = measured.telemetry[measured.telemetry["endpoint"] == number]
            rows = rows[(rows["status"] > 0) & (rows["status"] < 500)]
            if len(rows):
                seconds, cpu_s = float(rows["wall"].mean()), float(rows["cpu"].mean())
                route = SlowRoute(each.name, each.share, seconds, max(cpu_s, 0.0), len(rows))
        routes.append(route)
    return tuple(routes)

"""Prediction: the model's figures for settings that were never run."""

from __future__ import annotations

from dataclasses import dataclass

from pretune.advisor.model.bounds import Limit
from pretune.advisor.profiler.measurement import Latency
from pretune.advisor.quantity import Interval


@dataclass(frozen=True)
class Prediction:
    """The figures of one server with given settings, users and conditions. Seconds, bytes, rates
    per second.
    """

    users: int  # of an open load: requests inside at once, on average
    throughput_rps: Interval
    latency: Latency
    pss_bytes: Interval  # peak of the whole tree, without overlap and reserve
    ram_bytes: Interval  # what must be there: pss + one overlapping worker + reserve + leak
    pg_connections: int  # one overlapping worker included
    fds: int  # of the busiest process
    utilisation: tuple[tuple[str, float], ...]  # resource -> busy fraction: cpu, gil, slots, db
    binding: str  # the resource that limits throughput here
    explanation: str  # one sentence with the bound: "2 cores / 6.1 ms = 328 requests/s"
    limit: Limit | None = None  # what that sentence says
    rps: float | None = None  # the rate of an open load
    # Of a capacity: at the load where p95's value, not its upper end, meets the SLO.
    expected_rps: float | None = None
    # the same under other draws of what is not surely known, in an order common to all arrangements
    draws: tuple[float, ...] = ()

    # what ram_bytes is the sum of, bytes
    ram_parts: tuple[tuple[str, float], ...] = ()
    # other resources that limit it under some of those draws
    may_bind: tuple[str, ...] = ()

    @property
    def compared_rps(self) -> float:
        """By which arrangements are compared: what makes all of them as uncertain tells none from
        another, and would at last compare them at one user each, where all are alike."""
        return self.throughput_rps.value if self.expected_rps is None else self.expected_rps

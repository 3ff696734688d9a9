"""Exact results of queueing theory, which the simulation is held against.

Sources: Lazowska, Zahorjan, Graham, Sevcik, *Quantitative System Performance* (1984), chapter 5
(asymptotic and balanced job bounds); Buzen, "Computational algorithms for closed queueing networks
with exponential servers", CACM 16 (1973) (the convolution). The closed network is solved by
convolution, which gives the numbers of exact mean-value analysis (Reiser and Lavenberg 1980) and,
all its terms being positive, stays accurate with multi-server stations where MVA's recursion
cancels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Station:
    """``demand_s`` per request on ``servers`` servers; inf servers: a pure delay."""

    name: str
    demand_s: float
    servers: float = 1.0

    @property
    def most_rps(self) -> float:
        return self.servers / self.demand_s if self.demand_s > 0 else math.inf


@dataclass(frozen=True)
class Solution:
    """Of a closed network: throughput, mean time in the stations, mean number at each station."""

    throughput_rps: float
    response_s: float
    at_station: tuple[float, ...]


def asymptotic(stations: list[Station], users: int, think_s: float = 0.0) -> tuple[float, float]:
    """(least, most) throughput of any network with these demands, whatever its distributions."""
    total = sum(s.demand_s for s in stations)
    most = min([users / (total + think_s), *(s.most_rps for s in stations)])
    return users / (users * total + think_s), most


def balanced_job(stations: list[Station], users: int, think_s: float = 0.0) -> tuple[float, float]:
    """(least, most) throughput; tighter, for product-form networks of single servers and delays."""
    if any(s.servers not in (1.0, math.inf) for s in stations):
        raise ValueError("balanced job bounds are for single servers and delays")
    queues = [s.demand_s for s in stations if s.servers == 1.0 and s.demand_s > 0]
    think = think_s + sum(s.demand_s for s in stations if s.servers == math.inf)
    if not queues:
        return users / think, users / think
    total, worst, average = sum(queues), max(queues), sum(queues) / len(queues)
    others = users - 1
    least = users / (total + think + others * worst / (1 + think / (users * total)))
    most = users / (total + think + others * average / (1 + think / total))
    return least, min(1 / worst, most)


def closed_network(stations: list[Station], users: int, think_s: float = 0.0) -> Solution:
    """Exact solution of a single-class product-form closed network.

    Stations: processor sharing of any distribution, or first come first served of an exponential
    one; ``servers`` whole. With ``n`` at a station of ``m`` servers it works at rate ``min(n, m)``.
    """
    whole = [*stations, Station("think", think_s, math.inf)]
    # scaling all demands changes only the unit of time, and keeps the terms near 1
    unit = max(s.demand_s for s in whole)
    factors = [_factors(s, users, unit) for s in whole]
    g = np.zeros(users + 1)
    g[0] = 1.0
    for f in factors:
        g = np.convolve(g, f)[: users + 1]
    throughput = g[users - 1] / g[users] / unit
    at = []
    for k in range(len(stations)):
        others = np.zeros(users + 1)
        others[0] = 1.0
        for i, f in enumerate(factors):
            if i != k:
                others = np.convolve(others, f)[: users + 1]
        n = np.arange(users + 1)
        at.append(float((n * factors[k] * others[::-1]).sum() / g[users]))
    return Solution(float(throughput), users / float(throughput) - think_s, tuple(at))


def _factors(station: Station, users: int, unit: float) -> NDArray[np.float64]:
    """``D^n / (min(1, m) ... min(n, m))`` for n = 0..users."""
    n = np.arange(1, users + 1, dtype=np.float64)
    steps = (station.demand_s / unit) / np.minimum(n, station.servers)
    return np.concatenate([[1.0], np.cumprod(steps)])

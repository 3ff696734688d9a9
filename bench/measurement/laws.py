"""Runs drawn from laws whose means and percentiles are known exactly: requests without a server.

Each law gives one run's requests (start and wall, s) and the truth of the quantities the tool makes
of them. They differ in how requests hang together: not at all, over some of them (a queue), over
seconds (a machine that is slower for a while).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, signal, stats

Floats = NDArray[np.float64]
QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


@dataclass(frozen=True)
class Law:
    """``draw(rng, seconds)``: start and wall of each request that began within ``seconds``.

    ``truth``: throughput_rps, mean, p50, p95, p99; seconds and 1/s.
    """

    name: str
    draw: Callable[[np.random.Generator, float], tuple[Floats, Floats]]
    truth: dict[str, float]


def _alone(walls: Floats, seconds: float) -> tuple[Floats, Floats]:
    """One user, one request after the other."""
    ends = np.cumsum(walls)
    starts = np.concatenate([[0.0], ends[:-1]])
    kept = starts < seconds
    return starts[kept], walls[kept]


def lognormal(mean: float = 0.01, sigma: float = 0.5) -> Law:
    """Independent service times, one user."""
    mu = math.log(mean) - sigma**2 / 2

    def draw(rng: np.random.Generator, seconds: float) -> tuple[Floats, Floats]:
        return _alone(rng.lognormal(mu, sigma, int(1.5 * seconds / mean) + 50), seconds)

    truth = {"throughput_rps": 1 / mean, "mean": mean}
    truth |= {q: math.exp(mu + sigma * stats.norm.ppf(p)) for q, p in QUANTILES.items()}
    return Law("independent, lognormal", draw, truth)


def autoregressive(
    mean: float = 0.01, sigma: float = 0.3, remembered_s: float = 0.3, slow: float = 0.5
) -> Law:
    """Lognormal times whose logarithm is white noise and, by ``slow`` of its variance, AR(1).

    The memory, ``remembered_s``, is what a cache, a garbage collector or a neighbour has.
    """
    mu = math.log(mean) - sigma**2 / 2
    rho = math.exp(-mean / remembered_s)

    def draw(rng: np.random.Generator, seconds: float) -> tuple[Floats, Floats]:
        n = int(2 * seconds / mean) + 50
        state = rng.normal(0, 1, n) * math.sqrt(1 - rho**2)
        state[0] = rng.normal()
        state = signal.lfilter([1.0], [1.0, -rho], state)
        log = sigma * (math.sqrt(slow) * state + math.sqrt(1 - slow) * rng.normal(0, 1, n))
        return _alone(np.exp(mu + log), seconds)

    truth = {"throughput_rps": 1 / mean, "mean": mean}
    truth |= {q: math.exp(mu + sigma * stats.norm.ppf(p)) for q, p in QUANTILES.items()}
    return Law(f"autocorrelated over {remembered_s:g} s", draw, truth)


def bimodal(often: float = 0.001, rarely: float = 0.02, share: float = 0.1) -> Law:
    """Nine of ten requests take ``often``, the tenth ``rarely``; 5% of jitter, one user."""
    jitter = 0.05
    mean = (1 - share) * often + share * rarely

    def draw(rng: np.random.Generator, seconds: float) -> tuple[Floats, Floats]:
        n = int(1.5 * seconds / mean) + 50
        times = np.where(rng.random(n) < share, rarely, often)
        return _alone(times * rng.normal(1, jitter, n).clip(0.5), seconds)

    def below(x: float) -> float:
        return (1 - share) * float(stats.norm.cdf(x / often - 1, scale=jitter)) + share * float(
            stats.norm.cdf(x / rarely - 1, scale=jitter)
        )

    truth = {"throughput_rps": 1 / mean, "mean": mean}
    for name, p in QUANTILES.items():
        truth[name] = float(optimize.brentq(lambda x, p=p: below(x) - p, often / 2, rarely * 2))
    return Law("bimodal", draw, truth)


def queue(users: int = 8, mean: float = 0.005) -> Law:
    """A closed queue: ``users`` before one server, first come first served, exponential times.

    A request waits for the users - 1 before it: its time is a sum of ``users`` service times, and
    neighbours share all but one of them.
    """

    def draw(rng: np.random.Generator, seconds: float) -> tuple[Floats, Floats]:
        services = rng.exponential(mean, int(1.5 * seconds / mean) + 50)
        ends = np.cumsum(services)
        starts = np.concatenate([np.zeros(users), ends[:-users]])
        kept = starts < seconds
        return starts[kept], (ends - starts)[kept]

    truth = {"throughput_rps": 1 / mean, "mean": users * mean}
    truth |= {q: float(stats.gamma.ppf(p, users, scale=mean)) for q, p in QUANTILES.items()}
    return Law(f"closed queue, {users} users", draw, truth)


def open_queue(load: float = 0.7, mean: float = 0.01) -> Law:
    """M/M/1: Poisson arrivals, exponential times; response times are exponential (Erlang)."""
    rate = load / mean

    def draw(rng: np.random.Generator, seconds: float) -> tuple[Floats, Floats]:
        before = 200 * mean / (1 - load) ** 2  # starts in equilibrium
        n = rng.poisson(rate * (seconds + before))
        arrivals = np.sort(rng.uniform(-before, seconds, n))
        services = rng.exponential(mean, n)
        # Lindley's recursion: a departure is the latest start of a busy period plus the work since
        work = np.cumsum(services)
        departures = work + np.maximum.accumulate(arrivals - (work - services))
        kept = arrivals >= 0
        return arrivals[kept], (departures - arrivals)[kept]

    time = mean / (1 - load)
    truth = {"throughput_rps": rate, "mean": time}
    truth |= {q: -time * math.log(1 - p) for q, p in QUANTILES.items()}
    return Law(f"open queue at {load:.0%}", draw, truth)


def all_laws() -> tuple[Law, ...]:
    return (
        lognormal(),
        autoregressive(),
        autoregressive(remembered_s=1.0, slow=0.3),
        bimodal(),
        queue(),
        open_queue(),
    )

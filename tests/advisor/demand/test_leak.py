"""Memory curves with known truth: what leaks is found with its slope, what does not is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pretune.advisor.demand.leak import Growth, classify, warming
from pretune.advisor.profiler.measurement import MemorySeries, Settled

MIB = 1 << 20
PAGE = 4096


def series(private: np.ndarray, requests: np.ndarray, pid: int = 1) -> MemorySeries:
    """Page-granular, as the kernel counts."""
    pages = np.round(private / PAGE) * PAGE
    return MemorySeries(pid, np.linspace(0, 20, len(requests)), requests.astype(float), pages)


def page_noise(rng: np.random.Generator, n: int, pages: float, rho: float = 0.5) -> np.ndarray:
    noise = np.zeros(n)
    for i in range(1, n):
        noise[i] = rho * noise[i - 1] + rng.normal(0, pages * np.sqrt(1 - rho**2))
    return noise * PAGE


def x_axis(n: int = 200, requests: int = 6000) -> np.ndarray:
    return np.linspace(0, requests, n)


def plateau(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(len(x))


def cache(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    tau = rng.uniform(0.03, 1.0) * x[-1]
    return 8 * MIB * (1 - np.exp(-x / tau))


def filled(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A key for each request, until the cache is full."""
    return 400 * np.minimum(x, rng.uniform(0.05, 0.92) * x[-1])


def rare_keys(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return 3 * MIB * np.log1p(x / (rng.uniform(0.02, 0.3) * x[-1]))


def lazy_imports(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    at = rng.uniform(0.05, 0.95, size=2) * x[-1]
    return sum((rng.uniform(0.5, 8) * MIB * (x > a) for a in at), np.zeros(len(x)))


def saw(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    period = rng.uniform(0.07, 0.45) * x[-1]
    return 6 * MIB * (((x + rng.uniform(0, period)) % period) / period)


LEAK_FREE = [plateau, cache, filled, rare_keys, lazy_imports, saw]


@pytest.mark.parametrize("shape", LEAK_FREE, ids=lambda f: f.__name__)
def test_no_alarm_without_a_leak(shape) -> None:
    alarms = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = x_axis(int(rng.integers(60, 300)), int(rng.integers(500, 20000)))
        noise = page_noise(rng, len(x), rng.uniform(0.5, 20), rng.uniform(0, 0.9))
        growth = classify([series(80 * MIB + shape(x, rng) + noise, x)], seed=seed)
        if growth.leak_class == "leak":
            alarms.append((seed, growth))
    assert not alarms


def test_no_alarm_on_a_random_walk() -> None:
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x = x_axis()
        walk = np.cumsum(rng.normal(0, 4 * PAGE, len(x)))
        assert classify([series(80 * MIB + walk, x)], seed=seed).leak_class != "leak"


@pytest.mark.parametrize("slope", [100.0, 1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("warm", [0.0, 6.0 * MIB])
def test_a_leak_is_found_with_its_slope(slope: float, warm: float) -> None:
    found, close = 0, 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        x = x_axis()
        y = 80 * MIB + slope * x + warm * (1 - np.exp(-x / (0.05 * x[-1])))
        growth = classify([series(y + page_noise(rng, len(x), 3), x)], seed=seed)
        found += growth.leak_class == "leak"
        close += abs(growth.slope.value / slope - 1) < 0.1
    assert found >= 9
    assert close >= 9


def test_the_interval_of_a_leak_covers_the_truth() -> None:
    covered = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = x_axis()
        y = 80 * MIB + 500 * x + page_noise(rng, len(x), 8, 0.6)
        covered += classify([series(y, x)], seed=seed).slope.contains(500)
    assert covered >= 53


def test_a_flat_worker_is_none_with_a_bound() -> None:
    rng = np.random.default_rng(1)
    x = x_axis()
    growth = classify([series(80 * MIB + page_noise(rng, len(x), 2), x)])
    assert growth.leak_class == "none"
    assert growth.slope.value == growth.slope.low == 0
    assert 0 <= growth.slope.high < 100


def test_a_filling_cache_is_still_warming_and_bounded_from_above() -> None:
    x = x_axis()
    rng = np.random.default_rng(1)
    y = 80 * MIB + 40 * MIB * (1 - np.exp(-x / x[-1])) + page_noise(rng, len(x), 2)
    growth = classify([series(y, x)])
    now = 40 * MIB / x[-1] * np.exp(-1)  # the slope at the end
    assert growth.leak_class == "still_warming"
    assert growth.slope.high > now
    assert growth.slope.low == 0


def test_too_little_says_so() -> None:
    x = np.linspace(0, 5000, 10)
    assert classify([series(80 * MIB + x * 1000, x)]).leak_class == "not_enough_data"
    assert classify([]).leak_class == "not_enough_data"
    x = np.linspace(0, 50, 100)
    assert classify([series(80 * MIB + x * 1e5, x)]).leak_class == "not_enough_data"


def test_all_workers_leak_or_none_does() -> None:
    x = x_axis()
    rng = np.random.default_rng(3)

    def worker(slope: float, pid: int) -> MemorySeries:
        return series(80 * MIB + slope * x + page_noise(rng, len(x), 3), x, pid)

    def judge(*slopes: float) -> Growth:
        return classify([worker(s, i) for i, s in enumerate(slopes)])

    assert judge(2000, 2000, 2000).leak_class == "leak"
    assert judge(2000, 2000, 2000).slope.contains(2000)
    assert judge(0, 0, 2000).leak_class != "leak"


def test_the_same_seed_gives_the_same_answer() -> None:
    x = x_axis()
    one = series(80 * MIB + 300 * x + page_noise(np.random.default_rng(5), len(x), 5), x)
    assert classify([one], seed=4) == classify([one], seed=4)


def test_a_straight_rise_over_few_requests_is_warm_up_with_a_bound() -> None:
    # As an example application did: 0.7 KB a request over its first hundreds, none after thousands.
    x = x_axis(100, 330)
    rng = np.random.default_rng(2)
    growth = classify([series(41 * MIB + 744 * x + page_noise(rng, len(x), 1), x)])
    assert growth.leak_class == "still_warming"
    assert growth.slope.high >= 744


def test_a_large_leak_needs_few_requests() -> None:
    x = x_axis(100, 400)
    rng = np.random.default_rng(2)
    growth = classify([series(41 * MIB + 1e5 * x + page_noise(rng, len(x), 3), x)])
    assert growth.leak_class == "leak"
    assert growth.slope.contains(1e5)


def test_growth_with_time_is_no_leak_per_request() -> None:
    # The same KB a second in a slow worker and in one ten times as fast.
    rng = np.random.default_rng(4)
    slow, fast = x_axis(200, 6000), x_axis(200, 20000)
    grown = np.linspace(0, 20, 200) * 400_000
    workers = [
        series(80 * MIB + grown + page_noise(rng, 200, 3), x, pid)
        for pid, x in enumerate((slow, fast))
    ]
    assert classify(workers[:1]).leak_class == "leak"
    assert classify(workers).leak_class == "still_warming"


def test_growth_of_bytes_in_thousands_of_requests_is_none() -> None:
    x = x_axis(200, 20000)
    growth = classify([series(42 * MIB + 2.6 * x, x)])
    assert growth.leak_class == "none"
    assert growth.slope.high < 10


def test_what_may_still_come_is_bounded_by_what_came() -> None:
    x = x_axis(200, 4000)
    grown = MIB * np.log1p(x / 100)
    still = warming([series(40 * MIB + grown, x)])
    assert still.value == pytest.approx(MIB * np.log(2), rel=0.1)  # one more doubling
    assert still.low == 0
    assert still.high == pytest.approx(grown[-1], rel=0.1)
    assert warming([series(40 * MIB + 0 * x, x)]).high == 0
    assert warming([]).high == 0


def straight(slope: float, settled: Settled | None, requests: int = 8000) -> MemorySeries:
    x = x_axis(200, requests)
    noise = page_noise(np.random.default_rng(6), len(x), 3)
    return replace(series(80 * MIB + slope * x + noise, x), settled=settled)


@pytest.mark.parametrize(
    ("settled", "said"),
    [
        (None, "leak"),
        (Settled(0.0, 0.0, True), "leak"),
        # 8 MB of growth: what it gives back decides, but not what it had to give back at boot
        (Settled(0.0, 6.0 * MIB, True), "fragmentation"),
        (Settled(0.0, 1.0 * MIB, True), "leak"),
        (Settled(5.0 * MIB, 0.0, True), "fragmentation"),
        (Settled(0.0, 0.0, True, garbage_fraction=0.9), "fragmentation"),
        # who switched the collector off keeps the garbage
        (Settled(5.0 * MIB, 0.0, False, garbage_fraction=0.9), "leak"),
    ],
)
def test_what_is_given_back_on_demand_was_no_leak(settled: Settled | None, said: str) -> None:
    growth = classify([straight(1000, settled)], returned_at_boot=0.6 * MIB)
    assert growth.leak_class == said
    assert growth.slope.high >= 1000 or said == "leak"


def test_free_memory_that_was_there_at_boot_hides_no_leak() -> None:
    given = Settled(0.0, 6.0 * MIB, True)
    assert classify([straight(1000, given)], returned_at_boot=5.5 * MIB).leak_class == "leak"


def test_a_flat_worker_is_none_whatever_it_gives_back() -> None:
    assert classify([straight(0, Settled(0.0, 20.0 * MIB, True))]).leak_class == "none"


def test_copying_what_was_shared_is_no_growth() -> None:
    x = x_axis()
    copying = series(10 * MIB + 2000 * x, x)
    assert classify([copying]).leak_class == "leak"
    there = np.full(len(x), 80.0 * MIB)
    assert classify([replace(copying, anon_bytes=there)]).leak_class == "none"
    assert not copying.tells_growth(True)
    assert replace(copying, anon_bytes=there).tells_growth(True)


def life(number: int, slope: float, requests: int, rng: np.random.Generator) -> MemorySeries:
    """A worker that was recycled after some seconds: a dozen samples, from a level of its own."""
    x = np.sort(rng.uniform(1, requests, 14)).round()
    level = 40 * MIB + rng.normal(0, 300_000)
    one = series(level + slope * x + page_noise(rng, len(x), 2), x, number)
    return replace(one, time_s=np.linspace(0, 1.4, len(x)))


def test_short_lives_of_recycled_workers_are_taken_together() -> None:
    rng = np.random.default_rng(7)
    lives = [life(n, 600.0, 1500, rng) for n in range(6)]
    assert classify(lives[:1]).leak_class == "not_enough_data"
    growth = classify(lives)
    assert growth.leak_class == "still_warming"  # so few requests are no leak yet
    assert 600 <= growth.slope.high < 1200
    flat = classify([life(n, 0.0, 1500, rng) for n in range(6)])
    assert flat.leak_class == "none"
    large = classify([replace(life(n, 60_000.0, 1500, rng), time_s=np.linspace(0, 5, 14))
                      for n in range(6)])  # fmt: skip
    assert large.leak_class == "leak"
    assert large.slope.value == pytest.approx(60_000, rel=0.05)

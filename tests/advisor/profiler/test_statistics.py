"""Claimed intervals against truth that is known by construction, without a server or a clock."""

import math

import numpy as np
import pytest
from scipy import signal

from bench.measurement.intervals import pairs_of
from bench.measurement.laws import all_laws
from bench.measurement.pairs import Coverage
from pretune.advisor.demand.requests import means
from pretune.advisor.model import state
from pretune.advisor.model.simulation import Arrangement, Closed, Discipline, simulate
from pretune.advisor.profiler.statistics import (
    START_SCATTER,
    alike,
    around,
    error_of_mean,
    of_any_start,
    percentiles,
    ratio,
    share_interval,
)
from pretune.advisor.profiler.steady import start_up
from pretune.advisor.quantity import UNKNOWN, Interval

RUNS = 15
SECONDS = 12.0


@pytest.fixture(scope="module")
def pairs():
    return [p for law in all_laws() for n in range(RUNS) for p in pairs_of(law, SECONDS, seed=n)]


def test_intervals_of_runs_with_a_known_law_cover_it_and_are_not_uselessly_wide(pairs):
    pooled = Coverage.of(pairs)
    assert pooled.pairs == len(pairs) >= 400
    assert pooled.share >= 0.88  # 92% of many; 450 pairs of 90 runs scatter by 2%
    assert pooled.half_width <= 0.15


@pytest.mark.parametrize("law", [law.name for law in all_laws()])
def test_no_law_is_covered_much_less_than_claimed(pairs, law):
    # even a queue that is far from its mean for a third of the run, from one run alone
    assert Coverage.of([p for p in pairs if p.where == law]).share >= 0.75


def test_no_quantity_is_covered_much_less_than_claimed(pairs):
    for quantity in {p.quantity for p in pairs}:
        assert Coverage.of([p for p in pairs if p.quantity == quantity]).share >= 0.82, quantity


def test_a_start_is_cut_off_only_where_it_differs_from_the_rest():
    """MSER alone finds a start to drop in most series that wander: it picks their quiet part."""
    by_chance, surely = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        series = 10 + signal.lfilter([1.0], [1.0, -0.6], rng.normal(0, 1, 200))[-60:]
        by_chance.append(start_up(series) > 0)
        series[:6] += 15
        surely.append(start_up(series) >= 6)
    assert np.mean(by_chance) <= 0.2
    assert np.mean(surely) >= 0.9


def test_the_output_of_a_simulated_server_is_covered():
    """Two workers on one core under eight users: short runs against a long one."""
    rng = np.random.default_rng(1)
    rows = np.zeros(500, state.ROW)
    rows["cpu"] = rng.lognormal(-5.5, 0.6, 500)
    rows["wait"] = rng.exponential(0.004, 500)
    rows["wait_calls"] = 1
    arrangement = Arrangement(2, 1, 1.0, discipline=Discipline(sticky=False))

    def response(requests, seed):
        picks = np.random.default_rng(seed).integers(0, 500, requests)
        return simulate(
            rows, picks, arrangement, Closed(8), requests=requests, seed=seed
        ).response_s

    long = response(200_000, seed=1)
    block = np.arange(2000) // 100
    covered = []
    for seed in range(2, 62):
        short = response(2000, seed)
        sums = np.bincount(block, short)
        covered.append(ratio(sums, np.full(20, 100.0)).contains(long.mean()))
        for quantile, interval in zip(
            (0.5, 0.95, 0.99), percentiles(short, block, 20, (0.5, 0.95, 0.99)), strict=True
        ):
            covered.append(interval.contains(np.quantile(long, quantile)))
    assert np.mean(covered) >= 0.9


def test_demand_of_requests_that_are_alike_for_a_while_is_covered():
    covered = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        level = np.repeat(rng.normal(0, 0.2, 20), 100)  # a neighbour comes and goes
        kind = (rng.random(2000) < 0.3).astype(np.int64)
        spent = np.where(kind == 1, 0.01, 0.002) * np.exp(level + rng.normal(0, 0.3, 2000))
        lift = math.exp((0.2**2 + 0.3**2) / 2)
        mix, each = means(kind, spent[:, None], (0.5, 0.5))
        truths = (0.006 * lift, 0.002 * lift, 0.01 * lift)
        found = (mix[0], each[0][0], each[1][0])
        covered += [i.contains(t) for i, t in zip(found, truths, strict=True)]
    assert np.mean(covered) >= 0.88


def test_likeness_of_neighbours_is_estimated_without_bias():
    rng = np.random.default_rng(3)
    found = []
    for _ in range(400):
        series = [rng.normal()]
        for step in rng.normal(0, math.sqrt(1 - 0.5**2), 39):
            series.append(0.5 * series[-1] + step)
        found.append(alike(np.array(series)))
    assert np.mean(found) == pytest.approx(0.5, abs=0.05)


def test_alike_neighbours_count_for_fewer_blocks():
    rising = np.repeat(np.random.default_rng(1).normal(10, 1, 5), 8)
    mixed = np.random.default_rng(1).permutation(rising)
    assert error_of_mean(rising).half_width > 2 * error_of_mean(mixed).half_width
    assert error_of_mean(rising).df < 20


@pytest.mark.parametrize("series", [[], [3.0]])
def test_less_than_two_values_have_no_error(series):
    assert math.isnan(error_of_mean(np.array(series)).half_width)


def test_what_never_varied_is_exact():
    interval = ratio(np.full(20, 70.0), np.full(20, 10.0))
    assert (interval.low, interval.value, interval.high) == (7.0, 7.0, 7.0)


def test_a_positive_value_has_positive_limits_however_uncertain_it_is():
    interval = around(0.01, 0.03)
    assert 0 < interval.low < 0.01 < interval.high
    assert math.isfinite(around(1e-9, 1.0).high)


def test_slow_requests_in_clusters_make_their_share_less_certain():
    counts = np.full(20, 100.0)
    spread, clustered = np.full(20, 1.0), np.zeros(20)
    clustered[[3, 11]] = 10.0
    few, many = share_interval(spread, counts, 0.01)
    fewer, more = share_interval(clustered, counts, 0.01)
    assert fewer < few < 0.01 < many < more
    # seen evenly it is still at most so certain as independent requests make it
    assert few <= 0.0063
    assert many >= 0.0150


def test_the_upper_end_of_a_percentile_lies_beyond_the_largest_of_too_few_values():
    values = np.random.default_rng(1).exponential(1.0, 60)
    (p99,) = percentiles(values, np.arange(60) // 3, 20, (0.99,))
    assert p99.high > values.max()
    assert p99.contains(-math.log(0.01))


def test_starts_whose_own_intervals_are_too_narrow_cover_what_another_gives():
    """Starts that differ by what is assumed, each of which knows its own level nearly exactly."""
    draw = np.random.default_rng(1)
    levels = 0.1 * np.exp(draw.normal(0.0, START_SCATTER, 2000))
    known = [of_any_start(Interval(x, x * 0.999, x * 1.002)) for x in levels]
    covered = np.mean([one.contains(0.1) for one in known])
    assert 0.93 < covered < 0.975
    assert all(one.high / one.value > one.value / one.low for one in known)  # as it was


def test_an_interval_that_is_wide_already_hardly_grows_by_other_starts():
    wide = of_any_start(Interval(1.0, 0.7, 1.4))
    assert wide.low == pytest.approx(0.7, rel=0.001)
    assert wide.high == pytest.approx(1.4, rel=0.001)
    assert math.isnan(of_any_start(UNKNOWN).low)
    assert of_any_start(Interval.exact(0.0)) == Interval.exact(0.0)

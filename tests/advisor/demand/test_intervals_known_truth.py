"""Applications whose costs are known, under the tool's own trials: its intervals cover the truth.

The tolerance is what the tool itself claims. Of K intervals at 95% some miss; a test fails when
more do than would by chance in one of a hundred runs, twice in a row (the machine may have been
busy), or when most intervals of one quantity miss.
"""

import pytest
from scipy import stats

from bench.measurement import truth
from bench.measurement.pairs import Coverage
from bench.measurement.stage import Stage, start_services
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

COSTS = ("nothing", "burn", "wait", "mixed", "drawn", "bimodal", "queries", "pair", "bytes")
EXACT = ("response_bytes of an endpoint", "db_calls of an endpoint", "connections held")
USELESS = 0.5  # half width relative to the truth, median: wider says nothing
MIB = 1 << 20


@pytest.fixture(scope="module")
def services():
    with start_services() as services:
        yield services


def one_at_a_time(stage, worker_class, seconds, seed=1):
    settings = Settings(workers=1, threads=1, worker_class=worker_class, timeout=60.0)
    load = Load(users=1, duration_s=seconds, seed=seed)
    return truth.repeat(stage.workload, stage.run(settings, load, probes=True))


def too_many_missed(pairs):
    """What is wrong with so many claims; nothing if chance explains it."""
    found = Coverage.of(pairs)
    missed = found.pairs - found.covered
    if missed > stats.binom.ppf(0.99, found.pairs, 0.05):
        return [f"{missed} of {found.pairs} intervals miss the truth: {shown(pairs)}"]
    wrong = []
    for quantity in {pair.quantity for pair in pairs}:
        mine = [pair for pair in pairs if pair.quantity == quantity]
        if len(mine) >= 3 and Coverage.of(mine).share < 0.5:
            wrong.append(f"most intervals of {quantity} miss: {shown(mine)}")
    return wrong


def shown(pairs):
    return [(p.quantity, p.claimed, p.truth) for p in pairs if not p.covered]


@pytest.mark.parametrize(
    ("app", "worker_class", "kinds"),
    [("known_wsgi.py", "gthread", (*COSTS, "outbound")), ("known_asgi.py", "asgi", COSTS)],
    ids=["wsgi", "asgi"],
)
def test_what_requests_cost_lies_in_the_intervals(services, app, worker_class, kinds):
    with Stage(app, kinds, services) as stage:
        for attempt in (1, 2):
            one = one_at_a_time(stage, worker_class, 3.0, seed=attempt)
            pairs = truth.of_demand(app, stage.workload, one)
            if not (wrong := too_many_missed(pairs)):
                break
    assert not wrong
    assert len(pairs) >= 20
    assert all(pair.covered for pair in pairs if pair.quantity in EXACT), shown(pairs)
    assert Coverage.of(pairs).half_width < USELESS
    # who never waits is not told to wait, however busy the machine
    assert truth.needless_wait(stage.workload, one) < 1e-3


def test_memory_of_a_known_size_is_the_difference_of_two_workers(services):
    base = []
    for held_mib in (0, 64):
        with Stage("known_wsgi.py", ("nothing",), services, held_mib=held_mib) as stage:
            one = one_at_a_time(stage, "gthread", 1.5)
            base.append(one.demand.worker.base_pss_bytes)
    without, with_ = base
    low, high = with_.low - without.high, with_.high - without.low
    assert low <= 64 * MIB <= high
    assert high - low < 16 * MIB


def test_500_bytes_leaked_by_each_request_are_the_slope_that_is_claimed(services):
    with Stage("known_wsgi.py", ("leak",), services) as stage:
        for attempt in (1, 2):  # one of twenty intervals may miss
            worker = one_at_a_time(stage, "gthread", 6.0, seed=attempt).demand.worker
            slope = worker.leak_slope_bytes_per_request
            if slope.contains(truth.LEAK_BYTES):
                break
    assert worker.leak_class == "leak"
    assert slope.low <= truth.LEAK_BYTES <= slope.high
    assert slope.high - slope.low < 0.05 * truth.LEAK_BYTES

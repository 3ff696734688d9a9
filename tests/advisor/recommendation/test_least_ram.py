"""The smallest RAM that an application fits."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.demands import MIB, make_demand

from pretune.advisor.model import memory
from pretune.advisor.model.question import Question
from pretune.advisor.profiler.measurement import Conditions
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import answer, least_ram
from pretune.advisor.resources.budget import Budget, Slo, reserve
from pretune.advisor.verdict import Verdict
from pretune.server.settings import Settings


def budget(ram: int) -> Budget:
    return Budget(ram, 1.0, None, 1024, reserve_bytes=reserve(ram))


def needed(ram: int, demand) -> float:
    worker, rate = demand.worker, Interval.exact(100.0)
    return memory.ram_to_provide(worker, Settings(1, 1), rate, reserve(ram)).high


def heavy(size: float):
    demand = make_demand()
    base = Interval(size, 0.98 * size, 1.02 * size)
    return replace(demand, worker=replace(demand.worker, base_pss_bytes=base))


@pytest.mark.parametrize("size", [60 * MIB, 300 * MIB, 3000 * MIB])
def test_it_fits_and_a_little_less_does_not(size):
    demand = heavy(size)
    found = least_ram.find_least_ram(demand, budget(64 * MIB), "wsgi", "gunicorn")
    assert found is not None
    assert needed(found, demand) <= found
    less = int(found * 0.9)
    assert needed(less, demand) > less


def test_a_leak_is_recycled_in_it():
    demand = heavy(100 * MIB)
    slope = Interval(2000.0, 1800.0, 2200.0)
    leaky = replace(
        demand,
        worker=replace(demand.worker, leak_class="leak", leak_slope_bytes_per_request=slope),
    )
    without, found = (
        least_ram.find_least_ram(d, budget(64 * MIB), "wsgi", "gunicorn") for d in (demand, leaky)
    )
    assert without is not None
    assert found is not None
    assert without < found < 4 * without


def test_the_answer_names_it():
    ram = 128 * MIB
    question = Question(heavy(300 * MIB), budget(ram), Slo(1.0), Conditions(1.0, 0.0, False, False))
    found = answer.solve(question).found
    assert found.verdict is Verdict.DOES_NOT_FIT
    assert found.recommendation is None
    assert "does not fit 128 MiB" in found.reason
    assert found.reason.endswith("the smallest that fits is 700 MiB")

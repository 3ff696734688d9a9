"""A demand moves between servers by what the same trial showed on both."""

from __future__ import annotations

from dataclasses import replace

import pytest
from demands import MIB, make_demand

from pretune.advisor.model.costs import ServerCost, on
from pretune.advisor.quantity import Interval


def cost(cpu: float, worker: float, master: float) -> ServerCost:
    return ServerCost(Interval.exact(cpu), 5e-5, worker, master, 8 * MIB)


COSTS = {
    ("embedded", "gthread"): cost(0.0050, 40 * MIB, 10 * MIB),
    ("gunicorn", "gthread"): replace(cost(0.0052, 37 * MIB, 16 * MIB), generator_cpu_s=7e-5),
}


def test_what_changes_is_added_to_requests_workers_and_master() -> None:
    here = replace(make_demand(), costs=COSTS, overhead_cpu_s=Interval.exact(1e-4))
    there = on(here, "gunicorn", "gthread")
    assert there.overhead_cpu_s.value == pytest.approx(3e-4)
    assert there.overhead_cpu_s.low < 3e-4 < there.overhead_cpu_s.high
    assert there.generator_cpu_s == pytest.approx(here.generator_cpu_s + 2e-5)
    assert there.worker.base_pss_bytes.value == here.worker.base_pss_bytes.value - 3 * MIB
    assert there.worker.fixed_pss_bytes == here.worker.fixed_pss_bytes + 6 * MIB
    assert there.cpu_s == here.cpu_s


def test_it_moves_once_and_back() -> None:
    here = replace(make_demand(), costs=COSTS)
    there = on(here, "gunicorn", "gthread")
    assert on(there, "gunicorn", "gthread") is there
    back = on(there, "embedded", "gthread")
    assert back.worker.base_pss_bytes.value == here.worker.base_pss_bytes.value


def test_to_a_server_of_unknown_cost_nothing_moves() -> None:
    here = replace(make_demand(), costs=COSTS)
    assert on(here, "gunicorn", "sync") is here
    assert on(make_demand(), "gunicorn", "gthread").costs == {}

"""Whether measured points kept the budgets of their case."""

import pytest
from support.accuracy_points import point

from bench.accuracy import budgets
from pretune.advisor.resources.budget import Budget

MIB = 1 << 20
BUDGET = Budget(1024 * MIB, 1.0, 10, 100, reserve_bytes=64 * MIB)


@pytest.mark.parametrize(
    ("used", "broken"),
    [
        ({"pss_bytes": 900.0 * MIB}, set()),
        ({"pss_bytes": 961.0 * MIB}, {budgets.RAM}),  # the reserve counts
        ({"pss_bytes": 900.0 * MIB, "kernel_bytes": 61.0 * MIB}, {budgets.RAM}),
        ({"pss_bytes": 900.0 * MIB, "db_pss_bytes": 61.0 * MIB}, {budgets.RAM}),
        ({"pg_connections": 10, "fds": 100}, set()),
        ({"pg_connections": 11, "fds": 101}, {budgets.CONNECTIONS, budgets.DESCRIPTORS}),
        ({"pg_connections": None, "fds": None}, set()),
    ],
)
def test_a_budget_is_broken_by_what_was_used_beyond_it(used, broken):
    assert budgets.broken(point(**used), BUDGET) == broken


def test_an_arrangement_broke_what_any_of_its_points_broke():
    points = [point(), point(users=4, fds=101), point((2, 1, "sync"))]
    assert budgets.broken_by(points, BUDGET) == {
        (1, 1, "sync"): [budgets.DESCRIPTORS],
        (2, 1, "sync"): [],
    }

"""The trial of the answer: as much of it as this machine runs, for as long as there is time."""

import pytest
from support.demands import MIB, make_demand

from pretune.advisor import verification
from pretune.advisor.profiler.measurement import Role
from pretune.advisor.trials import plan
from pretune.server.settings import Settings


def test_the_verification_makes_room_for_a_leaks_lines_but_stays_a_verification() -> None:
    whole = plan.duration(Role.VERIFICATION, 120.0)

    def planned(left_s: float, after_s: float) -> float:
        return verification.duration(120.0, left_s, after_s)

    assert planned(60.0, 15.0) == whole
    assert planned(33.0, 15.0) == 33.0 - 15.0 - plan.AROUND_S
    assert planned(20.0, 15.0) == planned(-5.0, 15.0) == whole / 2
    assert planned(5.0, 0.0) == whole  # nothing else to do with the time


@pytest.mark.parametrize(
    ("free", "cores", "connections", "workers"),
    [
        (16_000 * MIB, 4.0, None, 20),  # all of them
        (400 * MIB, 4.0, None, 6),  # 20 MiB once, 60 + 2 each, 1.2 more for each at the upper end
        (16_000 * MIB, 4.0, 12, 6),  # two connections each
        (1 * MIB, 4.0, None, 1),
    ],
)
def test_as_many_workers_are_verified_as_this_machine_runs(
    free: float, cores: float, connections: int | None, workers: int
) -> None:
    wanted = Settings(20, 2)
    got = verification.runnable(wanted, make_demand().worker, free, cores, connections)
    assert got.workers == workers
    assert got.threads == wanted.threads


def test_a_verification_does_not_wait_for_hours_of_boots() -> None:
    worker = make_demand().worker  # 0.5 s each
    assert verification.runnable(Settings(60, 1), worker, 1e12, 1.0, None).workers == 40

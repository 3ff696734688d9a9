"""The trial of the answer: as much of it as this machine runs, for as long as there is time."""

import pytest
from support.demands import MIB, make_demand

from pretune.advisor import verification
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Latency, Role
from pretune.advisor.quantity import Interval
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


def predicted(users: int, p95_s: float, width: float) -> Prediction:
    p95 = Interval(p95_s, p95_s / width, p95_s * width)
    exact = Interval.exact(0.01)
    latency = Latency(exact, exact, p95, exact)
    return Prediction(users, exact, latency, exact, exact, 0, 0, (), "cpu", "")


@pytest.mark.parametrize(
    ("claimed", "width", "sent"),
    [
        (40, 1.0, 40),  # as claimed
        (40, 2.0, 40),  # p95 100 ms at most 200: by the upper end alone it would be less
        (80, 1.0, 60),  # 200 ms is beyond 150
        (80, 4.0, 30),  # half the interval is left
        (1, 1e6, 1),
    ],
)
def test_the_load_is_the_claimed_one_as_far_as_it_keeps_the_slo(
    claimed: int, width: float, sent: int
) -> None:
    """p95 is 2.5 ms for each user, the SLO 151 ms."""
    found = verification.find_load(
        claimed, lambda users: predicted(users, 0.0025 * users, width), 0.151
    )
    assert found.users == sent


@pytest.mark.parametrize(
    ("users", "part", "here"), [(8, 0.5, 4), (8, 1.0, 8), (1, 0.25, 1), (300, 1 / 3, 100)]
)
def test_users_are_scaled_to_the_cores_of_the_trial(users: int, part: float, here: int) -> None:
    assert verification.scale_users(users, part) == here


def test_a_verification_does_not_wait_for_hours_of_boots() -> None:
    worker = make_demand().worker  # 0.5 s each
    assert verification.runnable(Settings(60, 1), worker, 1e12, 1.0, None).workers == 40

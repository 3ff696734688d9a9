"""The trial of the answer: as much of it as this machine runs, for as long as there is time."""

from dataclasses import replace

import pytest
from support.demands import MIB, make_demand

from pretune.advisor import verification
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.profiler.measurement import Latency, Role
from pretune.advisor.quantity import Interval
from pretune.advisor.trials import plan
from pretune.advisor.verification import Claim
from pretune.server.settings import Settings


def predicted(users: int, p95_s: float, width: float) -> Prediction:
    p95 = Interval(p95_s, p95_s / width, p95_s * width)
    exact = Interval.exact(0.01)
    latency = Latency(exact, exact, p95, exact)
    return Prediction(users, exact, latency, exact, exact, 0, 0, (), "cpu", "")


def test_the_verification_makes_room_for_a_leaks_lines_but_stays_a_verification() -> None:
    whole = plan.duration(Role.VERIFICATION, 120.0)

    def planned(left_s: float, after_s: float) -> float:
        return verification.plan_seconds(whole, left_s, after_s)[0]

    around = plan.AROUND_S + plan.BETWEEN_S
    assert planned(60.0, 15.0) == whole
    assert planned(33.0, 15.0) == 33.0 - 15.0 - around
    assert planned(20.0, 15.0) == planned(-5.0, 15.0) == whole / 2
    assert planned(5.0, 0.0) == whole  # nothing else to do with the time
    assert verification.plan_seconds(whole, 60.0, 0.0)[1] == 60.0 - around


@pytest.mark.parametrize(
    ("most", "rps", "half_rps", "seconds"),
    [
        (20.0, 100.0, 50.0, (12.0, 8.0)),  # more than enough: as planned
        (60.0, 8.0, 4.0, (16.25, 32.5)),  # what a p95 takes, as there is time
        (30.0, 8.0, 4.0, (18.0, 12.0)),  # too little time for both: the whole load's first
        (20.0, 1.0, 0.5, (12.0, 8.0)),
        (20.0, 8.0, None, (20.0, 0.0)),  # one user has no half
        (60.0, 4.0, None, (32.5, 0.0)),
    ],
)
def test_both_loads_get_the_requests_that_a_p95_takes_as_far_as_there_is_time(
    most: float, rps: float, half_rps: float | None, seconds: tuple[float, float]
) -> None:
    assert verification.split_seconds(20.0, most, rps, half_rps) == pytest.approx(seconds)


def level(users: int, rps: float, sent: float | None = None) -> verification.Level:
    rate = Interval.exact(rps)
    return verification.Level(replace(predicted(users, 0.1, 1.0), throughput_rps=rate), sent)


@pytest.mark.parametrize(
    ("claim", "sent", "why"),
    [
        (Claim(300.0, 8), level(8, 300.0), ""),
        (Claim(300.0, 8), level(6, 270.0), ""),  # it carries nearly as much
        (Claim(300.0, 8), level(3, 120.0), "8 users and 300 requests/s, was not sent"),
        (Claim(300.0, 8), level(1, 290.0), "one user, who waits for each answer"),
        (Claim(300.0, 1), level(1, 300.0), "cannot show that 300 requests/s are carried"),
        (Claim(8.0, 1), level(1, 8.0), ""),
        (Claim(300.0), level(4, 300.0, 300.0), ""),
        (Claim(300.0), level(2, 150.0, 150.0), "300 requests/s are claimed and 150 were sent"),
    ],
)
def test_a_load_that_is_not_the_claimed_one_leaves_the_claim_unshown(
    claim: Claim, sent: verification.Level, why: str
) -> None:
    row = verification.claim_row(claim, sent)
    assert row.promised
    assert row.kept is (None if why else True)
    assert why in row.sentence


def test_a_claim_is_scaled_to_the_part_of_the_cores_and_of_the_workers() -> None:
    of = replace(predicted(8, 0.1, 1.0), throughput_rps=Interval.exact(400.0))
    assert verification.scale_claim(of, None, 0.5, 1.0) == Claim(200.0, 4)
    assert verification.scale_claim(of, None, 1.0, 0.25) == Claim(100.0, 2)
    assert verification.scale_claim(of, 120.0, 0.5, 1.0) == Claim(120.0)


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

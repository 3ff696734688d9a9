"""Each trial by itself: settings, load and seconds, from the terms and what was observed."""

from dataclasses import replace

import pytest
from support.measured import EXACT, measurement

from pretune.advisor.observations import Observations
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.measurement import Role
from pretune.advisor.trials import plan
from pretune.advisor.trials.plan import Terms
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

FIRST = (Role.DEMAND, Role.CONTRAST, Role.PRELOAD, Role.VERIFICATION)


def terms(verified: str = "embedded", interface: str = "wsgi", **changes: object) -> Terms:
    found = Terms(interface, Servers("embedded", verified), 1.0, None, plan.durations(120.0))
    return replace(found, **changes)


def seen(*, rps: float = 300.0, threads: int = 4, cores: float = 1.0) -> Observations:
    demand = measurement(Settings(1, 1), cores=cores)
    contrast = replace(
        measurement(Settings(1, threads), rps=rps, cores=cores),
        role=Role.CONTRAST,
        load=Load(2 * threads, 10.0),
    )
    return Observations(demand, contrast)


def test_the_load_of_every_run_takes_its_part_of_the_time_budget() -> None:
    total = sum(plan.duration(role, 120.0) for role in FIRST)
    assert total == pytest.approx(120.0 * plan.LOAD_FRACTION)


WANTED = {role: plan.duration(role, 20.0) for role in Role}
NEEDED = {Role.DEMAND, Role.CONTRAST, Role.VERIFICATION, Role.FRONT}


@pytest.mark.parametrize(
    ("room_s", "out"),
    [
        (60.0, set()),
        (40.0, set()),
        (33.0, {Role.SYNC_ALONE}),
        (24.0, {Role.SYNC_ALONE, Role.SYNC, Role.CROWD}),
        (3.0, set(WANTED) - NEEDED),
        (-9.0, set(WANTED) - NEEDED),
    ],
)
def test_where_time_is_short_loads_are_shorter_then_trials_are_left_out(
    room_s: float, out: set[Role]
) -> None:
    fitted = plan.fit(WANTED, 2.2, room_s)
    assert set(WANTED) - set(fitted) == out
    takes = sum(fitted.values()) + 2.2 * len(fitted)
    assert takes <= max(room_s, 9.0 + 0.6 * 10.0)
    for role, seconds in fitted.items():
        assert 0.6 * WANTED[role] - 1e-9 <= seconds <= WANTED[role]


def test_a_trial_has_as_much_load_as_there_is_time_for() -> None:
    planned = replace(plan.plan_demand(terms(), None), around_s=2.0)
    whole_s = planned.duration_s
    for left_s, load_s in ((100.0, whole_s), (12.0, 10.0), (3.0, 1.0), (2.9, None)):
        found = planned.within(left_s)
        assert (found and found.duration_s) == (load_s and pytest.approx(load_s))
    several = replace(planned, duration_s=8.0, further=(Load(1, 4.0),)).within(9.0)
    assert several is not None
    assert several.duration_s == pytest.approx(4.0)  # two for boot and stop, one between the loads
    assert several.further[0].duration_s == pytest.approx(2.0)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_the_first_trial_is_undisturbed_and_probed(interface: str) -> None:
    first = plan.plan_demand(terms(interface=interface), None)
    assert (first.name, first.role, first.users, first.probes) == ("demand", Role.DEMAND, 1, True)
    assert (first.settings.workers, first.settings.threads) == (1, 1)
    assert first.settings.interface == interface


@pytest.mark.parametrize(
    ("waits", "threads", "users"),
    [(1.0, 4, 8), (9.0, 12, 24), (100.0, 32, 64)],  # of a request, in times of its CPU
)
def test_the_contrast_has_as_many_requests_at_once_as_keep_the_processor_busy(
    waits: float, threads: int, users: int
) -> None:
    cpu_s = 0.0045
    demand = measurement(Settings(1, 1), cpu_s=cpu_s, rps=1 / (cpu_s * waits))
    planned = plan.plan_contrast(terms(), Observations(demand))
    assert (planned.settings.threads, planned.users) == (threads, users)
    loop = plan.plan_contrast(terms(interface="asgi"), Observations(demand))
    assert (loop.settings.threads, loop.users) == (1, users)


def test_on_the_server_of_the_answer_the_contrast_trial_is_run_again() -> None:
    observed = seen(threads=7)
    again = plan.plan_server(terms("gunicorn"), observed)
    assert again is not None
    assert observed.contrast is not None
    assert again.settings == observed.contrast.settings
    assert (again.users, again.rps, again.stop_under_load) == (14, None, True)
    assert 0 < again.duration_s < plan.duration(Role.CONTRAST, 120.0)
    # what it surely carries, whatever is asked for
    for asked, sent in ((1000.0, 180.0), (50.0, 50.0)):
        planned = plan.plan_server(terms("gunicorn", rps=asked), observed)
        assert planned is not None
        assert planned.rps == sent


@pytest.mark.parametrize(
    ("cores", "connections", "shape"),
    [
        (1.0, None, (2, 4)),
        (1.0, 5, (2, 2)),
        (1.0, 1, None),
        (0.5, None, (2, 4)),
        (1.5, None, (2, 4)),
        (3.0, None, (4, 4)),
        (4.0, None, None),
    ],
)
def test_one_worker_more_than_cores_shows_what_sharing_costs(
    cores: float, connections: int | None, shape: tuple[int, int] | None
) -> None:
    asked = terms(pg_connections=connections)
    found = plan.plan_crowd(asked, seen(cores=cores))
    assert (found and (found.settings.workers, found.settings.threads)) == shape
    if found is not None:
        assert found.users >= found.settings.slots
        assert found.duration_s < plan.duration(Role.CONTRAST, 120.0)
    # before anything was observed, by the budget's cores
    before = plan.plan_crowd(replace(asked, cores=cores), None)
    assert (before is None) == (shape is None)


@pytest.mark.parametrize(
    ("interface", "connections", "asked"),
    [("wsgi", None, True), ("wsgi", 3, True), ("wsgi", 2, False), ("asgi", None, False)],
)
def test_sync_workers_are_tried_where_there_are_any(
    interface: str, connections: int | None, asked: bool
) -> None:
    given = terms(interface=interface, pg_connections=connections)
    found = [f(given, seen()) for f in (plan.plan_sync, plan.plan_sync_alone)]
    planned = [trial for trial in found if trial is not None]
    assert len(planned) == (2 if asked else 0)
    for trial in planned:
        assert trial.settings.worker_class == "sync"
        assert trial.settings.workers > 1  # one alone is never woken in vain
    assert [t.users for t in planned] == [8, 1][: len(planned)]
    assert sum(t.expected_s for t in planned) <= 10.0


def test_under_asgi_preload_is_tried_with_as_many_users_as_the_contrast() -> None:
    busy = seen(threads=30)
    loop, threads = (
        plan.plan_preload(terms(interface=interface), busy) for interface in ("asgi", "wsgi")
    )
    assert loop is not None
    assert threads is not None
    assert (loop.users, threads.users) == (60, 8)


def test_preload_is_not_tried_where_a_server_cannot_or_connections_are_few() -> None:
    assert plan.plan_preload(terms("waitress"), None) is None
    assert plan.plan_preload(terms(pg_connections=3), None) is None
    # users begin at random moments where another server than the first is loaded
    elsewhere, here = (plan.plan_preload(terms(name), None) for name in ("gunicorn", "embedded"))
    assert elsewhere is not None
    assert here is not None
    assert (elsewhere.ramp_s, here.ramp_s) == (plan.RAMP_S, 0.0)


def test_through_a_front_the_contrast_is_run_again_at_what_the_server_carried() -> None:
    asked: list[float] = []
    given = terms("gunicorn", front="nginx", through=lambda settings, rps: asked.append(rps))
    server = replace(measurement(Settings(1, 4), rps=250.0), role=Role.SERVER)
    planned = plan.plan_front(given, seen().plus(server))
    assert planned is not None
    assert (planned.name, planned.role, planned.stop_under_load) == ("front", Role.FRONT, False)
    assert asked == [250.0]
    assert plan.plan_front(terms(), seen()) is None


def test_what_is_unknown_of_the_first_trial_asks_for_no_absurd_load() -> None:
    demand = replace(measurement(Settings(1, 1)), throughput_rps=EXACT(0.0))
    assert plan.plan_contrast(terms(), Observations(demand)).settings.threads == 32

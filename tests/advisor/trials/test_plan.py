import pytest
from support.demands import MIB, make_demand

from pretune.advisor.trials import plan
from pretune.server.adapters.catalogue import offer
from pretune.server.settings import Settings


def test_all_load_together_takes_its_part_of_the_time_budget() -> None:
    total = sum(plan.duration(name, 120.0) for name in plan.SHARES)
    assert total == pytest.approx(120.0 * plan.LOAD_FRACTION)


@pytest.mark.parametrize("interface", ["wsgi", "asgi"])
def test_the_first_trial_is_undisturbed_and_probed(interface: str) -> None:
    first = plan.trials(interface, 120.0, None)[0]
    assert (first.name, first.users, first.probes) == ("demand", 1, True)
    assert (first.settings.workers, first.settings.threads) == (1, 1)
    assert first.settings.interface == interface


@pytest.mark.parametrize("connections", [1, 2, 3, 4, 100])
def test_no_trial_takes_more_connections_than_the_budget(connections: int) -> None:
    for trial in plan.trials("wsgi", 120.0, connections):
        assert trial.settings.slots <= connections


def test_on_the_server_of_the_answer_the_contrast_trial_is_run_again() -> None:
    contrast = plan.trials("wsgi", 120.0, None)[1]
    again = plan.server_trial("gunicorn", contrast, None, 300.0, 120.0)
    assert (again.settings, again.users, again.rps) == (contrast.settings, contrast.users, None)
    assert 0 < again.duration_s < contrast.duration_s
    # what it surely carries, whatever is asked for
    assert plan.server_trial("gunicorn", contrast, 1000.0, 300.0, 120.0).rps == 180.0
    assert plan.server_trial("gunicorn", contrast, 50.0, 300.0, 120.0).rps == 50.0


def names(server: plan.Server, interface: str = "wsgi", **given: float) -> list[str]:
    contrast = plan.trials(interface, 120.0, None)[1]
    return [t.name for t in plan.there(server, contrast, 1.0, 120.0, None, **given)]


def test_of_the_server_of_the_answer_is_asked_what_it_does_otherwise() -> None:
    gunicorn = plan.Server("gunicorn", True, offer("gunicorn"))
    assert names(gunicorn) == ["server", "server-alone", "sync", "sync-alone", "crowd"]
    assert names(gunicorn, "asgi") == ["server", "server-alone", "crowd"]
    # each arrival has a connection of its own
    assert names(gunicorn, rps=50.0, carried_rps=300.0) == ["server", "sync", "sync-alone", "crowd"]
    same = plan.Server("embedded", False, offer("embedded"))
    assert "server" not in names(same)
    assert names(same)[-1] == "crowd"
    # one process, whatever is asked for
    assert names(plan.Server("waitress", True, offer("waitress"))) == ["server", "server-alone"]


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
    contrast = plan.trials("wsgi", 120.0, None)[1]
    found = plan.crowd_trial(contrast, cores, 120.0, connections)
    assert (found and (found.settings.workers, found.settings.threads)) == shape
    if found is not None:
        assert found.users >= found.settings.slots
        assert found.duration_s < contrast.duration_s


@pytest.mark.parametrize(
    ("interface", "connections", "names"),
    [
        ("wsgi", None, ["sync", "sync-alone"]),
        ("wsgi", 3, ["sync", "sync-alone"]),
        ("wsgi", 2, []),
        ("asgi", None, []),
    ],
)
def test_sync_workers_are_looked_at_where_there_are_any(
    interface: str, connections: int | None, names: list[str]
) -> None:
    contrast = plan.trials("wsgi", 120.0, None)[1]
    found = plan.sync_trials(interface, contrast, 120.0, connections)
    assert [t.name for t in found] == names
    for trial in found:
        assert trial.settings.worker_class == "sync"
        assert trial.settings.workers > 1  # one alone is never woken in vain
    assert [t.users for t in found] == [8, 1][: len(names)]
    assert sum(t.expected_s for t in found) <= 10.0


def test_the_verification_makes_room_for_a_leaks_lines_but_stays_a_verification() -> None:
    whole = plan.duration("verification", 120.0)

    def planned(left_s: float, after_s: float) -> float:
        return plan.verification_duration(120.0, left_s, after_s)

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
    got = plan.verifiable(wanted, make_demand().worker, free, cores, connections)
    assert got.workers == workers
    assert got.threads == wanted.threads


def test_a_verification_does_not_wait_for_hours_of_boots() -> None:
    worker = make_demand().worker  # 0.5 s each
    assert plan.verifiable(Settings(60, 1), worker, 1e12, 1.0, None).workers == 40

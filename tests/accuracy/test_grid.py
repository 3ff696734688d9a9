"""What is swept, in which order."""

import itertools

from support.demands import make_demand

from bench.accuracy import applications, grid, model
from pretune.advisor.recommendation import baselines
from pretune.server.settings import Settings

TWO = (Settings(1, 4), Settings(3, 1, "sync"))
PLANS = {"a": (TWO, (1, 3)), "b": (TWO[:1], (8, 28))}


def test_apps_take_turns_and_a_repeat_is_complete_before_the_next():
    found = list(grid.tasks(PLANS, set(), repeats=2, most=2))
    assert [t.app for t in found[:4]] == ["a", "b", "a", "b"]
    assert [t.repeat for t in found] == [0] * 6 + [1] * 6
    assert len({t.key for t in found}) == len(found)


def test_a_sweep_goes_on_where_it_stopped():
    everything = list(grid.tasks(PLANS, set(), repeats=2, most=2))
    done = {t.key for t in everything[:5]}
    assert list(grid.tasks(PLANS, done, repeats=2, most=2)) == everything[5:]


def test_the_recommended_arrangement_comes_first_and_once():
    new, known = Settings(5, 3), Settings(2, 4, preload_app=True)
    assert grid.shapes("wsgi", new)[0] == new
    swept = grid.shapes("wsgi", known)
    assert swept[0] == Settings(2, 4)
    assert len(set(swept)) == len(swept) == len(grid.WSGI_SHAPES)


def test_the_grid_holds_all_workers_with_all_threads_and_enough_of_them():
    gthread = {
        (s.workers, s.threads) for s in grid.shapes("wsgi", None) if s.worker_class != "sync"
    }
    assert set(itertools.product(grid.WORKERS, grid.THREADS)) <= gthread
    for interface in ("wsgi", "asgi"):
        assert len(set(grid.shapes(interface, None))) >= 12


def test_users_follow_the_knee():
    # 5 ms of CPU in 50 ms: ten requests keep a core busy
    assert grid.users(make_demand(cpu=0.005, db=0.0, wait=0.045), cores=1.0) == (7, 25)
    assert grid.users(make_demand(cpu=0.005, db=0.0), cores=1.0) == (1, 2)


def test_formulas_for_one_core_are_swept_but_for_passengers_processes():
    inputs = baselines.FormulaInputs(
        1, model.RAM_BYTES - model.RESERVE_BYTES, 50 << 20, blocking=False
    )
    for interface, swept in (("wsgi", grid.WSGI_SHAPES), ("asgi", grid.ASGI_SHAPES)):
        asked = baselines.settings_of(inputs, interface)
        shapes = {(s.workers, s.threads, s.worker_class) for _, s in asked}
        assert shapes <= set(swept), interface


def test_each_application_is_a_file_of_another_nature():
    for one, other in itertools.combinations(applications.APPLICATIONS, 2):
        assert one.file != other.file
        assert one.nature != other.nature
    for app in applications.APPLICATIONS:
        assert app.file.exists()
    assert len(applications.APPLICATIONS) >= 10

"""Sweeps are stored so that everything can be predicted again without measuring again."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.measured import WORKLOAD, measurement, telemetry

from bench.accuracy import model, store
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.preflight.target import Target
from pretune.advisor.profiler.measurement import Role
from pretune.advisor.quantity import Interval
from pretune.advisor.resources.budget import Budget, Slo
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

ONE, FOUR = Settings(1, 1), Settings(1, 4)


@pytest.fixture
def trials() -> store.Trials:
    demand = measurement(ONE)
    contrast = replace(measurement(FOUR), role=Role.CONTRAST, load=Load(8, 10.0))
    target = Target("known", Path("apps"), Path(), "wsgi", "flask", "known:app", None, "3.11", 0.1)
    return store.Trials(
        app="known",
        preflight=Facts(
            target,
            Budget(1 << 30, 1.0, None, 1024),
            Slo(None),
            WORKLOAD,
            None,
            Servers("embedded", "gunicorn"),
            {"returned_bytes": 0.0},
        ),
        observations=store.thinned_all(Observations(demand, contrast)),
        seconds=12.0,
        shapes=(ONE, Settings(3, 1, "sync")),
        users=(2, 8),
        machine={"cores": 2},
        versions={"python": "3.11"},
    )


def test_trials_come_back_as_they_were(trials, tmp_path):
    store.save_trials(trials, tmp_path)
    found = store.load_trials("known", tmp_path)
    for name in ("app", "preflight", "seconds", "shapes", "users", "machine", "versions"):
        assert getattr(found, name) == getattr(trials, name), name
    for mine, theirs in zip(found.observations.all(), trials.observations.all(), strict=True):
        # told, not compared: what is not known (NaN) equals nothing
        assert repr(replace(mine, telemetry=None)) == repr(replace(theirs, telemetry=None))
        assert mine.telemetry.dtype == theirs.telemetry.dtype
        for field in ("cpu", "wall", "db", "status", "endpoint"):
            np.testing.assert_allclose(mine.telemetry[field], theirs.telemetry[field], rtol=1e-6)


def test_the_same_demand_comes_from_what_was_stored(trials, tmp_path):
    store.save_trials(trials, tmp_path)
    found = store.load_trials("known", tmp_path)
    before, after = (model.solve(t).demand for t in (trials, found))
    for name in ("cpu_s", "overhead_cpu_s", "db_s", "wait_s"):
        assert getattr(after, name).value == pytest.approx(getattr(before, name).value, rel=1e-5)


def test_thinning_keeps_the_mean_request_and_bounds_the_rows():
    trial = measurement(ONE, rows=telemetry(n=20_000))
    thin = store.thinned(trial)
    assert len(thin.telemetry) == store.ROWS[Role.DEMAND]
    # twice the standard error of a mean of so many lognormal draws of two kinds
    assert thin.telemetry["cpu"].mean() == pytest.approx(trial.telemetry["cpu"].mean(), rel=0.05)


def test_apps_without_trials_are_told_from_others(tmp_path):
    assert store.load_trials("never", tmp_path) is None
    assert store.load_points(["never"], tmp_path) == []


def test_points_are_appended_and_read_in_order(tmp_path):
    measured = replace(measurement(FOUR), load=Load(8, 3.5))
    latency = replace(
        measured.latency, **{n: Interval.exact(0.02) for n in ("mean", "p50", "p95", "p99")}
    )
    measured = replace(measured, latency=latency)
    points = [store.point("known", repeat, "2026-01-01 00:00", 6.0, measured) for repeat in (0, 1)]
    for point in points:
        store.append(point, tmp_path)
    assert store.load_points(["known"], tmp_path) == points
    assert points[0].utilisation == pytest.approx(100 * 0.0045)
    store.forget(["known"], tmp_path)
    assert store.load_points(["known"], tmp_path) == []


@pytest.mark.parametrize(
    ("changes", "usable"),
    [({}, True), ({"error_rate": 0.01}, False), ({"generator_saturated": True}, False)],
)
def test_errors_and_a_saturated_generator_make_a_point_useless(changes, usable):
    point = store.point("known", 0, "", 6.0, replace(measurement(FOUR), **changes))
    assert point.usable is usable

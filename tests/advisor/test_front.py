"""What stands in front of the server: asked for, found, weighed, and in the prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from demands import MIB, around, make_demand
from measured import measurement

from pretune.advisor import front
from pretune.advisor.failure import Refused
from pretune.advisor.front import FrontCost
from pretune.advisor.measurement import Conditions, FrontMeasurement
from pretune.advisor.model import memory
from pretune.advisor.model.predict import capacity
from pretune.advisor.profiler.samples import FRONT
from pretune.advisor.quantity import Interval
from pretune.server.adapters import nginx
from pretune.server.front import Static
from pretune.server.settings import Settings

COST = FrontCost(cpu_s=around(0.0005), pss_bytes=around(6 * MIB))
HERE = Conditions(1.0, 0.0, False, False)


def test_without_nginx_the_refusal_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "find", lambda: None)
    with pytest.raises(Refused, match="apt install nginx"):
        front.find("nginx", ())
    assert front.find(None, ()) is None


def test_files_are_those_given_else_those_of_the_settings_that_are_there(tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "a.css").touch()
    said = {
        "statics": [
            {"url": "/static/", "directory": str(full)},
            {"url": "/media/", "directory": str(empty)},
            {"url": "/gone/", "directory": str(tmp_path / "gone")},
            {"url": "/od$d/", "directory": str(full)},
        ]
    }
    assert front.serving(said, ()) == (Static("/static/", str(full)),)
    given = (Static("/x/", str(empty)),)
    assert front.serving(said, given) == given
    assert front.serving({}, ()) == ()


def test_a_process_more_for_each_half_of_a_core() -> None:
    assert front.processes(100, 0.0001, 4) == 1
    assert front.processes(10_000, 0.0001, 4) == 2
    assert front.processes(100_000, 0.0001, 4) == 4
    assert front.processes(float("nan"), 0.0001, 4) == 1


def test_cost_is_its_own_clock_and_the_change_of_the_workers() -> None:
    settings = Settings(threads=4)
    direct = measurement(settings, cpu_s=0.0045)
    through = replace(
        measurement(settings, cpu_s=0.0055), front=FrontMeasurement(around(0.0001), around(5.0))
    )
    found = front.cost_of(through, direct)
    assert found is not None
    assert found.cpu_s == around(0.0001)
    change = found.workers_change_s
    assert change.value == pytest.approx(0.001)
    assert 0 < change.low < 0.001 < change.high
    # arrivals open a connection each, users keep theirs: nothing alike
    arrivals = replace(through, load=replace(through.load, rps=10.0))
    unlike = front.cost_of(arrivals, direct)
    assert unlike is not None
    assert not np.isfinite(unlike.workers_change_s.value)
    assert front.cost_of(direct, direct) is None


def test_the_prediction_has_it_on_the_cores_where_the_conditions_have_one() -> None:
    demand = front.on(make_demand(cpu=0.005, db=0.0), COST)
    settings = Settings(threads=4)

    def carried(conditions: Conditions) -> float:
        return capacity(demand, settings, conditions, 1.0, seed=1).throughput_rps.value

    assert carried(HERE) == pytest.approx(200, rel=0.03)
    assert carried(replace(HERE, front="nginx")) == pytest.approx(1 / 0.0055, rel=0.03)


def test_its_memory_is_in_what_must_be_there() -> None:
    plain = make_demand()
    settings = Settings(workers=2, threads=2)
    without = memory.ram_to_provide(plain.worker, settings, Interval.exact(100.0))
    having = front.on(plain, COST).worker
    beside = memory.ram_to_provide(having, settings, Interval.exact(100.0))
    assert beside.value - without.value == pytest.approx(6 * MIB)
    assert memory.peak_pss(having, settings) == memory.peak_pss(plain.worker, settings)
    assert front.on(plain, None) is plain


def test_traffic_that_says_https_comes_from_something_that_ended_tls() -> None:
    assert front.says_scheme([("Host", "x"), ("X-Forwarded-Proto", "https")])
    assert not front.says_scheme([("Host", "x")])


def test_rows_of_it_have_a_clock_and_memory() -> None:
    assert FRONT.names == ("time", "cpu_s", "pss_bytes")

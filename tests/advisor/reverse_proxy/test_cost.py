"""What stands in front of the server: asked for, found, weighed, and in the prediction."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from support.demands import MIB, around, ask, make_demand
from support.measured import measurement

from pretune.advisor.failure import Refused
from pretune.advisor.model import memory
from pretune.advisor.model.predict import capacity
from pretune.advisor.model.scenario import Scenario
from pretune.advisor.preflight import reverse_proxy
from pretune.advisor.preflight.reverse_proxy import Installed
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler.measurement import Conditions, FrontMeasurement
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.reverse_proxy import cost, steps
from pretune.advisor.reverse_proxy.values import FrontCost, Fronted
from pretune.loadtests.workload import Workload
from pretune.server.adapters import nginx
from pretune.server.adapters.nginx_conf import Static
from pretune.server.settings import Settings

COST = FrontCost(cpu_s=around(0.0005), pss_bytes=around(6 * MIB))
HERE = Conditions(1.0, 0.0, False, False)


def test_without_nginx_the_refusal_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "find", lambda: None)
    with pytest.raises(Refused, match="apt install nginx"):
        reverse_proxy.find_installed("nginx", ())
    assert reverse_proxy.find_installed(None, ()) is None


def test_files_are_those_given_else_those_of_the_settings_that_are_there(tmp_path: Path) -> None:
    full, empty = tmp_path / "full", tmp_path / "empty"
    full.mkdir()
    empty.mkdir()
    (full / "a.css").touch()
    said = {
        "statics": [
            {"url": "/static/", "directory": str(full)},
            {"url": "/static/", "directory": str(tmp_path)},
            {"url": "/media/", "directory": str(empty)},
            {"url": "/gone/", "directory": str(tmp_path / "gone")},
            {"url": "/od$d/", "directory": str(full)},
        ]
    }
    assert reverse_proxy.choose_statics(said, ()) == (Static("/static/", str(full)),)
    given = (Static("/x/", str(empty)),)
    assert reverse_proxy.choose_statics(said, given) == given
    assert reverse_proxy.choose_statics({}, ()) == ()


def test_a_process_more_for_each_half_of_a_core() -> None:
    assert cost.count_processes(100, 0.0001, 4) == 1
    assert cost.count_processes(10_000, 0.0001, 4) == 2
    assert cost.count_processes(100_000, 0.0001, 4) == 4
    assert cost.count_processes(float("nan"), 0.0001, 4) == 1


def test_cost_is_its_own_clock_and_the_change_of_the_workers() -> None:
    settings = Settings(threads=4)
    direct = measurement(settings, cpu_s=0.0045)
    through = replace(
        measurement(settings, cpu_s=0.0055), front=FrontMeasurement(around(0.0001), around(5.0))
    )
    found = cost.cost_of(through, direct)
    assert found is not None
    assert found.cpu_s == around(0.0001)
    change = found.workers_change_s
    assert change.value == pytest.approx(0.001)
    assert 0 < change.low < 0.001 < change.high
    # arrivals open a connection each, users keep theirs: nothing alike
    arrivals = replace(through, load=replace(through.load, rps=10.0))
    unlike = cost.cost_of(arrivals, direct)
    assert unlike is not None
    assert not np.isfinite(unlike.workers_change_s.value)
    assert cost.cost_of(direct, direct) is None


def test_the_prediction_has_it_on_the_cores_where_the_conditions_have_one() -> None:
    demand = cost.with_cost(make_demand(cpu=0.005, db=0.0), COST)
    settings = Settings(threads=4)

    def carried(conditions: Conditions) -> float:
        return capacity(ask(demand, conditions, 1.0), settings).throughput_rps.value

    assert carried(HERE) == pytest.approx(200, rel=0.03)
    assert carried(replace(HERE, front="nginx")) == pytest.approx(1 / 0.0055, rel=0.03)


def test_its_memory_is_in_what_must_be_there() -> None:
    plain = make_demand()
    settings = Settings(workers=2, threads=2)
    without = memory.ram_to_provide(plain.worker, settings, Interval.exact(100.0))
    having = cost.with_cost(plain, COST).worker
    beside = memory.ram_to_provide(having, settings, Interval.exact(100.0))
    assert beside.value - without.value == pytest.approx(6 * MIB)
    assert memory.peak_pss(having, settings) == memory.peak_pss(plain.worker, settings)
    assert cost.with_cost(plain, None) is plain


def test_traffic_that_says_https_comes_from_something_that_ended_tls() -> None:
    assert cost.says_scheme([("Host", "x"), ("X-Forwarded-Proto", "https")])
    assert not cost.says_scheme([("Host", "x")])


def test_without_kept_connections_each_request_finds_a_worker_anew() -> None:
    demand, settings = make_demand(), Settings(workers=2, threads=2)
    behind = replace(HERE, front="nginx", server="gunicorn")
    assert Scenario(demand, settings, behind).discipline.sticky
    assert not Scenario(demand, settings, replace(behind, front_keeps=False)).discipline.sticky


def fronted(tmp_path: Path) -> tuple[Fronted, Any]:
    known: Any = SimpleNamespace(
        front=Installed(tmp_path / "nginx", "1.22.1"),
        servers=Servers("embedded", "gunicorn"),
        budget=SimpleNamespace(cores=2.0),
        slo=SimpleNamespace(rps=None),
    )
    return Fronted("nginx", "1.22.1", cost=COST), known


def test_the_same_is_told_in_a_trial_as_is_deployed_but_for_what_the_trial_is_about(
    tmp_path: Path,
) -> None:
    front, known = fronted(tmp_path)
    settings = Settings(workers=2, threads=3, timeout=7.0)
    workload = Workload((), headers=(("X-Forwarded-Proto", "https"),))
    busy = steps.configure_for_trial(front, known, workload, settings, 2000.0, 2.0)
    calm = steps.configure_for_trial(front, known, Workload(()), settings, 10.0, 2.0)
    assert busy is not None
    assert calm is not None
    assert (busy.worker_processes, calm.worker_processes) == (2, 1)
    assert (busy.told_scheme, calm.told_scheme) == (True, False)
    assert busy.read_s == calm.read_s == 12.0
    assert calm.idle == 6
    closing = replace(front, keeps=False)
    told = steps.configure_for_trial(closing, known, workload, settings, 10.0, 2.0)
    assert told is not None
    assert told.idle == 0
    assert steps.configure_for_trial(None, known, workload, settings, 10.0, 2.0) is None


def test_a_trial_too_short_to_tell_the_cost_is_said(tmp_path: Path) -> None:
    front, _ = fronted(tmp_path)
    direct = measurement(Settings(1, 4))
    short = replace(direct, front=FrontMeasurement(UNKNOWN, UNKNOWN))
    unknown, note = steps.learn_cost(front, short, direct)
    assert unknown.cost is None
    assert "too short" in note
    known_cost = replace(direct, front=FrontMeasurement(around(0.001), around(5.0)))
    learned, note = steps.learn_cost(front, known_cost, direct)
    assert learned.cost is not None
    assert note == ""

"""Real servers under real load, told what deploys and supervisors tell them."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.runs import ROOT

from pretune.advisor.comparison import lifecycle
from pretune.advisor.preflight.servers import START
from pretune.advisor.trials.bench import Sent
from pretune.loadtests import records
from pretune.loadtests.session import Driver
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.adapters.launch import Launch, RunningServer
from pretune.server.settings import Settings

APPS = ROOT / "bench" / "apps"
WORKLOAD = Workload((Endpoint("/", ("/13",), 1.0),))
LOAD = Load(8, 1.0)


@dataclass
class Stage:
    """As the trial's, without a trial."""

    server: RunningServer
    address: tuple[str, int]
    driver: Driver
    path: Path

    def send(self, load: Load, meanwhile: Callable[[], None] | None = None) -> Sent:
        run = self.driver.run(self.address, WORKLOAD, load, records=self.path)
        run.wait_started(30)
        if meanwhile is not None:
            meanwhile()
            run.stop()
        result = run.wait(load.duration_s + 60)
        return Sent(records.read(self.path), result)


@pytest.fixture(scope="module")
def driver() -> Iterator[Driver]:
    with Driver.start() as started:
        yield started


@pytest.fixture
def stage(tmp_path: Path, driver: Driver) -> Iterator[Callable[..., Stage]]:
    started = []

    def start(name: str, **settings: int) -> Stage:
        server = SERVERS.get(name)
        if server is not None:
            pytest.importorskip(server.module)
        kind = "gthread" if server is None or "wsgi" in server.interfaces else "asgi"
        launch = Launch(
            target=f"pid_{'asgi' if kind == 'asgi' else 'wsgi'}",
            settings=Settings(**{"threads": 2, "worker_class": kind, **settings}),
            python=Path(sys.executable),
            chdir=APPS,
            env={"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1"},
            log=tmp_path / "log",
            telemetry=tmp_path,
        )
        running = START[name](launch)
        started.append(running)
        return Stage(running, running.wait_ready(60), driver, tmp_path / "records")

    yield start
    for running in started:
        running.stop(15)


@pytest.mark.parametrize("name", ["embedded", "gunicorn", "granian", "uwsgi", "hypercorn"])
def test_a_reload_is_seen_to_be_done(stage, name: str) -> None:
    here = stage(name, workers=2)
    before = set(here.server.worker_pids())
    check = lifecycle.reload(here, LOAD)
    assert check.disruption is not None
    assert check.disruption.took_s is not None, check
    assert check.disruption.requests > 0
    assert not before & set(here.server.worker_pids())
    if name == "embedded":
        assert check.disruption.lost == ()


def test_a_server_without_a_reload_says_so(stage) -> None:
    check = lifecycle.reload(stage("waitress"), LOAD)
    assert check.disruption is None
    assert check.note == "it cannot reload"


@pytest.mark.parametrize(
    "name", ["embedded", "gunicorn", "waitress", "granian", "uwsgi", "uvicorn"]
)
def test_term_ends_every_server_and_what_it_costs_is_counted(stage, name: str) -> None:
    here = stage(name, workers=1)
    check = lifecycle.term(here, LOAD)
    assert here.server.exit_code is not None
    assert check.disruption is not None
    assert check.disruption.took_s is not None
    assert check.disruption.requests >= 0


@pytest.mark.parametrize("name", ["embedded", "gunicorn", "uwsgi", "uvicorn"])
def test_recycled_workers_are_counted(stage, name: str) -> None:
    here = stage(name, workers=2, max_requests=30)
    check = lifecycle.recycling(here, LOAD)
    assert check.disruption is not None, check
    assert check.disruption.events >= 1
    if name == "embedded":
        assert check.disruption.lost == ()

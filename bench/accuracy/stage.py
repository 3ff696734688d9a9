"""Where the trials of a swept application run: the tool's own preflight, trials and profiler."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import psycopg

from bench.accuracy import grid, store
from bench.accuracy.applications import APPS, POSTGRES, UPSTREAM, Application
from bench.accuracy.apps import orm_table
from bench.accuracy.grid import Task
from bench.measurement.stage import Quiet
from bench.services import Services
from pretune.advisor.observations import Observations
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.preflight.location import locate
from pretune.advisor.preflight.options import resolve
from pretune.advisor.preflight.servers import GUNICORN
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.trials import plan, sequence
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import PlannedTrial, Terms
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Load, Workload

# Of the tool's default of 120 s: half of it, so the trials are half as long as a user's.
TIME_BUDGET_S = 60.0
SEED = 1
ROOT = Path(__file__).parents[2]
PACKAGES = ("gunicorn", "flask", "fastapi", "sqlalchemy", "psycopg", "numpy", "locust")


@contextmanager
def start_services() -> Iterator[Services]:
    """The upstream, and a Postgres with the table of ``orm``."""
    with Services(POSTGRES, UPSTREAM) as started:
        with psycopg.connect(started.environ[POSTGRES], autocommit=True) as connection:
            connection.execute(orm_table.FILL)
        yield started


class Stage:
    """One app, ready for any number of trials."""

    def __init__(self, app: Application, services: Services) -> None:
        self._app = app
        self._services = services
        self._stack = ExitStack()

    def __enter__(self) -> Stage:
        out = Path(tempfile.mkdtemp(prefix="accuracy-out-"))
        self._stack.callback(shutil.rmtree, out, ignore_errors=True)
        try:
            self._open(out)
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self, out: Path) -> None:
        given = {name: self._services.environ[name] for name in self._app.needs}
        environ = {**os.environ, **given}
        python = Path(sys.executable)
        location = locate(str(self._app.file), cwd=APPS, chdir=APPS, python=python, environ=environ)
        flags = {
            "path": list(self._app.paths),
            "out": str(out),
            # an ASGI app is answered for on the embedded server unless gunicorn is asked for
            "server": GUNICORN if self._app.interface == "asgi" else None,
        }
        options = resolve(flags, location, APPS, environ)
        workspace = Workspace(options.out)
        self._stack.callback(workspace.close)
        self._known = preflight.run(options, workspace, Quiet())
        self._bench = Bench(workspace, self._known, Quiet())
        self._stack.callback(self._bench.close)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def observe(self) -> tuple[Observations, float]:
        """Measure what a run of the tool does before it answers; also the seconds that took.

        Each trial once only: what disturbs it is told of it.
        """
        began = time.monotonic()

        def run(planned: PlannedTrial, server: str, after_s: float) -> Measurement:
            return self._bench.run(
                planned.name,
                planned.settings,
                planned.load(SEED),
                role=planned.role,
                server=server,
                probes=planned.probes,
            )

        terms = Terms(
            interface=self._app.interface,
            servers=self._known.servers,
            cores=self._known.budget.cores,
            pg_connections=self._known.budget.pg_connections,
            seconds=plan.durations(TIME_BUDGET_S),
        )
        *_, observations = sequence.observe(terms, run)
        return observations, time.monotonic() - began

    @property
    def workload(self) -> Workload:
        return self._bench.workload

    @property
    def preflight(self) -> Facts:
        """The facts as they may be stored: of no machine in particular."""
        directory = APPS.relative_to(ROOT)
        target = replace(
            self._known.target,
            spec=self._app.name,
            chdir=directory,
            python=Path(),
            file=directory / self._app.file.name,
        )
        known = replace(self._known.facts, target=target, database=None)
        return replace(known, workload=self._bench.workload)

    def point(self, task: Task) -> store.Point:
        """As a verification does it: on gunicorn, the users beginning at random moments."""
        load = Load(task.users, grid.POINT_S, SEED + task.repeat, ramp_s=plan.RAMP_S)
        hour = time.strftime("%Y-%m-%d %H:%M")
        began = time.monotonic()
        found = self._bench.run("point", task.settings, load, server=GUNICORN)
        return store.point(task.app, task.repeat, hour, time.monotonic() - began, found)


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        **{name: metadata.version(name) for name in PACKAGES},
    }

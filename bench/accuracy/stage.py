"""Where the trials of a swept application run: the tool's own preflight, trials and profiler."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import psycopg

from bench.accuracy import grid, store
from bench.accuracy.applications import APPS, POSTGRES, UPSTREAM, Application
from bench.accuracy.apps import orm_table
from bench.accuracy.grid import Task
from bench.measurement.stage import Quiet
from examples import postgres, upstream
from pretune.advisor.demand import server_costs
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.location import locate
from pretune.advisor.preflight.options import resolve
from pretune.advisor.preflight.servers import GUNICORN
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.trials import plan
from pretune.advisor.trials.bench import Bench
from pretune.advisor.workspace.cores import confined
from pretune.advisor.workspace.cores import plan as plan_cores
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Load, Workload
from pretune.server.adapters.catalogue import offer

# Of the tool's default of 120 s: half of it, so the trials are half as long as a user's.
TIME_BUDGET_S = 60.0
SEED = 1
PACKAGES = ("gunicorn", "flask", "fastapi", "sqlalchemy", "psycopg", "numpy", "locust")


class Services:
    """Postgres with the table of ``orm``, and a slow upstream, on the generator's cores."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self.environ: dict[str, str] = {}

    def __enter__(self) -> Services:
        directory = Path(tempfile.mkdtemp(prefix="accuracy-"))
        directory.chmod(0o711)  # Postgres may run under another user
        self._stack.callback(shutil.rmtree, directory, ignore_errors=True)
        available = frozenset(os.sched_getaffinity(0))
        try:
            with confined(plan_cores(available, len(available)).generator):
                self._stack.callback(postgres.stop, directory)
                self.environ[POSTGRES] = postgres.start(directory, "accuracy")
                self._stack.callback(upstream.stop, directory)
                self.environ[UPSTREAM] = upstream.start(directory)
            with psycopg.connect(self.environ[POSTGRES], autocommit=True) as connection:
                connection.execute(orm_table.FILL)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


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

    def trials(self) -> tuple[tuple[Measurement, ...], float]:
        """What a run of the tool measures before it answers, and the seconds that took."""
        began = time.monotonic()
        servers = self._known.servers
        connections = self._known.budget.pg_connections
        found: list[Measurement] = []
        for planned in plan.trials(self._app.interface, TIME_BUDGET_S, connections):
            server = servers.measured
            if planned.name == server_costs.CONTRAST_TRIAL:
                planned = plan.busy_contrast(planned, found[0], connections)
            if planned.name == "preload":
                planned = plan.busy_preload(planned, found[1])
            if planned.name == "preload" and servers.differ:
                server, planned = servers.verified, replace(planned, ramp_s=plan.RAMP_S)
            found.append(self._trial(planned, server))
            if planned.name != server_costs.CONTRAST_TRIAL:
                continue
            there = plan.there(
                plan.Server(GUNICORN, servers.differ, offer(GUNICORN)),
                planned,
                found[-1].conditions.server_cores,
                TIME_BUDGET_S,
                connections,
                carried_rps=found[-1].throughput_rps.value,
            )
            found += [self._trial(each, GUNICORN) for each in there]
        return tuple(found), time.monotonic() - began

    def _trial(self, planned: plan.PlannedTrial, server: str) -> Measurement:
        """Once only: what disturbs it is told of it."""
        return self._bench.run(
            planned.name,
            planned.settings,
            planned.load(SEED),
            server=server,
            probes=planned.probes,
        )

    @property
    def workload(self) -> Workload:
        return self._bench.workload

    @property
    def returned_at_boot_bytes(self) -> float:
        return float(self._known.inspection["boot_memory"]["returned_bytes"])

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

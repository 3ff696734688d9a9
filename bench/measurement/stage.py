"""Where trials of the known applications are run: the tool's own preflight, trial and profiler.

with Stage("known_wsgi.py", ("burn", "wait")) as stage:
    trial = stage.run(Settings(workers=1, threads=1), Load(users=1, duration_s=5.0), probes=True)

A Postgres and an upstream service stand beside it, on the generator's cores.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.measurement.apps import work
from bench.services import Services
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.location import locate
from pretune.advisor.preflight.options import resolve
from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.profiler.steady import Window, find_window
from pretune.advisor.trials.bench import Bench
from pretune.advisor.workspace.cores import CorePlan
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.session import LoadResult
from pretune.loadtests.workload import Load, Workload
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from numpy.typing import NDArray

APPS = Path(__file__).with_name("apps")
UPSTREAM_S = (0.003, 0.003)  # what the upstream takes for an answer
REPEATS = 1  # of a disturbed trial, as a run of the tool does
DIARY = np.dtype([(name, {"d": "<f8", "Q": "<u8"}[code]) for name, code in work.FIELDS])


class Quiet:
    """What preflight and trials would show."""

    def phase(self, name: str, detail: str = "", expected_s: float = 0.0) -> None: ...

    def update(self, detail: str) -> None: ...

    def line(self, text: str) -> None: ...


@dataclass(frozen=True)
class Trial:
    """What the tool says, and what it was told: client's records in the window, the app's diary."""

    measured: Measurement
    window: Window
    client: NDArray[np.void]
    diary: NDArray[np.void]  # of requests that started in the window, of DIARY


class Recording(Bench):
    """Keeps the client's records of the last trial."""

    client: NDArray[np.void]

    def _drive(self, *asked: Any) -> tuple[NDArray[np.void], LoadResult]:
        self.client, result = super()._drive(*asked)
        return self.client, result


def start_services() -> Services:
    return Services("DATABASE_URL", "KNOWN_UPSTREAM", delay_s=UPSTREAM_S)


class Stage:
    """One app and its paths, ready for any number of trials. ``held_mib``: the app keeps so much;
    ``cores``: others than a run of the tool would take.

    ``disturbed``: trials that were repeated, and those that stayed disturbed.
    """

    def __init__(
        self,
        app: str,
        kinds: Sequence[str],
        services: Services,
        *,
        held_mib: int = 0,
        cores: CorePlan | None = None,
    ) -> None:
        self._app, self._kinds, self._cores = app, kinds, cores
        self._environ = {**services.environ, "KNOWN_HELD_MIB": str(held_mib)}
        self._stack = ExitStack()
        self.repeated = self.disturbed = self._count = 0

    def __enter__(self) -> Stage:
        out = Path(tempfile.mkdtemp(prefix="known-out-"))
        self._stack.callback(shutil.rmtree, out, ignore_errors=True)
        try:
            self._open(out)
        except BaseException:
            self._stack.close()
            raise
        return self

    def _open(self, out: Path) -> None:
        self._diaries = out / "diaries"
        self._diaries.mkdir()
        self._diaries.chmod(0o777)
        environ = {**os.environ, **self._environ, "KNOWN_DIARY": str(self._diaries)}
        target = str(APPS / self._app)
        location = locate(
            target, cwd=APPS, chdir=APPS, python=Path(sys.executable), environ=environ
        )
        flags = {"path": [f"/{kind}" for kind in self._kinds], "out": str(out)}
        options = resolve(flags, location, APPS, environ)
        workspace = Workspace(options.out)
        self._stack.callback(workspace.close)
        known = preflight.run(options, workspace, Quiet())
        if self._cores is not None:
            known = replace(known, core_plan=self._cores)
        self._bench = Recording(workspace, known, Quiet())
        self._stack.callback(self._bench.close)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def workload(self) -> Workload:
        return self._bench.workload

    def run(
        self, settings: Settings, load: Load, *, probes: bool = False, repeats: int = REPEATS
    ) -> Trial:
        """Once more if the machine disturbed it, as a run of the tool does."""
        for attempt in range(1 + repeats):
            for old in self._diaries.iterdir():
                old.unlink()
            self._count += 1
            measured = self._bench.run("trial", settings, load, probes=probes)
            if not measured.disturbed:
                break
            self.repeated += attempt < repeats
            self.disturbed += attempt == repeats
        return self._trial(measured)

    def _trial(self, measured: Measurement) -> Trial:
        client = self._bench.client
        good = client[client["error"] == 0]
        window = find_window(good["start"], good["wall"], float(client["start"].max()))
        ends = good["start"] + good["wall"]
        diary = read_diaries(self._diaries)
        return Trial(
            measured,
            window,
            good[(ends >= window.start) & (ends < window.end)],
            diary[(diary["start"] >= window.start) & (diary["start"] < window.end)],
        )


def read_diaries(directory: Path) -> NDArray[np.void]:
    """All processes' records, by start."""
    found = [np.frombuffer(file.read_bytes(), DIARY) for file in directory.glob("*.diary")]
    rows = np.concatenate(found) if found else np.empty(0, DIARY)
    return rows[np.argsort(rows["start"], kind="stable")]

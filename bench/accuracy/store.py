"""What a sweep leaves, so that everything can be predicted again without measuring again.

``results/<app>.trials.gz``: the trials that a run of the tool makes, as gzipped JSON that names the
type of each value; telemetry in single precision, thinned evenly to a bounded number of rows.
``results/<app>.jsonl``: one line for each point of the sweep, appended when it is measured.
``results/<app>.reruns.jsonl``: one line for each pair of reruns, appended when both are measured.
"""

from __future__ import annotations

import dataclasses
import gzip
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pretune.advisor.documents import stored
from pretune.advisor.observations import Observations
from pretune.advisor.preflight.facts import Facts
from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.server.settings import Settings

RESULTS = Path(__file__).with_name("results")
# Of telemetry that is kept; what other trials' requests cost is not asked.
ROWS = {Role.DEMAND: 2000}
FEW_ROWS = 50


@dataclass(frozen=True)
class Trials:
    """What the tool learned of one app; ``seconds``: of the clock, for all of it.

    ``shapes`` and ``users``: what is swept, chosen when the trials were made. ``versions`` and
    ``machine`` say where.
    """

    app: str
    preflight: Facts
    observations: Observations
    seconds: float
    shapes: tuple[Settings, ...]
    users: tuple[int, ...]
    machine: dict[str, Any]
    versions: dict[str, str]


@dataclass(frozen=True)
class Point:
    """One measured point of a sweep; seconds, bytes, requests per second."""

    app: str
    workers: int
    threads: int
    worker_class: str
    users: int
    repeat: int
    hour: str
    took_s: float  # of the clock, boot and stop included
    window_s: float
    requests: int
    throughput: float
    mean: float
    p50: float
    p95: float
    p99: float
    pss_bytes: float
    error_rate: float
    utilisation: float  # of the server's cores, by the workers' CPU clocks
    steady: bool
    saturated: bool  # the generator
    disturbed: str
    low: dict[str, float]  # of the measured 95% intervals
    high: dict[str, float]
    load_s: float = 3.5
    # None: not kept in the first sweeps
    kernel_bytes: float | None = None  # charged beyond the processes
    db_pss_bytes: float | None = None  # of a local Postgres
    pg_connections: int | None = None  # peak; None also without Postgres
    fds: int | None = None  # most of one worker
    steal: float | None = None  # part of the time of all cores
    others_cores: float | None = None  # busy with what is neither ours nor the app's

    @property
    def shape(self) -> tuple[int, int, str]:
        return self.workers, self.threads, self.worker_class

    @property
    def key(self) -> tuple[object, ...]:
        return self.app, *self.shape, self.users, self.repeat

    @property
    def usable(self) -> bool:
        """Errors answer faster than the app; a saturated generator measures itself."""
        return self.requests > 0 and self.error_rate == 0 and not self.saturated


@dataclass(frozen=True)
class Rerun:
    """The answer and the best measured, one right after the other; each at all loads."""

    app: str
    number: int
    ours: tuple[Point, ...]
    best: tuple[Point, ...]

    @property
    def shapes(self) -> tuple[tuple[int, int, str], tuple[int, int, str]]:
        return self.ours[0].shape, self.best[0].shape


def shape_of(settings: Settings) -> tuple[int, int, str]:
    return settings.workers, settings.threads, settings.worker_class


def point(app: str, repeat: int, hour: str, took_s: float, found: Measurement) -> Point:
    intervals = {
        "throughput": found.throughput_rps,
        **{name: getattr(found.latency, name) for name in ("mean", "p50", "p95", "p99")},
        "pss_bytes": found.pss_bytes,
    }
    cores = found.conditions.server_cores
    around = found.surroundings
    return Point(
        app,
        *shape_of(found.settings),
        users=found.load.users,
        repeat=repeat,
        hour=hour,
        took_s=round(took_s, 2),
        window_s=round(found.window_s, 3),
        requests=found.requests,
        **{name: float(f"{x.value:.5g}") for name, x in intervals.items()},
        error_rate=found.error_rate,
        utilisation=round(found.throughput_rps.value * found.cpu_s_per_request.value / cores, 4),
        steady=found.steady,
        saturated=found.generator_saturated,
        disturbed=found.disturbed,
        low={name: float(f"{x.low:.5g}") for name, x in intervals.items()},
        high={name: float(f"{x.high:.5g}") for name, x in intervals.items()},
        load_s=found.load.duration_s,
        kernel_bytes=found.kernel_bytes,
        db_pss_bytes=found.db_pss_bytes,
        pg_connections=found.pg_connections_peak,
        fds=max((worker.fds for worker in found.workers), default=None),
        steal=_known(around.steal.value if around else None),
        others_cores=_known(around.others_cores.value if around else None),
    )


def _known(share: float | None) -> float | None:
    return None if share is None or not math.isfinite(share) else round(share, 4)


def thinned(trial: Measurement) -> Measurement:
    """The trial with as much of it as predictions need."""
    rows = trial.telemetry
    most = FEW_ROWS if trial.role is None else ROWS.get(trial.role, FEW_ROWS)
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    return replace(trial, telemetry=rows, notes=None)


def thinned_all(observations: Observations) -> Observations:
    """The same of all trials."""
    return Observations.from_trials(thinned(trial) for trial in observations.all())


# --- files -----------------------------------------------------------------------------------


def save_trials(found: Trials, directory: Path = RESULTS) -> None:
    text = json.dumps(stored.encode(found, single=True)).encode()
    directory.mkdir(exist_ok=True)
    (directory / f"{found.app}.trials.gz").write_bytes(gzip.compress(text, mtime=0))


def load_trials(app: str, directory: Path = RESULTS) -> Trials | None:
    """None when they were not made yet."""
    path = directory / f"{app}.trials.gz"
    if not path.exists():
        return None
    tree = json.loads(gzip.decompress(path.read_bytes()))
    found = stored.decode(tree, {**stored.TYPES, Trials.__name__: Trials})
    assert isinstance(found, Trials)
    return found


def forget(apps: Iterable[str], directory: Path = RESULTS) -> None:
    for app in apps:
        for kind in ("trials.gz", "jsonl", "reruns.jsonl"):
            (directory / f"{app}.{kind}").unlink(missing_ok=True)


def append(one: Point | Rerun, directory: Path = RESULTS) -> None:
    directory.mkdir(exist_ok=True)
    kind = "jsonl" if isinstance(one, Point) else "reruns.jsonl"
    with open(directory / f"{one.app}.{kind}", "a") as file:
        file.write(json.dumps(dataclasses.asdict(one)) + "\n")


def load_points(apps: Iterable[str], directory: Path = RESULTS) -> list[Point]:
    return [Point(**line) for app in apps for line in _lines(directory / f"{app}.jsonl")]


def load_reruns(app: str, directory: Path = RESULTS) -> list[Rerun]:
    return [
        Rerun(
            line["app"],
            line["number"],
            tuple(Point(**point) for point in line["ours"]),
            tuple(Point(**point) for point in line["best"]),
        )
        for line in _lines(directory / f"{app}.reruns.jsonl")
    ]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

"""Leaks found and false alarms: the corpus of apps/behaviours.py, run as tune runs an application.

Each behaviour goes through the trials that a run with the default time budget makes before it
recommends (demand, contrast, preload), on the embedded server, under the same driver and profiler.
Leaks run besides with max_requests on, and under preload alone. The samples of a collection are
kept, and ``judge`` asks the classifier again, with other seeds of its bootstrap, without running
anything.

    python -m bench.measurement.leaks collect DIR [NAME ...] [--time-budget S]
    python -m bench.measurement.leaks judge DIR ... [--seeds N]
    python -m bench.measurement.leaks lines [NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.measurement.apps import behaviours
from bench.measurement.result import Aim, Result, Table
from bench.servers.tables import table
from pretune.advisor.demand import allocation_sites, leak
from pretune.advisor.demand.allocation_sites import Holders
from pretune.advisor.preflight import preflight
from pretune.advisor.preflight.location import locate
from pretune.advisor.preflight.options import DEFAULT_TIME_BUDGET_S, Options
from pretune.advisor.preflight.preflight import Preflight
from pretune.advisor.preflight.servers import Servers
from pretune.advisor.profiler import snapshots as holding
from pretune.advisor.profiler.measurement import Measurement, MemorySeries, Role, Settled
from pretune.advisor.trials import follow_up, plan, sequence
from pretune.advisor.trials.bench import Bench
from pretune.advisor.trials.plan import Terms
from pretune.advisor.workspace.directory import Workspace
from pretune.loadtests.workload import Load
from pretune.server.settings import Settings

APP = Path(behaviours.__file__)
# Requests of the run without a server that tells the truth; large ones need fewer.
TRUTH_REQUESTS = 24_000
TRUTH_BYTES = 400 << 20
WITHIN = 0.10
SEEDS = 5
QUICK = ("lru_rare_keys", "holes", "keeps_500")
RECYCLED = 8000  # max_requests of the trials with recycling


@dataclass(frozen=True)
class Condition:
    """Which of the run's trials are looked at, and how they are changed."""

    name: str
    trials: tuple[Role, ...]
    max_requests: int = 0


DEFAULT = Condition("default", (Role.DEMAND, Role.CONTRAST, Role.PRELOAD))
CONDITIONS = {
    c.name: c
    for c in (
        DEFAULT,
        Condition("preload", (Role.PRELOAD,)),
        Condition("recycling", (Role.CONTRAST,), RECYCLED),
    )
}


class Quiet:
    """A Progress that shows nothing."""

    def phase(self, name: str, detail: str = "", expected_s: float = 0.0) -> None: ...

    def update(self, detail: str) -> None: ...

    def line(self, text: str) -> None: ...


# ---- collecting


@contextlib.contextmanager
def stage(app: Path, environ: Mapping[str, str]) -> Iterator[tuple[Bench, Preflight]]:
    """A bench for trials of an app of one file, on ``/``, with a place of its own."""
    with tempfile.TemporaryDirectory(prefix="leaks-") as directory:
        scratch = Path(directory)
        given = {**os.environ, **environ, "TMPDIR": directory}
        location = locate(str(app), cwd=scratch, chdir=app.parent, python=None, environ=given)
        options = Options(location, given, scratch / "out", paths=("/",))
        workspace = Workspace(options.out)
        try:
            known = preflight.run(options, workspace, Quiet())
            bench = Bench(workspace, known, Quiet())
            try:
                yield bench, known
            finally:
                bench.close()
        finally:
            workspace.close()


def collect(name: str, out: Path, time_budget_s: float, conditions: Iterable[Condition]) -> None:
    """Runs the trials of one behaviour; ``out/<condition>/<name>.npz`` keeps its series."""
    with stage(APP, {"BEHAVIOUR": name}) as (bench, known):
        boot = known.boot_memory["returned_bytes"]
        seconds = plan.durations(time_budget_s)
        terms = Terms(known.target.interface, Servers(), known.budget.cores, None, seconds)
        for condition in conditions:
            found = [
                _trial(bench, planned, condition)
                for planned in sequence.planned(terms)
                if planned.role in condition.trials
            ]
            save(out / condition.name / f"{name}.npz", found, boot)


def who_holds(name: str, seconds: float) -> Holders | None:
    """The trial that a run makes of a called leak: which lines hold it."""
    with stage(APP, {"BEHAVIOUR": name}) as (bench, _):
        snapshots = holding.Snapshots()
        settings = Settings(1, plan.CONTRAST_THREADS)
        load = Load(2 * plan.CONTRAST_THREADS, seconds)
        measured = bench.run("holders", settings, load, environ=holding.ENVIRON, watch=snapshots)
    if snapshots.held is None:
        return None
    return allocation_sites.find_holders(snapshots.held, measured.memory_series, truth(name))


def rank(name: str, found: Holders | None) -> int | None:
    """The place of the line that keeps among the named ones, from 1; None if it is not there.

    Where nothing that Python knows keeps, 1 if no line was named.
    """
    if found is None:
        return None
    if name in behaviours.OUTSIDE:
        return None if found.lines else 1
    source, first = inspect.getsourcelines(behaviours.KEEPERS.get(name, behaviours.LEAKING[name]))
    for number, one in enumerate(found.lines, start=1):
        file, _, line = one.place.rpartition(":")
        if file == APP.name and first <= int(line) < first + len(source):
            return number
    return None


def _trial(bench: Bench, planned: plan.PlannedTrial, condition: Condition) -> Measurement:
    settings = replace(planned.settings, max_requests=condition.max_requests)
    load = Load(planned.users, planned.duration_s)
    return bench.run(planned.name, settings, load, probes=planned.probes)


def save(path: Path, measured: Sequence[Measurement], returned_at_boot: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays, about = {}, []
    series = [(m, s) for m in measured for s in m.memory_series]
    for number, (trial, one) in enumerate(series):
        arrays[f"{number}"] = np.stack(
            [one.time_s, one.requests, one.private_bytes, one.grown_bytes]
        )
        settled = vars(one.settled) if one.settled else None
        about.append(
            {"pid": one.pid, "trial": trial.name, "settled": settled,
             "returned_at_boot": returned_at_boot,
             "preload": trial.settings.preload_app, "rps": trial.throughput_rps.value}
        )  # fmt: skip
    np.savez_compressed(path, about=np.array(json.dumps(about)), **arrays)


def load(path: Path) -> tuple[list[MemorySeries], float]:
    """The series, and what a process gave back at boot."""
    with np.load(path) as file:
        about = json.loads(str(file["about"]))
        series = [
            MemorySeries(
                one["pid"],
                *file[f"{number}"],
                Settled(**one["settled"]) if one["settled"] else None,
            )
            for number, one in enumerate(about)
        ]
    return series, max((one["returned_at_boot"] for one in about), default=0.0)


def truth(name: str) -> float:
    """Bytes per request that stay, from a process without a server; 0 for what settles."""
    if name not in behaviours.LEAKING:
        return 0.0

    def ask(requests: int) -> float:
        line = [sys.executable, str(APP), name, str(requests)]
        return float(subprocess.run(line, check=True, capture_output=True, text=True).stdout)

    rough = max(ask(200), 1.0)
    return ask(int(min(TRUTH_REQUESTS, max(200, TRUTH_BYTES / rough))))


# ---- judging


@dataclass(frozen=True)
class Answer:
    condition: str
    name: str
    leak: bool
    truth: float
    said: str
    value: float
    low: float
    high: float
    requests: int

    @property
    def right(self) -> bool:
        if not self.leak:
            return self.said != "leak"
        if self.said == "leak":
            return abs(self.value / self.truth - 1) <= WITHIN
        return self.said == "still_warming" and self.high >= self.truth


def judge(directory: Path, truths: dict[str, float], seed: int) -> list[Answer]:
    found = []
    for path in sorted(directory.glob("*/*.npz")):
        name = path.stem
        series, boot = load(path)
        growth = leak.classify(series, returned_at_boot=boot, seed=seed)
        found.append(
            Answer(
                path.parent.name,
                name,
                name in behaviours.LEAKING,
                truths.get(name, 0.0),
                growth.leak_class,
                growth.slope.value,
                growth.slope.low,
                growth.slope.high,
                growth.requests,
            )
        )
    return found


def _truths(directory: Path) -> dict[str, float]:
    path = directory / "truths.json"
    known: dict[str, float] = json.loads(path.read_text()) if path.exists() else {}
    missing = behaviours.LEAKING.keys() - known.keys()
    if missing:
        known |= {name: truth(name) for name in sorted(missing)}
        path.write_text(json.dumps(known, indent=1))
    return known


def run(*, quick: bool) -> Result:
    """The part of ``python -m bench.measurement``: 50 minutes, or a sample in 3."""
    names = QUICK if quick else tuple(behaviours.BEHAVIOURS)
    seconds = DEFAULT_TIME_BUDGET_S / 3 if quick else DEFAULT_TIME_BUDGET_S
    with tempfile.TemporaryDirectory(prefix="leaks-") as directory:
        kept = Path(directory)
        for name in names:
            collect(name, kept, seconds, _conditions(name))
        leaking = [name for name in names if name in behaviours.LEAKING]
        named = {name: who_holds(name, follow_up.HOLDERS_S) for name in leaking}
        return with_lines(report([kept]), named)


def with_lines(result: Result, found: Mapping[str, Holders | None]) -> Result:
    """What the traced trials said beside the rest."""
    ranks = {name: rank(name, one) for name, one in found.items()}
    rows = tuple(
        (
            name,
            one.lines[0].place if one and one.lines else "none",
            _bytes(one.lines[0].bytes_per_request if one and one.lines else 0.0),
            _bytes(one.bytes_per_request if one else 0.0),
            f"{one.requests if one else 0:,}",
            str(ranks[name] or "no"),
        )
        for name, one in found.items()
    )
    head = ("behaviour", "first line", "bytes/request", "all lines", "requests", "named as number")
    named = [place for place in ranks.values() if place]
    aim = Aim(
        "the line that holds what leaks is named (none, where native code holds it)",
        "all",
        f"{len(named)} of {len(found)}, {named.count(1)} of them first",
        len(named) == len(found),
    )
    lines = Table(head, rows, "Which lines hold it")
    return replace(result, tables=(*result.tables, lines), aims=(*result.aims, aim))


def report(directories: Sequence[Path], seeds: int = SEEDS) -> Result:
    """Every collection judged with every seed."""
    answers = [
        (place, seed, answer)
        for place, directory in enumerate(directories)
        for seed in range(1, seeds + 1)
        for answer in judge(directory, _truths(directory), seed)
    ]
    judged = [answer for _, _, answer in answers]
    free = [a for a in judged if not a.leak]
    leaks = [a for a in judged if a.leak]
    found = [a for a in leaks if a.said == "leak"]
    misses = [abs(a.value / a.truth - 1) for a in found]
    rows = [
        (a.name, a.condition, _bytes(a.truth), a.said.replace("_", " "), _bytes(a.value),
         f"{_bytes(a.low)} to {_bytes(a.high)}", f"{a.requests:,}", "yes" if a.right else "no")
        for place, seed, a in answers
        if (place, seed) == (0, 1) or not a.right
    ]  # fmt: skip
    alarms = sum(a.said == "leak" for a in free)
    return Result(
        "Leaks",
        tables=(
            Table(
                ("behaviour", "trials", "truth", "answer", "bytes/request", "from, to", "requests",
                 "right"),
                tuple(rows),
                "First collection and seed, and every wrong answer",
            ),
        ),
        aims=(
            Aim(
                f"false alarms on {len({a.name for a in free})} behaviours that do not leak",
                "none",
                f"{alarms} of {len(free)} answers",
                not alarms,
            ),
            Aim(
                f"{len({a.name for a in leaks})} leaks from 100 bytes a request, in threads, under "
                "preload, with recycling: slope within 10%, or a bound above the truth",
                "all",
                f"{sum(a.right for a in leaks)} of {len(leaks)}; {len(found)} called, slopes off "
                f"by {np.median(misses or [0]):.1%} (median), {max(misses, default=0):.1%} (worst)",
                all(a.right for a in leaks),
            ),
        ),
        notes=(
            f"Collections: {len(directories)}, each judged with {seeds} seeds of the bootstrap.",
            "Truth is the growth of a process without a server over up to 24,000 requests.",
        ),
        data=[{"collection": place, "seed": seed, **vars(a)} for place, seed, a in answers],
    )  # fmt: skip


def _bytes(value: float) -> str:
    return f"{value:,.0f}"


def _conditions(name: str) -> list[Condition]:
    return list(CONDITIONS.values()) if name in behaviours.LEAKING else [DEFAULT]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.measurement.leaks", description=__doc__)
    sub = parser.add_subparsers(dest="command", required=True)
    one = sub.add_parser("collect")
    one.add_argument("directory", type=Path)
    one.add_argument("names", nargs="*")
    one.add_argument("--time-budget", type=float, default=DEFAULT_TIME_BUDGET_S)
    three = sub.add_parser("lines")
    three.add_argument("names", nargs="*")
    two = sub.add_parser("judge")
    two.add_argument("directory", type=Path, nargs="+")
    two.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args()
    if options.command == "collect":
        for name in options.names or behaviours.BEHAVIOURS:
            collect(name, options.directory, options.time_budget, _conditions(name))
            print(name, flush=True)
        return 0
    if options.command == "lines":
        names = options.names or behaviours.LEAKING
        found = {name: who_holds(name, follow_up.HOLDERS_S) for name in names}
        result = with_lines(Result("Leaks"), found)
    else:
        result = report(options.directory, options.seeds)
    for one in result.tables:
        print(table(one.head, one.rows, markdown=False))
    for aim in result.aims:
        print(f"{'met' if aim.met else 'NOT MET'}: {aim.what}: {aim.measured}")
    return 0 if all(aim.met for aim in result.aims) else 1


if __name__ == "__main__":
    sys.exit(main())

"""docs/ACCURACY.md: everything stored, predicted again by the model as it is now."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.accuracy import applications, judge, model, store
from bench.accuracy.grid import LOADS, POINT_S
from bench.accuracy.judge import QUANTITIES, Pair, Shape
from bench.accuracy.store import Point, Trials, shape_of
from bench.servers.tables import table
from pretune.advisor.baselines import FORMULAS
from pretune.server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "ACCURACY.md"
NAMES = {"pss_bytes": "memory"}
FIVE_TIMES = 5


@dataclass(frozen=True)
class Judged:
    """All that is said of one app."""

    app: applications.Application
    trials: Trials
    points: tuple[Point, ...]  # usable ones
    left_out: int
    pairs: tuple[Pair, ...]
    capacities: dict[Shape, float]
    by_repeat: tuple[dict[Shape, float], ...]
    ours: Shape | None
    formulas: dict[str, Shape]
    model_s: float  # what the search took now

    @property
    def best(self) -> Shape:
        return max(self.capacities, key=lambda s: self.capacities[s])

    @property
    def regrets(self) -> list[float]:
        return [judge.regret(self.capacities, s) for s in self.capacities]


def write() -> None:
    found = [j for app in applications.APPLICATIONS if (j := judged(app)) is not None]
    PAGE.write_text(page(found))


def judged(app: applications.Application) -> Judged | None:
    """None for an app that was not swept."""
    stored = store.load_trials(app.name)
    points = store.load_points([app.name])
    usable = tuple(p for p in points if p.usable)
    if stored is None or not usable:
        return None
    solved = model.solve(stored)
    began = time.monotonic()
    answered = solved.answered()
    recommendation = answered.found.recommendation
    model_s = time.monotonic() - began
    slo = solved.slo.p95_s
    assert slo is not None
    first = stored.trials[0]
    alone = (1.0, first.throughput_rps.value, solved.demand.unloaded_p95_s)
    loads = len(stored.users)
    repeats = sorted({p.repeat for p in usable})
    return Judged(
        app,
        stored,
        usable,
        len(points) - len(usable),
        tuple(_pairs(solved, usable)),
        judge.capacities(usable, alone, slo, loads),
        tuple(
            judge.capacities([p for p in usable if p.repeat == repeat], alone, slo, loads)
            for repeat in repeats
        ),
        None if recommendation is None else shape_of(recommendation.settings),
        {b.name: shape_of(b.settings) for b in answered.baselines},
        model_s,
    )


def _pairs(solved: model.Solved, points: Sequence[Point]) -> list[Pair]:
    """Repeats of a point share their prediction."""
    known = {}
    for point in points:
        key = point.shape, point.users
        if key not in known:
            known[key] = solved.predicted(Settings(*point.shape), point.users, POINT_S)
    return [Pair(point, known[point.shape, point.users]) for point in points]


# --- the page --------------------------------------------------------------------------------


def page(found: Sequence[Judged]) -> str:
    sections = (_intro, _aims, _errors, _where, _regret, _formulas, _time, _coverage, _limits)
    return "\n\n".join(part for section in sections for part in section(found)) + "\n"


def _intro(found: Sequence[Judged]) -> list[str]:
    points = [p for j in found for p in j.points]
    machine, versions = found[0].trials.machine, found[0].trials.versions
    cores = found[0].trials.trials[0].conditions.server_cores
    repeated = sum(p.repeat > 0 for p in points)
    return [
        "# Accuracy, measured",
        "Written by `make accuracy` from what is stored in `bench/accuracy/results`, predicted by "
        "the model as it is now. How each number is made: [METHOD.md](METHOD.md).",
        f"**{len(found)} applications, {len(points)} points of real gunicorn "
        f"{versions['gunicorn']}**, {repeated} of them second runs, each of {POINT_S:g} s of load, "
        f"{statistics.median(p.window_s for p in points):.1f} s of it steady (median). "
        f"{sum(j.left_out for j in found)} points with errors or a saturated generator are left "
        f"out; {sum(p.disturbed != '' for p in points)} that the machine disturbed are counted. "
        f"This is a thin sweep: at most {max(len(j.capacities) for j in found)} arrangements of "
        f"an app at {len(LOADS)} loads, on {cores:g} core for the server. "
        "Take the figures for what so few short runs are worth.",
        f"Machine: {machine['cores']} cores, {machine['cpu']}, Linux {machine['kernel']}, shared "
        f"with other work{_first(machine)}; points from {min(p.hour for p in points)} to "
        f"{max(p.hour for p in points)}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        "The model sees of each app what a run of `tune --time-budget 60s` measures: one worker "
        "with one and with four threads (or one event loop), two preloaded workers, and the first "
        "again on gunicorn. No parameter is fitted over the applications, none was tuned to one "
        "of them: each app is judged by its own trials alone, so every prediction is one for an "
        "app left out.",
        table(
            ("application", "what it does", "users", "arrangements"),
            [
                (
                    j.app.name,
                    j.app.nature,
                    ", ".join(map(str, j.trials.users)),
                    ", ".join(_shape(s) for s in j.capacities),
                )
                for j in found
            ],
            markdown=True,
        ),
        f"Users are {' and '.join(f'{part:g}' for part in LOADS)} times those at which the "
        "processor would just be busy if nobody waited for it (the knee of the asymptotic bounds).",
    ]


def _aims(found: Sequence[Judged]) -> list[str]:
    pairs = [pair for j in found for pair in j.pairs]
    promised = [pair for pair in pairs if pair.promised]
    throughput = judge.errors(pairs, "throughput")
    ours = [r for j in found if math.isfinite(r := _our_regret(j))]
    slowest = max(_answer_s(j) for j in found)
    covered = statistics.mean(pair.covered(q) for pair in pairs for q in QUANTITIES)
    rows = [
        _aim("throughput, median error", throughput.median, 0.03),
        _aim("throughput, p90", throughput.p90, 0.07),
        _aim("mean latency, median, up to 85% utilisation",
             judge.errors(promised, "mean").median, 0.06),
        _aim("p95, median, up to 85% utilisation", judge.errors(promised, "p95").median, 0.08),
        _aim("memory, median", judge.errors(pairs, "pss_bytes").median, 0.03),
        _aim(f"regret, median of {len(ours)} apps",
             statistics.median(ours) if ours else math.nan, 0.01),
        _aim("regret, worst", max(ours, default=math.nan), 0.05),
        ("time to the answer, worst, without verification", "120 s", f"{slowest:.0f} s",
         _yes(slowest <= 120)),
        ("claimed 95% intervals that hold the measured", "at least 90%", f"{covered:.0%}",
         _yes(covered >= 0.9)),
    ]  # fmt: skip
    return ["## Aims", table(("what", "aim", "measured", "met"), rows, markdown=True)]


def _errors(found: Sequence[Judged]) -> list[str]:
    rows = []
    for j in found:
        rows.append(_error_row(j.app.name, j.pairs, j.points))
    pairs = [pair for j in found for pair in j.pairs]
    rows.append(_error_row("all", pairs, [p for j in found for p in j.points]))
    quiet = [pair for pair in pairs if pair.promised]
    rows.append(_error_row("all, up to 85% utilisation", quiet, [pair.point for pair in quiet]))
    head = ("application", "points", *(NAMES.get(q, q) for q in QUANTITIES))
    return [
        "## Errors",
        "Median of the relative error without its sign; in brackets the median distance of two "
        "runs of the same point (- where none was repeated). An error below that distance cannot "
        "be told from none. The generator brings the load in closed loops, so a point over its "
        "knee is saturated, and its percentiles are not promised; they are shown all the same.",
        table(head, rows, markdown=True),
    ]


def _error_row(name: str, pairs: Sequence[Pair], points: Sequence[Point]) -> tuple[str, ...]:
    cells = [
        f"{_percent(judge.errors(pairs, q).median)} ({_percent(judge.noise(points, q).median)})"
        for q in QUANTITIES
    ]
    return (name, str(len(pairs)), *cells)


def _where(found: Sequence[Judged]) -> list[str]:
    pairs = [pair for j in found for pair in j.pairs]
    rows = []
    for name, group in judge.grouped(pairs, _kind).items():
        signed = [f"{statistics.median(pair.error(q) for pair in group):+.1%}" for q in QUANTITIES]
        rows.append((name, str(len(group)), *signed))
    worst = sorted(pairs, key=lambda pair: -abs(pair.error("throughput")))[:8]
    told = [
        (
            f"{pair.point.app}, {_shape(pair.point.shape)}, {pair.point.users} users",
            f"{pair.point.throughput:.1f}",
            _interval(pair),
            f"{pair.error('throughput'):+.1%}",
            f"{pair.error('p95'):+.1%}",
            pair.point.disturbed or "-",
        )
        for pair in worst
    ]
    head = ("kind", "points", *(NAMES.get(q, q) for q in QUANTITIES))
    return [
        "## Where the errors are",
        "Medians with their sign: above zero the model predicts too much.",
        table(head, rows, markdown=True),
        "The points whose throughput is missed by most:",
        table(
            ("point", "measured rps", "predicted", "error", "error of p95", "disturbed"),
            told,
            markdown=True,
        ),
    ]


def _regret(found: Sequence[Judged]) -> list[str]:
    rows = []
    for j in found:
        regrets = j.regrets
        trials = len(j.trials.trials)
        rerun = math.nan if j.ours is None else judge.rerun_regret(j.by_repeat, j.ours)
        rows.append(
            (
                j.app.name,
                "-" if j.ours is None else _shape(j.ours),
                _shape(j.best),
                _percent(_our_regret(j)),
                _percent(rerun),
                _percent(judge.random_regret(regrets, trials)),
                _percent(judge.random_regret(regrets, FIVE_TIMES * trials)),
                f"{len(regrets)}",
            )
        )
    return [
        "## Regret",
        "How much less an answer carries than the best measured arrangement, at the highest load "
        "that keeps p95 within three times the unloaded p95; between measured loads by lines of "
        "logarithms. *Rerun*: the best of one repeat against ours, both judged by the other "
        "repeat, so that luck in being the best does not count (- where the repeats have not two "
        "arrangements in common). *Random*: the expected regret of "
        "the best of as many different arrangements as the tool made trials, and five times as "
        "many, drawn blindly from the sweep and measured at all its loads; exact, not simulated. "
        "Where that is all of the sweep it is an exhaustive search. TPE is not shown: Optuna's "
        "draws its first ten trials at random, which is more than the arrangements here.",
        table(
            ("application", "ours", "best measured", "ours", "ours, rerun", "random 1x",
             "random 5x", "of"),
            rows,
            markdown=True,
        ),
    ]  # fmt: skip


def _formulas(found: Sequence[Judged]) -> list[str]:
    rows = []
    for name, *_ in FORMULAS:
        regrets = [
            r for j in found if math.isfinite(r := judge.regret(j.capacities, j.formulas[name]))
        ]
        rows.append((name, *_summary(regrets)))
    ours = [r for j in found if math.isfinite(r := _our_regret(j))]
    rows.append(("**pretune**", *_summary(ours)))
    return [
        "## Other people's formulas",
        "Their regret on the same sweep, where the shape they ask for was measured; for one core "
        "and 1 GiB.",
        table(("formula", "apps", "median regret", "worst"), rows, markdown=True),
    ]


def _summary(regrets: Sequence[float]) -> tuple[str, str, str]:
    if not regrets:
        return "0", "-", "-"
    return str(len(regrets)), _percent(statistics.median(regrets)), _percent(max(regrets))


def _time(found: Sequence[Judged]) -> list[str]:
    rows = [
        (
            j.app.name,
            f"{j.trials.seconds:.0f} s",
            f"{j.model_s:.1f} s",
            f"{_sweep_s(j):.0f} s",
            f"{_sweep_s(j) / _answer_s(j):.1f}",
        )
        for j in found
    ]
    return [
        "## Time",
        "The tool's trials and its search, and the first run of every point of the sweep. The "
        "sweep is a pruned one with points of seconds; one that deserved the name would take "
        "all workers and threads, and longer.",
        table(("application", "trials", "search", "sweep", "times"), rows, markdown=True),
    ]


def _coverage(found: Sequence[Judged]) -> list[str]:
    pairs = [pair for j in found for pair in j.pairs]
    rows = [
        (
            NAMES.get(q, q),
            f"{judge.coverage(pairs, q):.0%}",
            _percent(statistics.median(_half(pair, q) for pair in pairs)),
        )
        for q in QUANTITIES
    ]
    return [
        "## Claimed intervals",
        "How many of the 95% intervals hold what was measured, and how wide they are (median half "
        "width).",
        table(("quantity", "covered", "half width"), rows, markdown=True),
    ]


def _limits(found: Sequence[Judged]) -> list[str]:
    return [
        "## What this does not show",
        "- One core for the server: what more cores do to workers and the GIL is not in it.\n"
        "- Runs of seconds: p99 rests on the slowest few requests of each.\n"
        "- The model knows no lock of an application but the GIL: `locked` shows what that costs.\n"
        "- Closed loads only, and no app that was written by somebody else.\n"
        "- TPE was not run, and the recommended settings were run without preload and recycling.",
    ]


# --- cells -----------------------------------------------------------------------------------


def _our_regret(j: Judged) -> float:
    return math.nan if j.ours is None else judge.regret(j.capacities, j.ours)


def _first(machine: dict[str, Any]) -> str:
    """How far the measurements went before that work."""
    if machine["nice"] == 0:
        return ""
    return (
        f" and measured before it (nice {machine['nice']:g}, turns of "
        f"{machine.get('slice_s', 0) * 1e3:g} ms), which still takes caches and what was left"
    )


def _answer_s(j: Judged) -> float:
    return j.trials.seconds + j.model_s


def _sweep_s(j: Judged) -> float:
    return sum(p.took_s for p in j.points if p.repeat == 0)


def _kind(pair: Pair) -> str:
    workers, _, kind = pair.point.shape
    if kind == "gthread":
        kind += ", one worker" if workers == 1 else ", several workers"
    return f"{kind}, {'up to' if pair.promised else 'over'} 85% busy"


def _shape(shape: Shape) -> str:
    workers, threads, worker_class = shape
    return f"{workers}x{threads}" if worker_class == "gthread" else f"{workers} {worker_class}"


def _interval(pair: Pair) -> str:
    x = pair.claimed("throughput")
    return f"{x.value:.1f} ({x.low:.1f} to {x.high:.1f})"


def _half(pair: Pair, quantity: str) -> float:
    x = pair.claimed(quantity)
    return (x.high - x.low) / 2 / x.value


def _aim(what: str, measured: float, aim: float) -> tuple[str, str, str, str]:
    return what, f"at most {aim:.0%}", _percent(measured), _yes(measured <= aim)


def _yes(met: bool) -> str:
    return "yes" if met else "no"


def _percent(x: float) -> str:
    return "-" if math.isnan(x) else f"{x:.1%}"

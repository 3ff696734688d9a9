"""docs/ACCURACY.md: everything stored, predicted again by the model as it is now."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import compare, verification
from bench.accuracy import advice, applications, judge, regrets, rivals
from bench.accuracy.advice import Advice
from bench.accuracy.cells import interval, percent, shape, yes
from bench.accuracy.grid import LOADS
from bench.accuracy.judge import QUANTITIES, Pair
from bench.accuracy.store import Point
from bench.servers.tables import table
from pretune.advisor.profiler.surroundings import DISTURBANCES
from pretune.server.settings import Settings

PAGE = Path(__file__).parents[2] / "docs" / "ACCURACY.md"
NAMES = {"pss_bytes": "memory"}
Row = tuple[str, str, str, str, str]


@dataclass(frozen=True)
class Judged:
    """All that is said of one app."""

    advice: Advice
    pairs: tuple[Pair, ...]
    rivals: regrets.Rivals

    @property
    def app(self) -> applications.Application:
        return self.advice.app

    @property
    def points(self) -> tuple[Point, ...]:
        return self.advice.points


def write() -> None:
    found = [j for app in applications.APPLICATIONS if (j := judged(app)) is not None]
    PAGE.write_text(page(found))


def judged(app: applications.Application, seeds: int = rivals.SEEDS) -> Judged | None:
    """None for an app that was not swept. ``seeds``: of TPE."""
    found = advice.advise(app)
    if found is None:
        return None
    return Judged(found, tuple(_pairs(found)), regrets.rivals_of(found, seeds))


def _pairs(found: Advice) -> list[Pair]:
    """Repeats of a point share their prediction."""
    known = {}
    for point in found.points:
        key = point.shape, point.users, point.load_s
        if key not in known:
            known[key] = found.solved.predicted(Settings(*point.shape), point.users, point.load_s)
    return [Pair(p, known[p.shape, p.users, p.load_s]) for p in found.points]


# --- the page --------------------------------------------------------------------------------


def page(found: Sequence[Judged], seeds: int = rivals.SEEDS) -> str:
    answers = regrets.sections(
        [j.advice for j in found], {j.app.name: j.rivals for j in found}, seeds
    )
    parts = [
        *(part for section in (_intro, _aims, _errors, _where) for part in section(found)),
        *answers,
        *_coverage(found),
        *_verified(),
        *_servers(),
        *_limits(),
        *_again(),
    ]
    return "\n\n".join(parts) + "\n"


def _intro(found: Sequence[Judged]) -> list[str]:
    points = [p for j in found for p in j.points]
    trials = found[0].advice.trials
    machine, versions = trials.machine, trials.versions
    cores = trials.observations.demand.conditions.server_cores
    repeated = sum(p.repeat > 0 for p in points)
    left_out = sum(j.advice.left_out for j in found)
    again = sum(len(pair.ours) + len(pair.best) for j in found for pair in j.advice.reruns)
    return [
        "# Accuracy, measured",
        "Written by `make accuracy` from what is stored in `bench/accuracy/results`, predicted by "
        "the current model. How each number is made: [method/](method/README.md).",
        f"**{len(found)} applications, {len(points)} points of real gunicorn "
        f"{versions['gunicorn']}**, {repeated} of them second runs, and {again} reruns, each of "
        f"{_seconds(p.load_s for p in points)} s of load, "
        f"{statistics.median(p.window_s for p in points):.1f} s of it steady (median), on "
        f"{cores:g} core for the server. {left_out} points with errors or a saturated generator "
        "are left out.",
        f"Machine: {machine['cores']} cores, {machine['cpu']}, Linux {machine['kernel']}"
        f"{_first(machine)}; points from {min(p.hour for p in points)} to "
        f"{max(p.hour for p in points)}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        _quiet(points),
        "For each app the model sees what a run of `tune --time-budget 60s` measures: "
        "one worker with one user and one kept busy by several, the same on gunicorn, "
        "its sync workers, two workers on one core, and two preloaded ones. No parameter is "
        "fitted over the applications, none was tuned to one of them: each app is "
        "judged by its own trials alone, so every prediction is one for an app left out.",
        table(
            ("application", "what it does", "users", "arrangements"),
            [
                (
                    j.app.name,
                    j.app.nature,
                    ", ".join(map(str, j.advice.trials.users)),
                    f"{len(j.advice.rates)}",
                )
                for j in found
            ],
            markdown=True,
        ),
        f"Users are {' and '.join(f'{part:g}' for part in LOADS)} times those at which the "
        "processor would just be busy if nobody waited for it (the knee of the asymptotic bounds).",
    ]


def _quiet(points: Sequence[Point]) -> str:
    """How far from quiet the machine was, by the tool's own rule."""
    disturbed = [p for p in points if p.disturbed]
    steal = sorted(p.steal for p in points if p.steal is not None)
    others = sorted(p.others_cores for p in points if p.others_cores is not None)
    told = ""
    if steal and others:
        told = (
            f" Over the points that keep it: steal {statistics.median(steal):.1%} (median), "
            f"{steal[-1]:.1%} (most); others {statistics.median(others):.2f} cores, "
            f"{others[-1]:.2f}."
        )
    return (
        f"**How quiet it was**: {len(disturbed)} of {len(points)} points were disturbed, by the "
        f"tool's own rule: more than {DISTURBANCES['steal'].threshold:.0%} of the CPU time stolen "
        f"by the hypervisor, more than {DISTURBANCES['others'].threshold:g} cores used by other "
        f"processes, or held back by a quota for more than "
        f"{DISTURBANCES['throttled'].threshold:.0%} of the time.{told} Disturbed points count in "
        'all figures but those that are marked "undisturbed".'
    )


def _aims(found: Sequence[Judged]) -> list[str]:
    pairs = [pair for j in found for pair in j.pairs]
    quiet = [pair for pair in pairs if not pair.point.disturbed]
    answered = [j.advice for j in found if j.advice.ours is not None]
    ours = [r for a in answered if math.isfinite(r := regrets.regret(a))]
    again = sum(a.rerun is not None for a in answered)
    broke = sum(bool(a.over.get(a.ours)) for a in answered if a.ours in a.over)
    swept = sum(a.ours in a.over for a in answered)
    slowest = max(regrets.answer_s(j.advice) for j in found)
    times = statistics.median(regrets.sweep_s(j.advice) / regrets.answer_s(j.advice) for j in found)

    def both(name: str, aim: float, quantity: str, p90: bool = False, low: bool = False) -> Row:
        values = []
        for some in (pairs, quiet):
            spread = judge.errors([x for x in some if x.promised or not low], quantity)
            values.append(spread.p90 if p90 else spread.median)
        return _aim(name, values[0], aim, percent(values[1]))

    def covered(some: Sequence[Pair]) -> float:
        every = [pair.covered(q) for pair in some for q in QUANTITIES if pair.told(q)]
        return statistics.mean(every) if every else math.nan

    rows = [
        both("throughput, median error", 0.03, "throughput"),
        both("throughput, p90", 0.07, "throughput", p90=True),
        both("mean latency, median, up to 85% utilisation", 0.06, "mean", low=True),
        both("p95, median, up to 85% utilisation", 0.08, "p95", low=True),
        both("memory, median", 0.03, "pss_bytes"),
        _aim(f"regret, median of {len(ours)} apps ({again} by reruns)",
             statistics.median(ours) if ours else math.nan, 0.01),
        _aim("regret, worst", max(ours, default=math.nan), 0.05),
        ("budgets broken by our answers", "none", f"{broke} of {swept} apps", "", yes(broke == 0)),
        ("time to the answer, worst, without verification", "120 s", f"{slowest:.0f} s", "",
         yes(slowest <= 120)),
        ("the sweep's time over the answer's, median", "at least 20", f"{times:.1f}", "",
         yes(times >= 20)),
        ("claimed 95% intervals that hold the measured", "at least 90%", f"{covered(pairs):.0%}",
         f"{covered(quiet):.0%}" if quiet else "-", yes(covered(pairs) >= 0.9)),
        _held(),
    ]  # fmt: skip
    return [
        "## Aims",
        f"*Undisturbed*: of the {len(quiet)} points of {len(pairs)} that the machine left alone.",
        table(("what", "aim", "measured", "undisturbed", "met"), rows, markdown=True),
    ]


def _held() -> Row:
    """Of the examples' repeated runs."""
    runs = verification.stored()
    name = f"verifications that held, of {len(runs)} runs (60 asked for)"
    if not runs:
        return name, "at least 90%", "-", "", "no"
    held = statistics.mean(run["holds"] for run in runs)
    quiet = [run["holds"] for run in runs if not run.get("disturbed")]
    told = f"{statistics.mean(quiet):.0%} of {len(quiet)}" if quiet else "-"
    enough = len(runs) >= verification.RUNS and held >= 0.9
    return name, "at least 90%", f"{held:.0%}", told, yes(enough)


def _errors(found: Sequence[Judged]) -> list[str]:
    rows = []
    for j in found:
        rows.append(_error_row(j.app.name, j.pairs, j.advice.runs))
    pairs = [pair for j in found for pair in j.pairs]
    runs = [group for j in found for group in j.advice.runs]
    some: dict[str, Callable[[Point], bool]] = {
        "all": lambda point: True,
        "all, up to 85% utilisation": judge.promised,
        "all undisturbed": lambda point: not point.disturbed,
        "undisturbed, up to 85% utilisation": lambda point: (
            judge.promised(point) and not point.disturbed
        ),
    }
    for name, belongs in some.items():
        mine = [pair for pair in pairs if belongs(pair.point)]
        rows.append(_error_row(name, mine, [filter(belongs, group) for group in runs]))
    head = ("application", "points", *(NAMES.get(q, q) for q in QUANTITIES))
    return [
        "## Errors",
        "Median of the absolute relative error; in brackets the median distance between "
        "two runs of the same point, minutes or an hour apart, in the sweep and the "
        "reruns (- where none was repeated). An error below that distance cannot be "
        "told from none. The load is closed, so a point beyond its knee is saturated "
        "and its percentiles are not promised; they are shown all the same.",
        table(head, rows, markdown=True),
    ]


def _error_row(
    name: str, pairs: Sequence[Pair], runs: Iterable[Iterable[Point]]
) -> tuple[str, ...]:
    again = [tuple(group) for group in runs]
    cells = [
        f"{percent(judge.errors(pairs, q).median)} ({percent(judge.noise(again, q).median)})"
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
            f"{pair.point.app}, {shape(pair.point.shape)}, {pair.point.users} users",
            f"{pair.point.throughput:.1f}",
            interval(pair.claimed("throughput")),
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


def _coverage(found: Sequence[Judged]) -> list[str]:
    pairs = [pair for j in found for pair in j.pairs]
    quiet = [pair for pair in pairs if not pair.point.disturbed]
    rows = [
        (
            NAMES.get(q, q),
            f"{judge.coverage(pairs, q):.0%}",
            f"{judge.coverage(quiet, q):.0%}" if quiet else "-",
            percent(statistics.median(_half(pair, q) for pair in pairs)),
        )
        for q in QUANTITIES
    ]
    return [
        "## Claimed intervals",
        "How many of the 95% intervals contain what was measured, and how wide they are "
        "(median half width).",
        table(("quantity", "covered", "undisturbed", "half width"), rows, markdown=True),
    ]


def _verified() -> list[str]:
    runs = verification.stored()
    if not runs:
        return []
    return [
        "## Verifications that held",
        "`tune` on the examples, again and again (`python -m bench.verification`): whether the "
        "recommended settings, run on the real server, came out inside every promised interval, "
        f"kept the SLO and the budgets. {verification.RUNS} runs are asked for, {len(runs)} are "
        "stored; intervals are Wilson's.",
        verification.report(runs),
    ]


def _servers() -> list[str]:
    """What the same model is worth under other servers than gunicorn."""
    records = compare.stored()
    if not records:
        return []
    return [
        "## Each server",
        "From the runs of `tune compare` on the examples ([COMPARE.md](COMPARE.md)): each server "
        "with the settings that are best for it there, under the common "
        "load, predicted from one trial of a few seconds on it. Error of the "
        "prediction: the median of its absolute values, and each example's "
        f"({', '.join(records)}; those that the server carries).",
        compare.errors_table(records),
    ]


def _limits() -> list[str]:
    return [
        "## What this does not show",
        "- One core for the server: what more cores do to workers and the GIL is not in it.\n"
        "- Runs of seconds: p99 rests on the slowest few requests of each.\n"
        "- Closed loads only, and no app that was written by somebody else.\n"
        "- In the sweep arrangements ran without preload and recycling; in reruns, as "
        "recommended."
        "\n"
        "- No parameter was fitted to these points, but the trials before an answer were "
        "last changed after looking at them: one user on the chosen server, workers that "
        "share a core, and as many requests at once as keep the processor busy were "
        "added. The verifications above are later than that.\n"
        "- The estimate of an event loop's memory was changed after four verifications of "
        "tickets, two of which did not hold (memory was 4% more where 3% was claimed; "
        "once throughput missed too). Those four are not among the runs above.",
    ]


def _again() -> list[str]:
    return [
        "## Again",
        "```\n"
        "python -m bench.accuracy measure --again --minutes 60    # trials and sweep: 45 minutes\n"
        "python -m bench.accuracy rerun --minutes 20    # after it: six pairs of each app\n"
        "python -m bench.verification measure --again --minutes 150   # 60 runs: two hours\n"
        "python -m bench.accuracy report\n"
        "```",
        "Each stores every measurement at once. Stopped by its minutes or otherwise, it "
        "continues where it was if called without `--again`. `--first` (root, Linux "
        "6.12) gives the measurements priority over the machine's other work.",
    ]


# --- cells -----------------------------------------------------------------------------------


def _first(machine: dict[str, Any]) -> str:
    """How far the measurements went before that work."""
    if machine["nice"] == 0:
        return ""
    return (
        f", before other work of the machine (nice {machine['nice']:g}, turns of "
        f"{machine.get('slice_s', 0) * 1e3:g} ms), which still takes caches and what was left"
    )


def _kind(pair: Pair) -> str:
    workers, _, kind = pair.point.shape
    if kind == "gthread":
        kind += ", one worker" if workers == 1 else ", several workers"
    return f"{kind}, {'up to' if pair.promised else 'over'} 85% busy"


def _half(pair: Pair, quantity: str) -> float:
    x = pair.claimed(quantity)
    return (x.high - x.low) / 2 / x.value


def _aim(what: str, measured: float, aim: float, quiet: str = "") -> Row:
    return what, f"at most {aim:.0%}", percent(measured), quiet, yes(measured <= aim)


def _seconds(values: Iterable[float]) -> str:
    return " or ".join(f"{x:g}" for x in sorted(set(values)))

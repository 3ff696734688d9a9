"""The part of the page that is about the answers: regret, rivals, formulas, budgets, time."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.accuracy import judge, rivals
from bench.accuracy.advice import Advice
from bench.accuracy.cells import percent, percent_interval, shape
from bench.accuracy.judge import Shape
from bench.servers.tables import table
from pretune.advisor.recommendation.baselines import FORMULAS

FIVE_TIMES = 5


@dataclass(frozen=True)
class Rivals:
    """Expected regret with as many arrangements as the tool made trials, and five times as many."""

    random: tuple[float, float]
    tpe: tuple[float, float]


def rivals_of(advice: Advice, seeds: int) -> Rivals:
    trials = len(advice.trials.observations.all())
    draws = (trials, FIVE_TIMES * trials)
    regrets = [judge.regret(advice.rates, s) for s in advice.rates]
    once, more = rivals.tpe(advice.rates, draws, seeds)
    return Rivals((rivals.random(regrets, draws[0]), rivals.random(regrets, draws[1])),
                  (once, more))  # fmt: skip


def regret(advice: Advice) -> float:
    """By reruns where there are two pairs of them, else by the sweep; NaN where neither tells."""
    if advice.ours is None:
        return math.nan
    found = advice.rerun
    if found is not None and math.isfinite(found[0].value):
        return found[0].value
    return judge.regret(advice.rates, advice.ours)


def sections(found: Sequence[Advice], others: Mapping[str, Rivals], seeds: int) -> list[str]:
    return [*_regret(found, others, seeds), *_formulas(found), *_time(found)]


def _regret(found: Sequence[Advice], others: Mapping[str, Rivals], seeds: int) -> list[str]:
    rows = []
    for a in found:
        rival = others[a.app.name]
        rows.append(
            (
                a.app.name,
                "-" if a.ours is None else shape(a.ours),
                shape(a.best),
                "-" if a.ours is None else percent(judge.regret(a.rates, a.ours)),
                _rerun(a),
                *(percent(x) for x in (*rival.random, *rival.tpe)),
                f"{len(a.rates)}",
            )
        )
    every = [others[a.app.name] for a in found]
    rows.append(
        (
            "median",
            "",
            "",
            _median(judge.regret(a.rates, a.ours) for a in found if a.ours is not None),
            _median(regret(a) for a in found if a.rerun is not None),
            *(_median(r.random[n] for r in every) for n in (0, 1)),
            *(_median(r.tpe[n] for r in every) for n in (0, 1)),
            "",
        )
    )
    trials = sorted({len(a.trials.observations.all()) for a in found})
    count = " to ".join(str(n) for n in trials)
    return [
        "## Regret",
        "How much less an answer carries than the best measured arrangement, at the highest load "
        "that keeps p95 within three times the unloaded p95; between measured loads by lines of "
        "logarithms. An arrangement that broke a budget, or never keeps that p95, carries nothing. "
        "*Sweep*: as first measured, where luck in being the best counts. *Reruns*: the answer, as "
        "it is recommended, and the best measured run again in pairs, in turns (ABBA): mean and "
        "95% interval (Student) of what ours carries less, and of how many pairs; 0 where the "
        "answer is the best, - where it was not run again.",
        f"*Random* and *TPE* look for the best by measuring: of as many different arrangements as "
        f"the tool made trials ({count}), and of five times as many. Random is blind, its "
        f"expectation exact; TPE is Optuna's with its defaults (the first ten at random), the mean "
        f"of {seeds} seeds. Each arrangement costs them one trial, though it was measured at all "
        "loads; asking for a known one is free, and the sweep's luck is theirs: they are judged by "
        "the figures they saw.",
        table(
            ("application", "ours", "best measured", "sweep", "reruns", "random 1x", "random 5x",
             "TPE 1x", "TPE 5x", "of"),
            rows,
            markdown=True,
        ),
    ]  # fmt: skip


def _rerun(a: Advice) -> str:
    found = a.rerun
    if found is None:
        return "-"
    value, pairs = found
    return "0 by definition" if pairs == 0 else f"{percent_interval(value)}, {pairs} pairs"


def _formulas(found: Sequence[Advice]) -> list[str]:
    rows = []
    for name, *_ in FORMULAS:
        rows.append((name, *_summary([(a, a.formulas[name]) for a in found if name in a.formulas])))
    rows.append(("**pretune**", *_summary([(a, a.ours) for a in found if a.ours is not None])))
    kept = [p for a in found for p in a.points if p.fds is not None]
    return [
        "## Other people's formulas, and budgets",
        "Regret in the same sweep, where the shape they ask for was measured; for one core and "
        "1 GiB. *Broke a budget*: the applications in which a point of that shape used more than "
        f"the budget's RAM{', Postgres connections or descriptors' if kept else ''} "
        "(peak of memory, what the kernel charged, a local Postgres and the reserve), as measured "
        "in seconds of load: without the worker that overlaps in a reload, and without what leaks "
        "in a day.",
        table(("formula", "apps", "median regret", "worst", "broke a budget"), rows, markdown=True),
    ]


def _summary(asked: Sequence[tuple[Advice, Shape]]) -> tuple[str, str, str, str]:
    regrets = [r for a, s in asked if math.isfinite(r := judge.regret(a.rates, s))]
    measured = [(a, s) for a, s in asked if s in a.over]
    broke = [f"{a.app.name} ({', '.join(a.over[s])})" for a, s in measured if a.over[s]]
    if not measured:
        return "0", "-", "-", "-"
    return (
        str(len(regrets)),
        percent(statistics.median(regrets)) if regrets else "-",
        percent(max(regrets, default=math.nan)),
        ", ".join(broke) or f"none of {len(measured)}",
    )


def _time(found: Sequence[Advice]) -> list[str]:
    rows = [
        (
            a.app.name,
            f"{a.trials.seconds:.0f} s",
            f"{a.search_s:.1f} s",
            f"{sweep_s(a):.0f} s",
            f"{sweep_s(a) / answer_s(a):.1f}",
        )
        for a in found
    ]
    return [
        "## Time",
        "The tool's trials and its search, and the first run of every point of the sweep, which is "
        "of seconds each.",
        table(("application", "trials", "search", "sweep", "times"), rows, markdown=True),
    ]


def answer_s(a: Advice) -> float:
    return a.trials.seconds + a.search_s


def sweep_s(a: Advice) -> float:
    return sum(p.took_s for p in a.points if p.repeat == 0)


def _median(values: Iterable[float]) -> str:
    found = [x for x in values if math.isfinite(x)]
    return percent(statistics.median(found)) if found else "-"

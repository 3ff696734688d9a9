"""What the tool answers for a swept application, as it is now, beside what was measured there."""

from __future__ import annotations

import time
from dataclasses import dataclass

from bench.accuracy import applications, budgets, judge, model, rerun, store
from bench.accuracy.judge import Level, Shape
from bench.accuracy.rerun import Match
from bench.accuracy.store import Point, Rerun, Trials, shape_of
from pretune.advisor.quantity import Interval
from pretune.server.settings import Settings


@dataclass(frozen=True)
class Advice:
    """``rates``: requests/s within the SLO of every arrangement swept; 0 for one that broke a
    budget (``over``) or never keeps the SLO."""

    app: applications.Application
    trials: Trials
    solved: model.Solved
    points: tuple[Point, ...]  # usable ones
    left_out: int
    rates: dict[Shape, float]
    over: dict[Shape, list[str]]
    recommended: Settings | None
    formulas: dict[str, Shape]
    search_s: float
    reruns: tuple[Rerun, ...]

    @property
    def ours(self) -> Shape | None:
        return None if self.recommended is None else shape_of(self.recommended)

    @property
    def runs(self) -> tuple[tuple[Point, ...], ...]:
        """All points, those alike in the same group: of the sweep with the best run again, and of
        the answer as it is recommended."""
        ours = tuple(p for pair in self.reruns for p in pair.ours if p.usable)
        best = tuple(p for pair in self.reruns for p in pair.best if p.usable)
        return (*self.points, *best), ours

    @property
    def best(self) -> Shape:
        return max(self.rates, key=lambda shape: self.rates[shape])

    @property
    def match(self) -> Match | None:
        """None where the answer is the best, or there is none."""
        if self.recommended is None or self.ours == self.best:
            return None
        best = Settings(*self.best)
        return Match(self.app.name, self.recommended, best, self.trials.users)

    @property
    def rerun(self) -> tuple[Interval, int] | None:
        """Regret by reruns, and of how many pairs; 0 by definition where the answer is the best.
        None where they were not run."""
        if self.ours == self.best:
            return Interval.exact(0.0), 0
        played = self.match.played(self.reruns) if self.match else ()
        if not played:
            return None
        assert self.solved.slo.p95_s is not None
        return rerun.regret(played, alone(self.trials, self.solved), self.solved.slo.p95_s), len(
            played
        )


def advise(app: applications.Application) -> Advice | None:
    """None for an app that was not swept."""
    stored = store.load_trials(app.name)
    points = store.load_points([app.name])
    usable = tuple(point for point in points if point.usable)
    if stored is None or not usable:
        return None
    solved = model.solve(stored)
    began = time.monotonic()
    answered = solved.conclude().answer
    search_s = time.monotonic() - began
    recommendation = answered.found.recommendation
    assert solved.slo.p95_s is not None
    loads = len(stored.users)
    rates = judge.capacities(usable, alone(stored, solved), solved.slo.p95_s, loads)
    reruns = tuple(store.load_reruns(app.name))
    again = [point for pair in reruns for point in (*pair.ours, *pair.best) if point.usable]
    over = budgets.broken_by((*usable, *again), solved.budget)
    return Advice(
        app,
        stored,
        solved,
        usable,
        len(points) - len(usable),
        {shape: 0.0 if over[shape] else rate for shape, rate in rates.items()},
        over,
        None if recommendation is None else recommendation.settings,
        {b.name: shape_of(b.settings) for b in answered.baselines},
        search_s,
        reruns,
    )


def alone(stored: Trials, solved: model.Solved) -> Level:
    """One user by himself: where every arrangement's curve begins."""
    return 1.0, stored.observations.demand.throughput_rps.value, solved.demand.unloaded_p95_s

"""Who looks for the best arrangement by measuring: blind draws, and Optuna's TPE.

Both measure an arrangement of the sweep at a cost of one, at all its loads at once, which is in
their favour; whoever asks for one that is known already pays nothing for it. The regret is that of
the best found so far, expected over all draws, or over seeds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

Shape = tuple[int, int, str]
SEEDS = 100
# A sampler that asks again and again for what is known has ended its search.
ASKS_FOR_ONE = 10


def random(regrets: Sequence[float], draws: int) -> float:
    """Expected regret of the best of so many different arrangements drawn blindly (exact)."""
    ordered = sorted(regrets)
    draws = min(draws, len(ordered))
    ways = math.comb(len(ordered), draws)
    return sum(
        value * math.comb(len(ordered) - 1 - place, draws - 1) / ways
        for place, value in enumerate(ordered)
    )


def tpe(rates: Mapping[Shape, float], draws: Sequence[int], seeds: int = SEEDS) -> list[float]:
    """Mean regret over ``seeds`` after each number of ``draws``, with Optuna's defaults. None
    where all that was swept may be measured.

    Of which the first ten trials are random. It chooses class, workers and threads as one would,
    between the least and most that were swept; measured is the nearest that was.
    """
    best = max(rates.values())
    fewer = [count for count in draws if count < len(rates)]
    found: dict[int, list[float]] = {count: [] for count in fewer}
    for seed in range(seeds if fewer else 0):
        walk = _walk(rates, max(fewer), seed)
        for count in fewer:
            found[count].append(1 - max(walk[:count]) / best)
    return [statistics.mean(found[count]) if count in found else 0.0 for count in draws]


def _walk(rates: Mapping[Shape, float], most: int, seed: int) -> list[float]:
    """The rates of different arrangements in the order in which one study measured them."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    measured: dict[Shape, float] = {}
    most = min(most, len(rates))
    for _ in range(ASKS_FOR_ONE * most):
        trial = study.ask()
        shape = nearest(asked(trial, rates), rates)
        measured.setdefault(shape, rates[shape])
        study.tell(trial, rates[shape])
        if len(measured) == most:
            break
    return list(measured.values())


def asked(trial: Any, rates: Mapping[Shape, float]) -> Shape:
    """``trial``: optuna.Trial."""
    kinds = sorted({kind for _, _, kind in rates})
    kind = trial.suggest_categorical("worker_class", kinds) if len(kinds) > 1 else kinds[0]
    workers = [w for w, _, k in rates if k == kind]
    threads = [t for _, t, k in rates if k == kind]
    found = [
        trial.suggest_int(f"{kind} {name}", min(of), max(of)) if min(of) < max(of) else min(of)
        for name, of in (("workers", workers), ("threads", threads))
    ]
    return found[0], found[1], kind


def nearest(wanted: Shape, rates: Mapping[Shape, float]) -> Shape:
    """Of the same class, by the logarithms of workers and threads."""

    def distance(shape: Shape) -> float:
        return math.hypot(math.log(shape[0] / wanted[0]), math.log(shape[1] / wanted[1]))

    return min((shape for shape in rates if shape[2] == wanted[2]), key=distance)

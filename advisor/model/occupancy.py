"""Occupancy: the number of workers of a closed load that nobody connects to; they stay as small as
they booted.
"""

from __future__ import annotations

import numpy as np

from pretune.advisor.model.simulation import Discipline
from pretune.advisor.quantity import Interval


def idle_workers(discipline: Discipline, workers: int, users: int) -> Interval:
    """Workers without a connection: the mean and the central 95% of what luck may bring.

    Where a worker accepts at once and keeps what it accepts, each user's connection falls on any of
    them: the classical occupancy problem (Feller, vol. 1, II.5), solved by its Markov chain. Where
    a connection goes to a worker with a free slot, only users that are not there leave one idle.
    Without keep-alive every request is a new chance, and none stays idle.
    """
    if not discipline.sticky:
        return Interval.exact(0.0)
    if not discipline.uneven:
        return Interval.exact(float(max(0, workers - users)))
    reached = np.zeros(workers + 1)
    reached[0] = 1.0
    again = np.arange(workers + 1) / workers
    for _ in range(users):
        reached = reached * again + np.append(0.0, (reached * (1 - again))[:-1])
    idle = reached[::-1]
    mean = float(idle @ np.arange(workers + 1))
    below = np.cumsum(idle)
    low, high = (int(np.searchsorted(below, q)) for q in (0.025, 0.975))
    return Interval(mean, min(mean, float(low)), max(mean, float(high)))

"""The moments at which an open load's requests arrive: a Poisson process, drawn from the seed."""

from __future__ import annotations

import random
from collections.abc import Iterator


def draw_times(begin: float, rate: float, seed: int) -> Iterator[float]:
    """Intended CLOCK_MONOTONIC s of every arrival after ``begin``, for ever."""
    dice, at = random.Random(f"{seed}:arrivals"), begin
    while True:
        at += dice.expovariate(rate)
        yield at

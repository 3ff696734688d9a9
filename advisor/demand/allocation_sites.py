"""Which lines hold what leaks: growth per request of each, from snapshots of a traced trial.

A line counts when it held more at each snapshot than at the one before, in step with requests: a
cache that filled between two snapshots, or a request in flight, does not. Nor does a line that
grows faster than all that leaks: tracing is slow, so caches may still be filling in its trial.
Sizes are Python's own accounting, so what native code holds is missing; the sum over all lines
beside the leak's slope says how much of it was seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pretune.advisor.profiler.measurement import MemorySeries
from pretune.advisor.profiler.snapshots import Held

# Between any two snapshots a line must grow by this part of its growth per request over all.
STEADY = 0.5
# A line that grows by more than this times all that leaks is a cache that still fills.
FASTER = 1.25
# Lines below this part of all that grows are not worth a word.
SHARE = 0.05
MOST = 5


@dataclass(frozen=True)
class Holder:
    """``place`` is ``file:line`` of the user's code, ``via`` where the library allotted, or ""."""

    place: str
    bytes_per_request: float
    share: float  # of all lines that grow
    via: str


@dataclass(frozen=True)
class Holders:
    """The largest first. ``bytes_per_request``: of all growing lines, also those not listed."""

    lines: tuple[Holder, ...]
    bytes_per_request: float
    requests: int  # between the first and the last snapshot


def find_holders(
    held: Held, series: Sequence[MemorySeries], leak: float = math.inf
) -> Holders | None:
    """None with fewer than two snapshots, or without requests between them.

    ``leak``: bytes per request of the leak that is looked for.
    """
    mine = next((s for s in series if s.pid == held.pid), None)
    if mine is None or len(held.times) < 2:
        return None
    served = np.interp(held.times, mine.time_s, mine.requests)
    between = np.diff(served)
    if not (between > 0).all():
        return None
    requests = float(between.sum())
    growing = {}
    for place, sizes in held.lines.items():
        grown = np.diff(np.asarray(sizes, dtype=np.float64))
        slope = float(grown.sum()) / requests
        if 0 < slope <= FASTER * leak and (grown / between >= STEADY * slope).all():
            growing[place] = slope
    total = sum(growing.values())
    largest = sorted(growing.items(), key=lambda item: -item[1])
    return Holders(
        tuple(
            Holder(place, slope, slope / total, held.via.get(place, ""))
            for place, slope in largest[:MOST]
            if slope >= SHARE * total
        ),
        total,
        int(requests),
    )

"""Disruption: requests during an operation on the server, as their clients saw them. Pure.

Lost is a request that was sent and got no whole answer, or one of 500 and above. Two kinds are
named apart from that. A request on a kept connection that ends before any byte of the answer may
never have been read: the server may have closed the idle connection while it was on its way, which
a client may answer by sending it again (RFC 9112, 9.3.1 and 9.5). And a connection that is refused:
while the server is to go on that is a loss; once it was told to end it is what a balancer looks
for, and nothing was taken.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.profiler.statistics import proportion
from pretune.advisor.quantity import Interval
from pretune.loadtests.records import ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

KEPT = frozenset({"kept connection closed", "kept connection reset"})
REFUSED = "connection refused"
LOST = frozenset(
    {"connection closed", "connection reset", "timeout", "malformed response", "other"}
)
SERVER_ERROR = 500
FEWEST = 20  # answers for a p95


@dataclass(frozen=True)
class Disruption:
    """``requests``: whose answer, or end without one, came after the signal.

    ``lost`` kind -> count, ``kept`` and ``refused`` as above. ``took_s`` None: not done in time.
    ``p95_s`` until it was done and ``p95_before_s`` until the signal, NaN of too few answers;
    ``slowest_s`` of an answer that came after the signal. ``events``: how often it happened.
    """

    what: str
    requests: int
    lost: tuple[tuple[str, int], ...]
    kept: int
    refused: int
    took_s: float | None
    p95_before_s: float
    p95_s: float
    slowest_s: float
    events: int = 1

    @property
    def lost_count(self) -> int:
        return sum(count for _, count in self.lost)

    @property
    def lost_fraction(self) -> Interval:
        return proportion(self.lost_count, self.requests)


def judge(
    what: str,
    records: NDArray[np.void],
    signal: float,
    done: float | None,
    *,
    ends: bool = False,
    abandoned: int = 0,
    events: int = 1,
) -> Disruption:
    """``records`` as ``loadtests.records.dtype()``, times in monotonic s. ``ends``: the server was
    told to end. ``abandoned``: requests still unanswered when the load was over; those are lost."""
    over = records["start"] + records["wall"]
    after, before = records[over >= signal], records[over < signal]
    kinds = Counter[str]()
    for number, status in zip(after["error"].tolist(), after["status"].tolist(), strict=True):
        kind = ERRORS[number] if number < len(ERRORS) else "other"
        if kind == "status" and status >= SERVER_ERROR:
            kind = str(status)
        kinds[kind] += 1
    kinds["no answer"] += abandoned
    refused = kinds[REFUSED]
    lost = {k: n for k, n in kinds.items() if n and (k in LOST or k.isdigit() or k == "no answer")}
    if refused and not ends:
        lost[REFUSED] = refused
    good = after[after["error"] == 0]
    until = math.inf if done is None else done
    during = good[good["start"] < until]
    return Disruption(
        what=what,
        requests=len(after) + abandoned - (refused if ends else 0),
        lost=tuple(sorted(lost.items(), key=lambda item: -item[1])),
        kept=sum(kinds[kind] for kind in KEPT),
        refused=refused,
        took_s=None if done is None else max(0.0, done - signal),
        p95_before_s=_p95(before[before["error"] == 0]["wall"]),
        p95_s=_p95(during["wall"]),
        slowest_s=float(good["wall"].max()) if len(good) else math.nan,
        events=events,
    )


def _p95(wall: NDArray[np.float64]) -> float:
    return float(np.quantile(wall, 0.95)) if len(wall) >= FEWEST else math.nan

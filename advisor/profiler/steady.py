"""The steady part of a run: where it begins, or that there is none.

The run is cut into bins of equal time. MSER (White 1997) removes the start: of throughput and of
mean latency it drops the number of bins that makes the standard error of the mean of the rest
smallest; the later of the two counts. It drops them only if they differ from the rest by more than
such a series wanders anyway: else it would choose the quiet part of a busy run, and the mean would
be too low. The rest is steady when neither series still drifts: the
straight line through it must either not differ from level (t test on batch means, 1%) or move by
less than ``DRIFT`` of the mean from its one end to the other, because with enough data every
harmless drift is significant.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from pretune.advisor.profiler.statistics import error_of_mean, t_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 60
MIN_REQUESTS = 40  # below this there is nothing to look at
MIN_PER_BIN = 5
MIN_BINS = 8
DRIFT = 0.08  # of the mean, over the whole window
_TREND_BATCHES = 12
_SURELY = 0.999  # that the start differs from the rest; MSER has looked at many starts


@dataclass(frozen=True)
class Window:
    """``[start, end)`` in the clock of the run; an unsettled one is only the best there is."""

    start: float
    end: float
    settled: bool
    note: str

    @property
    def length_s(self) -> float:
        return self.end - self.start


def mser(series: NDArray[np.float64]) -> int:
    """Return how many leading values to drop; at most half of them."""
    n = len(series)
    drops = range(n // 2 + 1)
    errors = [float(np.var(series[d:])) / (n - d) for d in drops]
    return int(np.argmin(errors))


def start_up(series: NDArray[np.float64]) -> int:
    """Return how many leading values are certainly another regime; MSER's number or 0."""
    dropped = mser(series)
    head, rest = series[:dropped], series[dropped:]
    if not dropped or len(rest) < 2:
        return dropped
    error = error_of_mean(rest)
    apart = t_quantile(error.df, _SURELY) * error.standard * math.sqrt(len(rest) / len(head) + 1)
    return dropped if abs(float(head.mean() - rest.mean())) > apart else 0


def drift(series: NDArray[np.float64]) -> float:
    """Relative change along the series if it is a trend (t test, 1%), else 0."""
    size = max(len(series) // _TREND_BATCHES, 1)
    batches = series[len(series) % size :].reshape(-1, size).mean(axis=1)
    if len(batches) < 4 or float(np.ptp(batches)) == 0:
        return 0.0
    line = stats.linregress(np.arange(len(batches)), batches)
    if line.pvalue > 0.01:
        return 0.0
    return float(line.slope * (len(batches) - 1) / abs(batches.mean()))


def find_window(
    start: NDArray[np.float64], wall: NDArray[np.float64], until: float | None = None
) -> Window:
    """From the start times and durations, s, of answered requests, in any order.

    ``until`` is when the load ended, if it went on after the last answered request had started.
    """
    if not len(start):
        return Window(0.0, 0.0, False, "no request was answered")
    begin, finish = float(start.min()), float(start.max())
    finish = max(finish, until) if until is not None else finish
    half = Window((begin + finish) / 2, finish, False, "")
    if len(start) < MIN_REQUESTS or finish <= begin:
        note = f"only {len(start)} requests; {MIN_REQUESTS} are needed to judge it"
        return Window(begin, max(finish, begin), False, note)
    ends = start + wall
    # Nothing ends before the first response; there the bins begin.
    first = float(ends.min())
    bins = int(min(BINS, max(len(start) // MIN_PER_BIN, MIN_BINS)))
    if finish <= first:
        return Window(begin, finish, False, "the load ended before a second round of requests")
    edges = np.linspace(first, finish, bins + 1)
    inside = (ends >= first) & (ends < finish)
    place = np.minimum(np.searchsorted(edges, ends[inside], side="right") - 1, bins - 1)
    count = np.bincount(place, minlength=bins).astype(np.float64)
    total = np.bincount(place, weights=wall[inside], minlength=bins)
    if not count.all():
        filled = float(np.count_nonzero(count)) / bins
        if filled < 0.9:
            note = f"in {1 - filled:.0%} of the run no request ended"
            return Window(half.start, finish, False, note)
    # A bin without an end has no latency of its own: carry the one before.
    latency = np.where(count > 0, total / np.maximum(count, 1), np.nan)
    filled_bins = np.flatnonzero(count > 0)
    latency = np.interp(np.arange(bins), filled_bins, latency[filled_bins])
    drop = max(start_up(count), start_up(latency))
    rest_count, rest_latency = count[drop:], latency[drop:]
    window_start = float(edges[drop])
    drifts = {"throughput": drift(rest_count), "latency": drift(rest_latency)}
    name, worst = max(drifts.items(), key=lambda item: abs(item[1]))
    if drop >= bins // 2:
        note = "the start-up phase takes half of the run or more"
        return Window(half.start, finish, False, note)
    if abs(worst) > DRIFT:
        note = (
            f"never became steady: {name} still moved by {worst:+.0%} over the last part of the run"
        )
        return Window(window_start, finish, False, note)
    note = f"dropped the first {window_start - begin:.1f} s of {finish - begin:.1f} s (MSER)"
    return Window(window_start, finish, True, note)

"""Counters against the steady window: what grew, per second and per request, with intervals.

Counters of the machine and of processes are read at ticks. A straight line between the last tick
under load and the first after it would spread the load's CPU into the silence, so a counter is
only ever compared between ticks inside the window, with the requests between these same ticks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.profiler import memory as memory_of
from pretune.advisor.profiler.statistics import BLOCKS, ratio
from pretune.advisor.profiler.steady import Window
from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.profiler.samples import Samples


class Blocks:
    """The window in equal blocks of time, the unit of every interval."""

    def __init__(self, window: Window) -> None:
        self.window = window
        self.length_s = window.length_s / BLOCKS
        self.edges = np.linspace(window.start, window.end, BLOCKS + 1)

    def contain(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        return (times >= self.window.start) & (times < self.window.end)

    def place(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """The block of each time, all inside the window."""
        blocks = np.searchsorted(self.edges, times, side="right") - 1
        return np.clip(blocks, 0, BLOCKS - 1).astype(np.int64)

    def sums(
        self, times: NDArray[np.float64], weights: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        return np.bincount(self.place(times), weights, minlength=BLOCKS).astype(np.float64)

    def ticks(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """For each edge of a block the last tick before it, those outside the window left out."""
        if not len(times):
            return times
        before = np.searchsorted(times, self.edges, side="right") - 1
        chosen = np.unique(times[before[before >= 0]])
        return chosen[chosen >= self.window.start]


def growth(times: NDArray[np.float64], counter: NDArray[np.float64], window: Window) -> float:
    """Growth of a counter over the window, at the rate between its ticks inside; 0 without any.

    A process that came or went during the window grew only while it was there.
    """
    if not len(times) or window.length_s <= 0:
        return 0.0
    inside = np.flatnonzero((times >= window.start) & (times <= window.end))
    if len(inside) < 2:
        first, last = np.interp([window.start, window.end], times, counter)
        return float(last - first)
    first, last = inside[0], inside[-1]
    rate = (counter[last] - counter[first]) / (times[last] - times[first])
    lived = min(window.end, times[-1]) - max(window.start, times[0])
    return float(rate * lived)


def spent(samples: Samples, field: str, window: Window) -> float:
    """Growth of a column of MACHINE over the window; 0 without samples."""
    return growth(samples.machine["time"], samples.machine[field], window)


def per_second(rows: NDArray[np.void], counter: NDArray[np.float64], blocks: Blocks) -> Interval:
    """``counter``, one value for each of ``rows``; UNKNOWN with fewer than two ticks inside."""
    ticks = blocks.ticks(rows["time"])
    if len(ticks) < 2:
        return UNKNOWN
    return ratio(np.diff(np.interp(ticks, rows["time"], counter)), np.diff(ticks))


def per_request(
    ticks: NDArray[np.float64], counter: NDArray[np.float64], ends: NDArray[np.float64]
) -> Interval:
    """``counter`` at the ticks, over the requests that ended between them, at ``ends``."""
    if len(ticks) < 2 or not len(ends):
        return UNKNOWN
    requests, _ = np.histogram(ends, ticks)
    return ratio(np.diff(counter), requests.astype(np.float64))


def workers_cpu(samples: Samples, wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """CPU of all worker processes together at wanted ticks, counted from each one's start.

    A worker that ended keeps its last value. One that appeared after the profiler started counts
    from zero, its boot included: booting under load is part of what a recycled worker costs. What
    the thread that looks at stacks has used is ours, and taken off.
    """
    total = np.zeros(len(wanted))
    rows = samples.processes[samples.processes["role"] == memory_of.WORKER]
    begin = float(samples.processes["time"].min()) if len(samples.processes) else 0.0
    for pid in np.unique(rows["pid"]):
        mine = rows[rows["pid"] == pid]
        born = 0.0 if mine["time"][0] > begin else float(mine["cpu_s"][0])
        total += np.interp(wanted, mine["time"], mine["cpu_s"], left=born)
        if samples.notes is not None:
            total -= samples.notes.cpu_s(int(pid), wanted)
    return total

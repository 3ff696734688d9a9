"""Memory over time from rare exact readings and frequent cheap ones.

smaps_rollup (PSS, USS) is too dear to read often; private memory from statm is not. Between two
readings PSS is taken to move as private memory does, plus an offset that goes in a straight line
from the one reading's to the next's. What the offset does between two readings is not seen: how
far it jumped from one to the next is the error stated with the peak.

Pages of files (libraries, extensions) are counted once for the whole tree and whole. Their PSS
says less: whoever else on this machine runs the same interpreter, this tool too, bears a share of
it that nobody will bear where the app is deployed, and the shares move with every process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pretune.advisor.profiler.processes import ROLES
from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

WORKER = ROLES.index("worker")


class Tree(NamedTuple):
    """Peaks of the whole tree, bytes."""

    pss: Interval  # anonymous and file together
    anon: Interval  # not backed by a file or shared memory; each page once
    file: float  # backed pages, each once


def reconstruct(
    rows: NDArray[np.void], readings: NDArray[np.void], field: str
) -> tuple[NDArray[np.float64], float]:
    """``field`` of one process at the times of its ``rows``, and the typical error; bytes.

    Without any reading the private memory stands in, with an unknown error (NaN).
    """
    private = rows["private_bytes"]
    if not len(readings):
        return private.copy(), float("nan")
    offset = readings[field] - readings["private_bytes"]
    moved = np.interp(rows["time"], readings["time"], offset)
    jumps = np.diff(offset)
    error = float(np.sqrt(np.mean(jumps**2))) / 2 if len(jumps) else 0.0
    return np.maximum(private + moved, 0.0), error


def tree(processes: NDArray[np.void], memory: NDArray[np.void]) -> Tree:
    anon = _peak(processes, memory, "anon_bytes")
    backed = _backed(processes, memory)
    pss = Interval(anon.value + backed, anon.low + backed, anon.high + backed)
    return Tree(pss, anon, backed)


def others_pss(processes: NDArray[np.void], memory: NDArray[np.void]) -> float:
    """Peak of the PSS of all that are not workers: master and zygote."""
    others = processes[processes["role"] != WORKER]
    if len(processes) and not len(others):
        return 0.0  # a server without a master
    return _peak(others, memory, "pss_bytes").value


def others_anon(processes: NDArray[np.void]) -> float:
    """Peak of their anonymous memory, also what they share with workers; NaN without samples."""
    others = processes[processes["role"] != WORKER]
    if len(processes) and not len(others):
        return 0.0
    return _sum_peak(others, "private_bytes")


def backed(rows: NDArray[np.void]) -> NDArray[np.float64]:
    """Resident bytes of one process that a file or shared memory backs."""
    return np.asarray(rows["rss_bytes"] - rows["private_bytes"])


def _peak(processes: NDArray[np.void], memory: NDArray[np.void], field: str) -> Interval:
    if not len(processes):
        return UNKNOWN
    times, tick = np.unique(processes["time"], return_inverse=True)
    total = np.zeros(len(times))
    variance = 0.0
    for pid in np.unique(processes["pid"]):
        mine = processes["pid"] == pid
        estimate, error = reconstruct(processes[mine], memory[memory["pid"] == pid], field)
        total += np.bincount(tick[mine], weights=estimate, minlength=len(times))
        variance += error**2
    peak = float(total.max())
    half = 2 * float(np.sqrt(variance))
    return Interval(peak, max(peak - half, 0.0), peak + half)


def _backed(processes: NDArray[np.void], memory: NDArray[np.void]) -> float:
    """Backed pages of the tree, each once, from below: neither less than the process with most of
    them has, nor less than their PSS together. 0 where the kernel does not tell them apart (before
    Linux 5.3); their PSS is then in the anonymous part."""
    shares = memory["pss_bytes"] - memory["anon_bytes"]
    if not shares.any():
        return 0.0
    times, tick = np.unique(processes["time"], return_inverse=True)
    together = np.zeros(len(times))
    for pid in np.unique(memory["pid"]):
        mine, rows = memory["pid"] == pid, processes["pid"] == pid
        share = np.interp(processes["time"][rows], memory["time"][mine], shares[mine])
        together += np.bincount(tick[rows], weights=share, minlength=len(times))
    return max(float(backed(processes).max()), float(together.max()))


def rss_peak(processes: NDArray[np.void]) -> float:
    """Peak over time of the tree's summed RSS; NaN without samples."""
    return _sum_peak(processes, "rss_bytes")


def _sum_peak(processes: NDArray[np.void], field: str) -> float:
    if not len(processes):
        return float("nan")
    _, tick = np.unique(processes["time"], return_inverse=True)
    return float(np.bincount(tick, weights=processes[field]).max())

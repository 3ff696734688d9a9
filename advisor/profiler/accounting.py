"""Accounting of what a request used, by several counters that should agree: CPU by three clocks,
the database's time by its clients and by itself.

The threads' own clocks say what the requests used; the process clocks add what the workers did
besides (accepting, parsing, collecting, telemetry): the server's overhead. The control group's
account adds master, zygote, children that came and went, and what the kernel did on their behalf
outside of any process clock. The differences are taken block by block, so their intervals are as
narrow as the three clocks agree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.profiler.counters import Blocks, per_request, per_second, workers_cpu
from pretune.advisor.profiler.measurement import CpuAccounting, DatabaseTime
from pretune.advisor.profiler.statistics import ratio
from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.profiler.samples import Samples


def account(
    samples: Samples, telemetry: NDArray[np.void], ends: NDArray[np.float64], blocks: Blocks
) -> CpuAccounting:
    """``telemetry``: records of the window; ``ends``: when the client's requests ended, s."""
    ticks = blocks.ticks(np.unique(samples.processes["time"]))
    workers = per_request(ticks, workers_cpu(samples, ticks), ends)
    inside, overhead = _inside(samples, telemetry, ends, ticks)
    group, other = _group(samples, ends, blocks)
    return CpuAccounting(inside, workers, group, overhead, other)


def database_time(
    samples: Samples, telemetry: NDArray[np.void], ends: NDArray[np.float64], blocks: Blocks
) -> DatabaseTime | None:
    """The drivers' waits beside the server's own account; None where it keeps none."""
    rows = samples.database
    if not len(rows):
        return None
    active = rows["active_s"] - rows["ours_s"]
    ticks = _find_updates(rows["time"], active)
    ticks = ticks[blocks.contain(ticks)]

    def each(counter: NDArray[np.float64]) -> Interval:
        return per_request(ticks, np.interp(ticks, rows["time"], counter), ends)

    return DatabaseTime(
        client_wait_s=_waited(telemetry, blocks),
        server_active_s=each(active),
        server_idle_in_transaction_s=each(rows["idle_in_transaction_s"]),
        transactions=each(rows["transactions"].astype(np.float64)),
        server_delay_s=_delay(rows, ends, blocks),
        sessions_active=per_second(rows, active, blocks),
        others_peak=int(rows["others"].max()),
        pooled_peak=int(rows["pooled"].max()),
    )


def _delay(rows: NDArray[np.void], ends: NDArray[np.float64], blocks: Blocks) -> Interval | None:
    """Read from the kernel, which is always up to date."""
    if not np.isfinite(rows["delay_s"]).all():
        return None
    ticks = blocks.ticks(rows["time"])
    return per_request(ticks, np.interp(ticks, rows["time"], rows["delay_s"]), ends)


def _find_updates(times: NDArray[np.float64], counter: NDArray[np.float64]) -> NDArray[np.float64]:
    """When a look found the counter moved: a session tells the server once a second at most, and
    with few sessions most looks find nothing new."""
    steps = np.diff(counter)
    return np.asarray(times[1:][steps > steps.mean() / 2]) if len(steps) else times


def _waited(telemetry: NDArray[np.void], blocks: Blocks) -> Interval | None:
    if not telemetry["db_calls"].any():
        return None
    ended = telemetry["start"] + telemetry["wall"]
    inside = blocks.contain(ended)
    ended = ended[inside]
    return ratio(blocks.sums(ended, telemetry["db"][inside]), blocks.sums(ended))


def _inside(
    samples: Samples,
    telemetry: NDArray[np.void],
    ends: NDArray[np.float64],
    ticks: NDArray[np.float64],
) -> tuple[Interval, Interval]:
    """Return what the requests say they used, and what the workers used beyond."""
    if len(ticks) < 2 or not len(telemetry) or not len(ends):
        return UNKNOWN, UNKNOWN
    ended = telemetry["start"] + telemetry["wall"]
    cpu, _ = np.histogram(ended, ticks, weights=np.maximum(telemetry["cpu"], 0.0))
    counted, _ = np.histogram(ended, ticks)
    requests, _ = np.histogram(ends, ticks)
    # of all requests: a ring may have lost some, a long run keeps a sample
    whole = cpu * np.where(counted > 0, requests / np.maximum(counted, 1), 0.0)
    counted_requests = requests * (counted > 0)
    grown = np.diff(workers_cpu(samples, ticks)) * (counted > 0)
    return ratio(cpu, counted.astype(np.float64)), _difference(grown, whole, counted_requests)


def _group(
    samples: Samples, ends: NDArray[np.float64], blocks: Blocks
) -> tuple[Interval | None, Interval | None]:
    """The whole group's CPU, and what of it is not the workers'."""
    times, counter = samples.cgroup["time"], samples.cgroup["cpu_s"]
    if not len(times) or not counter[-1] > 0:
        return None, None
    ticks = blocks.ticks(times)
    if len(ticks) < 2 or not len(ends):
        return UNKNOWN, UNKNOWN
    used = np.interp(ticks, times, counter)
    if samples.notes is not None:  # what our own look at stacks has used is not the app's
        for pid in np.unique(samples.notes.cost["pid"]).tolist():
            used -= samples.notes.cpu_s(pid, ticks)
    if len(samples.front):  # in the group, and stated by itself
        used -= np.interp(ticks, samples.front["time"], samples.front["cpu_s"])
    requests, _ = np.histogram(ends, ticks)
    other = _difference(np.diff(used), np.diff(workers_cpu(samples, ticks)), requests)
    return per_request(ticks, used, ends), other


def _difference(
    more: NDArray[np.float64], less: NDArray[np.float64], requests: NDArray[np.int64]
) -> Interval:
    """Per request; it may be negative, by as much as the clocks disagree."""
    return ratio(more - less, requests.astype(np.float64))

"""An application's own lock: what its threads, or coroutines, hold while they wait.

A mutex around a device, a client that serves one call at a time, a pool with a single connection:
of each worker's requests one at a time gets on, however many threads there are. No trial of one
request at a time shows it. The contrast trial does: several threads together answer fewer requests
than the same waits and the same CPU would let them without a lock. How much of a request is under
it is solved for, so that the simulated throughput of that trial is the measured one.

What is solved for is one number, the *part*: up to 1 it is the part of every wait that is under the
lock; above 1 all of every wait is, and beyond that the part of the requests that hold it from
beginning to end, as a connection that is kept over the computing between two queries. One number is
all that one throughput tells; it says nothing of which endpoint holds the lock.

A model that is wrong otherwise misses the throughput, too, so a lock is called only when the
measured one lies below the predicted by more than both are uncertain. And where other processes
took the cores: a thread that waits for a core while it holds anything keeps all others waiting,
so each of them may have lost the run-queue delay of all. What the processes of a local Postgres
stood in a queue is given back as well: that is no lock of the application's.

A lock may be of the process (a mutex, a client) or of the machine (one SQLite file, a lock on a
file, rows that all write). The contrast trial has one worker and cannot tell; trials of several
can: with locks of their own they answer more while cores are free, with one lock they do not.

Under asgi none is looked for. What a loop's turns and its pool of threads cost is modelled within
10%, and a lock that explains such a gap would be taken for a bound that is not there.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pretune.advisor.profiler.measurement import Measurement
from pretune.advisor.quantity import Interval

MOST = 2.0  # every request under the lock from beginning to end: threads are as one
BISECTIONS = 9


@dataclass(frozen=True)
class OwnLock:
    """``seconds``: under the lock per request. ``measured_rps`` of the contrast trial, and what
    the model expected ``without_rps``; ``requests``: at once in the worker. ``shared``: it is one
    of all workers; of ``workers`` together ``workers_rps`` was measured, where locks of their own
    would have let ``apart_rps`` through."""

    part: Interval
    seconds: Interval
    measured_rps: float
    without_rps: float
    requests: int
    shared: bool = False
    workers: int = 0
    workers_rps: float = math.nan
    apart_rps: float = math.nan


# Rates with one lock and with a lock for each worker that differ by less tell nothing.
APART = 1.25


def is_shared(measured_rps: float, one_rps: float, apart_rps: float) -> bool | None:
    """Tell by a trial of several workers whether they share the lock: whether it came nearer to
    what is predicted with one lock than with a lock for each. None where these are alike, as where
    the cores are the limit of both."""
    if not (measured_rps > 0 and one_rps > 0) or apart_rps < APART * one_rps:
        return None
    return measured_rps < math.sqrt(one_rps * apart_rps)


def serial_s(part: float, cpu_s: float, waits_s: float) -> float:
    """Seconds per request under the lock, at least: not what it queues for meanwhile."""
    return min(part, 1.0) * waits_s + max(0.0, part - 1.0) * cpu_s


def solve(
    throughput: Callable[[float], float],
    trial: Measurement,
    busy: int,
    model_error: float,
) -> Interval | None:
    """The part at which ``throughput`` of it, which falls, is the trial's; None: no lock shows.

    ``model_error``: how far a prediction may be off without any lock, relative, at 95%.
    """
    rate = trial.throughput_rps
    if not rate.value > 0:
        return None
    stated = (rate.high - rate.low) / 2 / rate.value
    error = math.hypot(stated if math.isfinite(stated) else math.inf, model_error)
    most = undelayed_rps(trial, busy) * (1 + error)
    if throughput(0.0) <= most:
        return None
    if throughput(MOST) > most:
        return None  # not even with one request at a time: something else holds them up
    value = inverse(throughput, rate.value, MOST)
    return Interval(
        value,
        min(value, inverse(throughput, most, MOST)),
        max(value, inverse(throughput, rate.value * (1 - error), MOST)),
    )


def undelayed_rps(trial: Measurement, busy: int) -> float:
    """Return the rate of a closed trial without the delays of its threads and its Postgres.

    Each delay is of one request inside; of the users, ``busy`` are inside at a time.
    """
    rate, users = trial.throughput_rps.value, trial.load.users
    inside = busy / rate
    if trial.disturbed and trial.window_s > 0:
        inside -= busy * sum(w.run_delay_s for w in trial.workers) / (rate * trial.window_s)
    time = trial.database_time
    if time is not None and time.server_delay_s is not None:
        delay = time.server_delay_s.value
        inside -= delay if math.isfinite(delay) else 0.0
    return min(users, busy) / inside if inside > 0 else math.inf


def inverse(falling: Callable[[float], float], target: float, most: float) -> float:
    """Find where ``falling`` on [0, most] has the value; outside its range, the nearer end."""
    low, high = 0.0, most
    if target >= falling(low):
        return low
    if target <= falling(high):
        return high
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if falling(middle) > target else (low, middle)
    return (low + high) / 2

"""Parts of a server's memory, by regression over trials; and what preload saves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand import leak
from pretune.advisor.demand.values import TRIAL_SCATTER
from pretune.advisor.quantity import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.demand.values import Kind, ServerCost
    from pretune.advisor.profiler.measurement import Measurement

BOOTSTRAPS = 500
# Standard deviation of what preload saves between trials: it depends on which pages the requests
# of a trial write to.
SAVING_SCATTER = 0.05


@dataclass(frozen=True)
class MemoryParts:
    """The parts of process trees; bytes, as in WorkerDemand."""

    fixed: float
    base: Interval
    file: float
    per_thread: Interval
    saving: Interval | None
    zygote: float
    warming: Interval
    first_use: float
    preload_first_use: float


def memory_parts(
    trials: Sequence[Measurement],
    rng: np.random.Generator,
    slope: float = 0.0,
    costs: Mapping[Kind, ServerCost] | None = None,
) -> MemoryParts:
    """Fixed, per worker, per further thread, and what preload saves and costs.

    Pages of files are there once however many processes use them: the most any trial had. Of the
    anonymous ones the master's are there once, with those its workers share of them; the rest of
    a tree belongs to its workers W and their further threads W(T-1), on which it is regressed.
    Trees, not workers, because a page that two share counts half in each. With one T among the
    trials, a further thread is taken to cost anything up to a tenth of a worker, Passenger's rule
    of thumb. Under preload a worker's own pages are those it wrote to after the fork; what else
    the tree holds is there once, in the zygote or in gunicorn's master. How servers preload
    differs, so the saving is of the server on which it was seen: against a plain worker of that
    server, which ``costs`` know where the plain trials ran on another.

    A worker that no request ever reached has not grown by its first use yet.

    ``slope``: bytes per request of a called leak. What leaked in a trial depends on how long it was
    and is none of these parts: it is taken off, and the model adds it for as long as workers live.

    Intervals: each trial's peak redrawn from its own, and what trials of one app differ by at the
    same arrangement; above, also what a worker grows by when it serves more than it did here.
    """
    plain = _with_many_requests([t for t in trials if not t.settings.preload_app])
    preloaded = [t for t in trials if t.settings.preload_app and t.settings.workers > 1]
    file = max(t.file_bytes for t in plain)
    fixed = float(np.mean([_master(t) for t in plain]))
    whole = _draws([_anon(t) for t in plain], rng) - fixed  # draws x trials
    trees = whole - slope * np.array([t.requests_of_living for t in plain])
    workers = np.array([t.settings.workers for t in plain], dtype=np.float64)
    further = np.array([_further_threads(t) for t in plain], dtype=np.float64)
    scatter = rng.normal(0.0, TRIAL_SCATTER, trees.shape) * whole
    scatter[0] = 0.0  # draw 0 is the value
    varied_threads = len(set((further / workers).tolist())) > 1
    columns = [workers, further] if varied_threads else [workers]
    solved = (trees + scatter) @ np.linalg.pinv(np.column_stack(columns)).T  # draws x parts
    base = np.maximum(solved[:, 0], 0.0)
    threads = np.maximum(solved[:, 1], 0.0) if varied_threads else np.zeros(len(solved))
    warming = leak.warming([s.without(slope) for t in plain for s in t.memory_series])
    one = _interval(base + file)
    per_worker = Interval(one.value, one.low, one.high + warming.value)
    per_thread = _interval(threads)
    if not varied_threads and plain[0].settings.interface == "wsgi":
        per_thread = Interval(0.0, 0.0, per_worker.high / 10)
    first_use = _first_use(plain, slope)
    if not preloaded:
        return MemoryParts(fixed, per_worker, file, per_thread, None, 0.0, warming, first_use, 0.0)

    savings, zygotes = [], []
    for t in preloaded:
        w, more = t.settings.workers, _further_threads(t)
        leaked = slope * t.requests_of_living
        served = [u.uss_bytes for u in t.workers if u.requests] or [u.uss_bytes for u in t.workers]
        own = float(np.mean(served)) - leaked / w if served else 0.0
        worker_more, master_more, file_more = _on_its_server(plain[0], t, costs or {}, slope)
        saved = base + worker_more + threads * more / w - own
        savings.append(saved)
        # the one master, what the first worker would have without preload, and each one's own
        accounted = fixed + master_more + file + file_more + float(saved[0])
        accounted += sum(u.uss_bytes for u in t.workers)
        zygotes.append(max(0.0, float(_anon(t).value) + t.file_bytes - accounted))
    saved = np.mean(savings, axis=0)
    scatter = rng.normal(1.0, SAVING_SCATTER, len(saved))
    scatter[0] = 1.0
    saving = _interval(saved * scatter)
    # Pages shared so far are copied when they are written to: it shrinks as traffic goes on.
    touched = leak.warming([s.without(slope) for t in preloaded for s in t.memory_series]).value
    saving = Interval(saving.value, saving.low - touched, saving.high)
    zygote = float(np.mean(zygotes))
    preload_first_use = _first_use(preloaded, slope)
    return MemoryParts(
        fixed, per_worker, file, per_thread, saving, zygote, warming, first_use, preload_first_use
    )


def _with_many_requests(trials: Sequence[Measurement]) -> list[Measurement]:
    """Under asgi those with several requests at once, if there are any: what a loop holds for each
    of them is not told apart, and one user's is no evidence of many's."""
    many = [t for t in trials if t.settings.interface == "asgi" and t.load.users > 1]
    return many or list(trials)


def _on_its_server(
    here: Measurement, trial_on_server: Measurement, costs: Mapping[Kind, ServerCost], slope: float
) -> tuple[float, float, float]:
    """Bytes that a worker, the master and files have more where ``trial_on_server`` ran."""
    a, b = costs.get(here.kind), costs.get(trial_on_server.kind)
    if a is None or b is None or here.kind == trial_on_server.kind:
        return 0.0, 0.0, 0.0
    return (
        b.kept_bytes(slope) - a.kept_bytes(slope),
        b.master_bytes - a.master_bytes,
        b.file_bytes - a.file_bytes,
    )


def _first_use(trials: Sequence[Measurement], slope: float) -> float:
    """Bytes that a worker's own pages grow by between boot and the end of a trial; 0 if unseen."""
    series = [s.without(slope) for t in trials for s in t.memory_series]
    grown = [
        float(s.private_bytes[-1] - s.private_bytes[0])
        for s in series
        if len(s.requests) and s.requests[0] == 0 and s.requests[-1] > 0
    ]
    return max(0.0, float(np.mean(grown))) if grown else 0.0


def _anon(trial: Measurement) -> Interval:
    return trial.pss_bytes if trial.anon_bytes is None else trial.anon_bytes


def _master(trial: Measurement) -> float:
    anon_bytes = trial.master_anon_bytes
    return trial.master_pss_bytes if anon_bytes is None else anon_bytes


def _further_threads(trial: Measurement) -> int:
    """Threads beyond the first, of all workers."""
    if trial.settings.interface != "wsgi":
        return 0
    return trial.settings.workers * (trial.settings.threads - 1)


def postgres_memory(trials: Sequence[Measurement]) -> tuple[Interval, float] | None:
    """A local Postgres: the most a trial saw, and per connection beyond those it had then.

    A backend's own memory is what differs between trials with few and with many connections; with
    one number of connections among the trials nothing can be said of it, and its cost is 0.
    """
    seen = [
        (t.db_pss_bytes, t.pg_connections_peak or 0) for t in trials if t.db_pss_bytes is not None
    ]
    if not seen:
        return None
    memory, connections = (np.array(column, dtype=np.float64) for column in zip(*seen, strict=True))
    each = 0.0
    if np.ptp(connections) > 0:
        slope = float(np.polyfit(connections, memory, 1)[0])
        each = max(0.0, slope)
    # What it holds without the app's connections; above it at most all that was seen.
    idle = memory - each * connections
    value = float(np.mean(idle))
    return Interval(value, float(idle.min()), float(idle.max())), each


def _draws(intervals: Sequence[Interval], rng: np.random.Generator) -> NDArray[np.float64]:
    """Draw 0 is the value, the others are normal about it, each side as wide as the interval's."""
    values = np.array([i.value for i in intervals])
    below = np.nan_to_num(values - [i.low for i in intervals]) / 1.96
    above = np.nan_to_num(np.array([i.high for i in intervals]) - values) / 1.96
    z = rng.standard_normal((BOOTSTRAPS, len(values)))
    z = np.vstack([np.zeros(len(values)), z])
    return np.asarray(values + z * np.where(z > 0, above, below))


def _interval(draws: NDArray[np.float64]) -> Interval:
    """The first draw is the estimate, the others its scatter."""
    value = float(draws[0])
    low, high = np.quantile(draws[1:], (0.025, 0.975))
    return Interval(value, min(float(low), value), max(float(high), value))

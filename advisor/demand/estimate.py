"""What one request and one worker cost: the service demand, from the trials' measurements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand import leak
from pretune.advisor.demand.values import (
    TRIAL_SCATTER,
    TUPLE,
    Demand,
    EndpointDemand,
    WorkerDemand,
)
from pretune.advisor.profiler.statistics import BLOCKS, around, error_of_mean
from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.demand.values import Kind, ServerCost
    from pretune.advisor.profiler.measurement import Measurement
    from pretune.loadtests.workload import Workload

BOOTSTRAPS = 500
# Standard deviation of what preload saves between trials: it depends on which pages the requests
# of a trial write to.
SAVING_SCATTER = 0.05
# Of the threads that would run, those that do when nothing holds them but their cores.
HELD_BACK = 0.85


def assemble(
    workload: Workload,
    demand_trial: Measurement,
    contrast: Measurement | None = None,
    memory_trials: Sequence[Measurement] = (),
    *,
    returned_at_boot_bytes: float = 0.0,
    costs: Mapping[Kind, ServerCost] | None = None,
    seed: int = 1,
) -> Demand:
    """The demand from a trial of one request at a time, and what further trials add.

    ``demand_trial``: one worker, one thread, one user, probes on. ``contrast``: one worker with
    several threads (under asgi: several users), saturated. ``memory_trials``: any others, with
    more workers or with preload. ``returned_at_boot_bytes``: what a process that only imported the
    app gives back when it is asked to (garbage of the import). ``costs``: of servers, where a
    preloaded trial ran on another than the rest. Raises ValueError when the demand
    trial served no request of the workload.

    The parts of a request: ``cpu`` is its own clock; ``db`` the wait in database drivers, at most
    what CPU and run-queue delay leave of the wall time, since drivers burn CPU too and a gathered
    request waits for several answers at once; ``wait`` is the rest of the wall time, outbound
    calls and sleeps alike (``wait_calls`` counts the outbound calls only, which the probes see).
    """
    rng = np.random.default_rng(seed)
    rows = of_workload(demand_trial.telemetry, len(workload.endpoints))
    if len(rows) == 0:
        raise ValueError("the demand trial served no request of the workload")
    tuples = parts_of(rows, demand_trial)
    shares = tuple(e.share for e in workload.endpoints)
    fields = np.column_stack(
        [
            tuples["cpu"],
            tuples["db"],
            tuples["wait"],
            rows["db_calls"].astype(np.float64),
            rows["out_calls"].astype(np.float64),
        ]
    )
    mix, each = means(tuples["endpoint"], fields, shares)
    cpu, db, wait, db_calls, out_calls = mix
    process = demand_trial.cpu_s_per_request
    inside = float(np.mean(demand_trial.telemetry["cpu"]))
    trials = [t for t in (demand_trial, contrast, *memory_trials) if t is not None]
    return Demand(
        tuples=tuples,
        shares=shares,
        cpu_s=cpu,
        cpu_gil_fraction=_gil_fraction(demand_trial, contrast),
        overhead_cpu_s=Interval(
            max(0.0, process.value - inside),
            max(0.0, process.low - inside),
            max(0.0, process.high - inside),
        ),
        db_s=db,
        db_calls=db_calls,
        db_cpu_s=demand_trial.db_cpu_s_per_request,
        wait_s=wait,
        wait_calls=out_calls,
        by_endpoint=_by_endpoint(workload, demand_trial, rows, tuples, each),
        worker=_worker(demand_trial, contrast, trials, returned_at_boot_bytes, costs or {}, rng),
        unloaded_p95_s=_unloaded_p95(demand_trial, rows, tuples["endpoint"], shares),
        # where requests are few most of it is waking up, so many tell it better
        generator_cpu_s=(contrast or demand_trial).generator_cpu_s_per_request,
        served_by=demand_trial.kind,
        costs=costs or {},
    )


def of_workload(telemetry: NDArray[np.void], endpoints: int) -> NDArray[np.void]:
    """Rows of the workload that the app answered, by start; failed ones only if all failed."""
    known = (telemetry["endpoint"] >= 1) & (telemetry["endpoint"] <= endpoints)
    answered = known & (telemetry["status"] > 0) & (telemetry["status"] < 500)
    rows = telemetry[answered if answered.any() else known]
    return rows[np.argsort(rows["start"], kind="stable")]


def parts_of(rows: NDArray[np.void], trial: Measurement) -> NDArray[np.void]:
    """What each request spent on what, of TUPLE. ``rows`` of ``trial``, as ``of_workload`` gave.

    Time in a run queue is no wait, neither the thread's nor that of a local Postgres's sessions.
    """
    return _undelayed(_split(rows), float(np.mean(_delay(rows))), trial)


def _delay(rows: NDArray[np.void]) -> NDArray[np.float64]:
    return np.asarray(np.nan_to_num(rows["runq"], nan=0.0))


def _split(rows: NDArray[np.void]) -> NDArray[np.void]:
    tuples = np.zeros(len(rows), TUPLE)
    cpu = np.maximum(rows["cpu"], 0.0)
    inside = cpu - rows["head"]  # the wall time begins when the head is complete
    left = np.maximum(rows["wall"] - inside - _delay(rows), 0.0)
    db = np.clip(rows["db"], 0.0, left)
    tuples["endpoint"] = rows["endpoint"].astype(np.int64) - 1
    tuples["cpu"], tuples["db"], tuples["wait"] = cpu, db, left - db
    if "pool" in (rows.dtype.names or ()):
        tuples["pool"] = np.clip(rows["pool"], 0.0, cpu)
    return tuples


def _undelayed(tuples: NDArray[np.void], own_s: float, trial: Measurement) -> NDArray[np.void]:
    """The database's time for each request, as if every process had a core at once.

    What a local Postgres stood in the run queue is taken off. But what it did while the request's
    own thread stood there (``own_s``, the mean) is in no wait that the thread saw, and would be
    lost: a thread under a quota is often put off between asking and waiting. So the server's own
    account of being active is a lower bound, by at most ``own_s`` above what was seen. Both are
    known of all requests together; each one's wait is changed in proportion.
    """
    time = trial.database_time
    waited = float(tuples["db"].mean()) if len(tuples) else 0.0
    if time is None or waited <= 0:
        return tuples
    known = time.server_delay_s.value if time.server_delay_s else math.nan
    delay = known if math.isfinite(known) else 0.0
    seen = max(0.0, waited - delay)
    active = time.server_active_s.value - delay
    if math.isfinite(active):
        seen = max(seen, min(active, seen + own_s))
    tuples["db"] *= seen / waited
    return tuples


def means(
    strata: NDArray[np.int64], fields: NDArray[np.float64], shares: Sequence[float]
) -> tuple[list[Interval], list[list[Interval]]]:
    """Means of ``fields`` (rows x fields, in time order) over the mix and within each stratum.

    The mix weighs strata by ``shares``, not by how often they came; a stratum without rows leaves
    its share to the others. Its own means are UNKNOWN, those of a single row have no limits.
    Neighbouring requests are alike (caches, frequency, neighbours): errors are those of blocks of
    consecutive requests, each mean a ratio of sums (a post-stratified estimator, Cochran).
    """
    n, width = fields.shape
    kinds = len(shares)
    blocks = min(n, BLOCKS)
    block = (np.arange(n) * blocks) // n
    cell = block * kinds + strata
    counts = np.bincount(cell, minlength=blocks * kinds).reshape(blocks, kinds, 1)
    sums = np.stack(
        [np.bincount(cell, fields[:, f], minlength=blocks * kinds) for f in range(width)], axis=1
    ).reshape(blocks, kinds, width)

    total = counts.sum(axis=0)  # kinds x 1
    present = total[:, 0] > 0
    values = sums.sum(axis=0) / np.maximum(total, 1)
    residuals = (sums - values * counts) / np.maximum(total / blocks, 1 / blocks)
    weights = np.where(present, np.asarray(shares, dtype=np.float64), 0.0)
    weights = weights / weights.sum() if weights.sum() > 0 else present / present.sum()
    mixed = np.einsum("bkf,k->bf", residuals, weights)
    mix = [
        around(float(value), error_of_mean(mixed[:, f]).half_width)
        for f, value in enumerate(weights @ values)
    ]
    each = [
        [_of_stratum(values[k, f], residuals[:, k, f], int(total[k, 0])) for f in range(width)]
        for k in range(kinds)
    ]
    return mix, each


def _of_stratum(value: float, residuals: NDArray[np.float64], rows: int) -> Interval:
    if not rows:
        return UNKNOWN
    error = error_of_mean(residuals)
    # blocks without a row say nothing about its scatter
    error = error._replace(df=min(error.df, rows - 1.0))
    return around(float(value), error.half_width)


def _interval(draws: NDArray[np.float64]) -> Interval:
    """The first draw is the estimate, the others its scatter."""
    value = float(draws[0])
    low, high = np.quantile(draws[1:], (0.025, 0.975))
    return Interval(value, min(float(low), value), max(float(high), value))


def _by_endpoint(
    workload: Workload,
    trial: Measurement,
    rows: NDArray[np.void],
    tuples: NDArray[np.void],
    each: list[list[Interval]],
) -> tuple[EndpointDemand, ...]:
    seen = {e.name: e for e in trial.by_endpoint}
    found = []
    for i, endpoint in enumerate(workload.endpoints):
        mine = rows[tuples["endpoint"] == i]
        client = seen.get(endpoint.name)
        walls = float(np.quantile(mine["wall"], 0.95)) if len(mine) else math.nan
        p95 = client.latency.p95.value if client is not None and client.latency else walls
        cpu, db, wait, db_calls, _ = each[i]
        found.append(
            EndpointDemand(
                name=endpoint.name,
                share=endpoint.share,
                requests=len(mine),
                cpu_s=cpu,
                db_s=db,
                db_calls=db_calls,
                wait_s=wait,
                unloaded_p95_s=p95,
                response_bytes=float(np.mean(mine["bytes"])) if len(mine) else math.nan,
            )
        )
    return tuple(found)


def _unloaded_p95(
    trial: Measurement,
    rows: NDArray[np.void],
    strata: NDArray[np.int64],
    shares: Sequence[float],
) -> float:
    """As the client saw it; from the server's walls, weighted to the mix, when it has none."""
    if math.isfinite(trial.latency.p95.value):
        return trial.latency.p95.value
    counts = np.bincount(strata, minlength=len(shares))
    weights = (np.asarray(shares) / np.maximum(counts, 1))[strata]
    order = np.argsort(rows["wall"])
    cumulated = np.cumsum(weights[order])
    at = int(np.searchsorted(cumulated, 0.95 * cumulated[-1]))
    return float(rows["wall"][order][min(at, len(rows) - 1)])


def _gil_fraction(demand: Measurement, contrast: Measurement | None) -> Interval:
    """How much of the CPU needs the lock, from how far one process got beyond one core.

    A process cannot hold its lock for more than a second a second, so of U busy cores at most 1/U
    of the CPU needs it: always an upper bound. It is the value too; whether the lock really was
    what held the process at U shows only if more threads were hungry for CPU than it got, and
    neither stood in the run queue nor had others beside them. Without a second core or a second
    thread nothing can be told: value 1 (the careful one), from 0 to 1.
    """
    unknown = Interval(1.0, 0.0, 1.0)
    if contrast is None or contrast.settings.worker_class == "asgi":
        return unknown
    threads, cores = contrast.settings.threads, contrast.conditions.server_cores
    wall = float(np.mean(demand.telemetry["wall"]))
    cpu = demand.cpu_s_per_request.value
    if threads < 2 or cores < 1.5 or contrast.settings.workers != 1 or wall <= 0:
        return unknown
    hungry = min(threads * cpu / max(wall, cpu), cores, float(threads))
    if not hungry > 1.2:
        return unknown
    rate = contrast.throughput_rps
    used = contrast.cpu_s_per_request.value
    busy = Interval(rate.value * used, rate.low * used, rate.high * used)
    queued = sum(w.run_delay_s for w in contrast.workers) / contrast.window_s
    high = min(1.0, 1 / max(busy.low, 1e-9))
    value = min(1.0, 1 / max(busy.value, 1e-9))
    held = not contrast.disturbed and busy.high + queued < HELD_BACK * hungry
    # Held back by the lock, the process still loses up to 15% to passing it on.
    low = min(value, HELD_BACK / max(busy.high, 1e-9)) if held else 0.0
    return Interval(value, low, max(high, value))


def _worker(
    demand: Measurement,
    contrast: Measurement | None,
    trials: Sequence[Measurement],
    returned_at_boot_bytes: float,
    costs: Mapping[Kind, ServerCost],
    rng: np.random.Generator,
) -> WorkerDemand:
    growth = leak.classify(
        [s for t in trials for s in t.memory_series if s.tells_growth(t.settings.preload_app)],
        returned_at_boot=returned_at_boot_bytes,
    )
    slope = growth.slope.value if growth.leak_class == "leak" else 0.0
    parts = memory_parts(trials, rng, slope, costs)
    database, per_connection = postgres_memory(trials) or (Interval.exact(0.0), 0.0)
    workers = [w for t in trials for w in t.workers]
    first = demand.workers or (workers[0],)
    connections = max(w.pg_connections for w in first)
    per_thread_connections = 0.0
    if contrast is not None and contrast.workers:
        loaded = max(w.pg_connections for w in contrast.workers)
        if demand.settings.interface == "asgi":
            # one loop serves all; its pool grows with concurrency, so what counts is saturation
            connections = max(connections, loaded)
        elif contrast.settings.threads > 1:
            further = contrast.settings.threads - 1
            per_thread_connections = max(0.0, (loaded - connections) / further)
    return WorkerDemand(
        base_pss_bytes=parts.base,
        per_thread_bytes=parts.per_thread,
        fixed_pss_bytes=parts.fixed,
        preload_saving_bytes=parts.saving,
        leak_slope_bytes_per_request=growth.slope,
        leak_class=growth.leak_class,
        boot_s=max(w.boot_s for w in workers),
        shutdown_s=max((w.shutdown_s for w in workers if w.shutdown_s is not None), default=0.0),
        fds=max(w.fds for w in first),
        pg_connections=connections,
        pg_connections_per_thread=per_thread_connections,
        shared_file_bytes=parts.file,
        preload_once_bytes=parts.zygote,
        first_use_bytes=parts.first_use,
        preload_first_use_bytes=parts.preload_first_use,
        warming_bytes=parts.warming,
        db_pss_bytes=database,
        db_pss_bytes_per_connection=per_connection,
    )


@dataclass(frozen=True)
class MemoryParts:
    """What the trees are made of; bytes, as in WorkerDemand."""

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
    plain = _of_many([t for t in trials if not t.settings.preload_app])
    preloaded = [t for t in trials if t.settings.preload_app and t.settings.workers > 1]
    file = max(t.file_bytes for t in plain)
    fixed = float(np.mean([_master(t) for t in plain]))
    whole = _draws([_anon(t) for t in plain], rng) - fixed  # draws x trials
    trees = whole - slope * np.array([t.requests_of_living for t in plain])
    workers = np.array([t.settings.workers for t in plain], dtype=np.float64)
    further = np.array([_further(t) for t in plain], dtype=np.float64)
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
        w, more = t.settings.workers, _further(t)
        leaked = slope * t.requests_of_living
        served = [u.uss_bytes for u in t.workers if u.requests] or [u.uss_bytes for u in t.workers]
        own = float(np.mean(served)) - leaked / w if served else 0.0
        worker_more, master_more, file_more = _elsewhere(plain[0], t, costs or {}, slope)
        saved = base + worker_more + threads * more / w - own
        savings.append(saved)
        # the one master, what the first worker would have without preload, and each one's own
        known = fixed + master_more + file + file_more + float(saved[0])
        known += sum(u.uss_bytes for u in t.workers)
        zygotes.append(max(0.0, float(_anon(t).value) + t.file_bytes - known))
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


def _of_many(trials: Sequence[Measurement]) -> list[Measurement]:
    """Under asgi those with several requests at once, if there are any: what a loop holds for each
    of them is not told apart, and one user's is no evidence of many's."""
    many = [t for t in trials if t.settings.interface == "asgi" and t.load.users > 1]
    return many or list(trials)


def _elsewhere(
    here: Measurement, there: Measurement, costs: Mapping[Kind, ServerCost], slope: float
) -> tuple[float, float, float]:
    """What a worker, the master and files have more where ``there`` ran; bytes."""
    a, b = costs.get(here.kind), costs.get(there.kind)
    if a is None or b is None or here.kind == there.kind:
        return 0.0, 0.0, 0.0
    return (
        b.kept_bytes(slope) - a.kept_bytes(slope),
        b.master_bytes - a.master_bytes,
        b.file_bytes - a.file_bytes,
    )


def _first_use(trials: Sequence[Measurement], slope: float) -> float:
    """What a worker's own pages grow by between its boot and the end of a trial; 0 if unseen."""
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
    known = trial.master_anon_bytes
    return trial.master_pss_bytes if known is None else known


def _further(trial: Measurement) -> int:
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

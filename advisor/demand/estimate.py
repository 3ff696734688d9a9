"""The service demand, from the trials' measurements: the cost of one request and one worker."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand import leak
from pretune.advisor.demand.gil import gil_fraction
from pretune.advisor.demand.memory import memory_parts, postgres_memory
from pretune.advisor.demand.requests import describe_thin, means, select_workload, split_rows
from pretune.advisor.demand.values import Demand, EndpointDemand, WorkerDemand
from pretune.advisor.quantity import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.demand.values import Kind, ServerCost
    from pretune.advisor.profiler.measurement import Measurement
    from pretune.loadtests.workload import Workload


# Over the rate that a full pool allows to requests which hold it throughout: more gets through only
# where they give it back before their end.
THROUGHOUT = 1.1


def assemble(
    workload: Workload,
    demand_trial: Measurement,
    contrast: Measurement | None = None,
    memory_trials: Sequence[Measurement] = (),
    *,
    returned_at_boot_bytes: float = 0.0,
    costs: Mapping[Kind, ServerCost] | None = None,
    pool_most: int | None = None,
    per_thread: bool = False,
    seed: int = 1,
) -> Demand:
    """The demand from a trial of one request at a time, and what further trials add.

    ``demand_trial``: one worker, one thread, one user, probes on. ``contrast``: one worker with
    several threads (under asgi: several users), saturated. ``memory_trials``: any others, with
    more workers or with preload. ``returned_at_boot_bytes``: what a process that only imported the
    app gives back when it is asked to (garbage of the import). ``costs``: of servers, where a
    preloaded trial ran on another than the rest. ``pool_most``: connections to Postgres that the
    app's own pools let a worker have; ``per_thread``: each thread has one of its own, however
    briefly. Raises ValueError when the demand trial served no request of the workload.

    The parts of a request: ``cpu`` is its own clock; ``db`` the wait in database drivers, at most
    what CPU and run-queue delay leave of the wall time, since drivers burn CPU too and a gathered
    request waits for several answers at once; ``wait`` is the rest of the wall time, outbound
    calls and sleeps alike (``wait_calls`` counts the outbound calls only, which the probes see).
    """
    rng = np.random.default_rng(seed)
    rows = select_workload(demand_trial.telemetry, len(workload.endpoints))
    if len(rows) == 0:
        raise ValueError("the demand trial served no request of the workload")
    tuples = split_rows(rows, demand_trial)
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
        cpu_gil_fraction=gil_fraction(demand_trial, contrast),
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
        worker=replace(
            _worker(
                demand_trial, contrast, trials, returned_at_boot_bytes, costs or {}, rng, per_thread
            ),
            pg_most=pool_most,
            most_inside=_held_up_by_pool(contrast, pool_most, cpu.value + db.value + wait.value),
        ),
        unloaded_p95_s=_unloaded_p95(demand_trial, rows, tuples["endpoint"], shares),
        # where requests are few most of it is waking up, so many tell it better
        generator_cpu_s=(contrast or demand_trial).generator_cpu_s_per_request,
        served_by=demand_trial.kind,
        costs=costs or {},
    )


def _held_up_by_pool(
    contrast: Measurement | None, pool_most: int | None, request_s: float
) -> int | None:
    """Requests that get on at once, where all of a pool was in use and no more got through than
    hold a connection throughout; None where the pool held nobody up, or not for the whole request.
    """
    if contrast is None or not pool_most or not request_s > 0:
        return None
    held = max((w.pg_connections for w in contrast.workers), default=0)
    at_once = contrast.load.users
    if contrast.settings.interface == "wsgi":
        at_once = min(at_once, contrast.settings.threads)
    throughout = contrast.throughput_rps.low <= THROUGHOUT * pool_most / request_s
    return pool_most if held >= pool_most and at_once > pool_most and throughout else None


def describe_unmeasured(workload: Workload, demand_trial: Measurement) -> str:
    """Say which part of the traffic the demand trial has hardly seen; "" where it has seen all."""
    rows = select_workload(demand_trial.telemetry, len(workload.endpoints))
    counts = np.bincount(rows["endpoint"], minlength=len(workload.endpoints) + 1)[1:]
    names = [endpoint.name for endpoint in workload.endpoints]
    return describe_thin(names, [each.share for each in workload.endpoints], counts.tolist())


def _by_endpoint(
    workload: Workload,
    trial: Measurement,
    rows: NDArray[np.void],
    tuples: NDArray[np.void],
    each: list[list[Interval]],
) -> tuple[EndpointDemand, ...]:
    seen = {e.name: e for e in trial.by_endpoint}
    demands = []
    for i, endpoint in enumerate(workload.endpoints):
        mine = rows[tuples["endpoint"] == i]
        client = seen.get(endpoint.name)
        walls = float(np.quantile(mine["wall"], 0.95)) if len(mine) else math.nan
        p95 = client.latency.p95.value if client is not None and client.latency else walls
        cpu, db, wait, db_calls, _ = each[i]
        demands.append(
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
    return tuple(demands)


def _unloaded_p95(
    trial: Measurement,
    rows: NDArray[np.void],
    strata: NDArray[np.int64],
    shares: Sequence[float],
) -> float:
    """The p95 that the client saw; of the server's walls, weighted to the mix, when it has none."""
    if math.isfinite(trial.latency.p95.value):
        return trial.latency.p95.value
    counts = np.bincount(strata, minlength=len(shares))
    weights = (np.asarray(shares) / np.maximum(counts, 1))[strata]
    order = np.argsort(rows["wall"])
    cumulated = np.cumsum(weights[order])
    at = int(np.searchsorted(cumulated, 0.95 * cumulated[-1]))
    return float(rows["wall"][order][min(at, len(rows) - 1)])


def _worker(
    demand: Measurement,
    contrast: Measurement | None,
    trials: Sequence[Measurement],
    returned_at_boot_bytes: float,
    costs: Mapping[Kind, ServerCost],
    rng: np.random.Generator,
    per_thread: bool,
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
    if connections == 0 and (demand.telemetry["db_calls"] > 0).any():
        connections = 1  # opened and closed between two looks
    per_thread_connections = 0.0
    if contrast is not None and contrast.workers:
        loaded = max(w.pg_connections for w in contrast.workers)
        if demand.settings.interface == "asgi":
            # one loop serves all; its pool grows with concurrency, so what counts is saturation
            connections = max(connections, loaded)
        elif contrast.settings.threads > 1:
            further = contrast.settings.threads - 1
            per_thread_connections = max(0.0, (loaded - connections) / further)
            if per_thread and connections:
                per_thread_connections = max(1.0, per_thread_connections)
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

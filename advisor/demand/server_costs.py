"""Server costs: what a server adds to the app, and a demand moved to another server.

Two servers are compared by the same two trials of the same app on both: one user, and one worker
with several requests at once. What differs, of CPU per request with one user and of memory with
several, is what changes when the app moves; what several requests at once add to a request's CPU is
learned there (``advisor.model.cpu``). Where the trial of one user is missing, CPU is compared with
several. A request of nothing would be quicker to measure, but understates it: of the two servers
here it showed 105 us where a request of 2 ms showed 120 to 180, with caches that the app had used.

Some of a server's work comes after the answer, beside what the client does with that: with one user
the server's and the generator's CPU together are then more than the whole cycle. What they are more
by is what a request is not held up by (``tail_cpu_s``).

Workers of class sync accept a connection for every request and close it, and their requests are
served by one process after the other. What that costs depends on the app (up to 65% of a request,
with ten apps on gunicorn), so it is measured, too: three such workers, saturated, so that each goes
on with the next request when one is done. With one user they show what it costs more to begin in
another process than the last one, with cold caches, and to wake all for what one gets
(``wake_cpu_s``). Their memory is read after few requests; what a worker grows by after so many is
taken from the other class's trial.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.demand.values import Kind, ServerCost
from pretune.advisor.quantity import Z95, Interval

if TYPE_CHECKING:
    from pretune.advisor.demand.values import Demand, WorkerDemand
    from pretune.advisor.observations import Observations
    from pretune.advisor.profiler.measurement import Measurement, MemorySeries

# Between two trials minutes apart CPU per request scatters by so much, relatively.
SCATTER = 0.03
# Of three sync workers that were started again it scatters more: four pairs of runs on a quiet
# machine, an hour apart, differed by 4% to 32%.
SYNC_SCATTER = 0.16
# Without a trial: of ten apps' sync workers the dearest cost so many times what gthread's did.
SYNC_MOST = 1.65
# Of a cycle of one user: with less CPU in it, what its waits scatter by is more than any tail.
TAIL_VISIBLE = 0.4


def cost_of(trial: Measurement) -> ServerCost | None:
    """None when it says nothing."""
    if trial.requests == 0 or not math.isfinite(trial.cpu_s_per_request.value):
        return None
    anon = trial.anon_bytes.value if trial.anon_bytes is not None else trial.pss_bytes.value
    master = trial.master_anon_bytes or 0.0
    return ServerCost(
        cpu_s=trial.cpu_s_per_request,
        generator_cpu_s=trial.generator_cpu_s_per_request,
        worker_bytes=(anon - master) / trial.settings.workers,
        master_bytes=master,
        file_bytes=trial.file_bytes,
        requests=trial.requests_of_living / trial.settings.workers,
        further_threads=trial.settings.threads - 1,
    )


def learn_costs(observations: Observations) -> dict[Kind, ServerCost]:
    """Costs of every server and class among a run's trials; {} with nothing to compare.

    Where class sync was not measured it is taken to cost what the same server's gthread does.
    """
    costs: dict[Kind, ServerCost] = {}
    series: dict[Kind, tuple[MemorySeries, ...]] = {}
    for trial in observations.saturated():
        if (cost := cost_of(trial)) is not None:
            costs[trial.kind] = cost
            series[trial.kind] = trial.memory_series
    waits = _waits(observations.demand)
    alone = observations.alone
    if alone is not None:
        one = (observations.demand, alone)
        if all(t.kind in costs and cost_of(t) is not None for t in one):
            for t in one:
                costs[t.kind] = _with_one_user(costs[t.kind], t, waits)
    busy, single = observations.sync, observations.sync_alone
    server = next((t.conditions.server for t in (busy, single) if t is not None), None)
    for (other_server, kind), cost in list(costs.items()):
        if kind != "gthread" or not (other_server == server or len(costs) > 1):
            continue
        mine = (busy, single) if other_server == server else (None, None)
        costs[other_server, "sync"] = _of_sync(cost, *mine, series[other_server, kind], waits)
    return costs if len(costs) > 1 else {}


def _with_one_user(cost: ServerCost, trial: Measurement, waits: float | None) -> ServerCost:
    """The generator's cost stays that of several: it is what competes with a local Postgres."""
    return replace(cost, cpu_s=trial.cpu_s_per_request, tail_cpu_s=_tail(trial, waits))


def _waits(trial: Measurement) -> float | None:
    """Seconds of one user's cycle that are neither the server's CPU nor the generator's."""
    if not trial.throughput_rps.value > 0:
        return None
    cycle, generator = _cycle(trial)
    return max(0.0, cycle - generator - trial.cpu_s_per_request.value)


def _tail(trial: Measurement, waits: float | None) -> float:
    """Return the time of server and generator together, where waiting does not hide it."""
    cycle, generator = _cycle(trial)
    cpu = trial.cpu_s_per_request.value
    if waits is None or not cpu > TAIL_VISIBLE * cycle:
        return 0.0
    return min(generator, max(0.0, cpu + generator + waits - cycle))


def _cycle(trial: Measurement) -> tuple[float, float]:
    """Seconds of a user's cycle, and of the generator's CPU in it."""
    return trial.load.users / trial.throughput_rps.value, trial.generator_cpu_s_per_request


def _of_sync(
    threaded: ServerCost,
    busy_trial: Measurement | None,
    alone_trial: Measurement | None,
    threaded_series: Iterable[MemorySeries],
    waits: float | None,
) -> ServerCost:
    busy = None if busy_trial is None else cost_of(busy_trial)
    if busy is None:
        cpu_s = threaded.cpu_s
        most = max(cpu_s.high, SYNC_MOST * cpu_s.value)
        return replace(threaded, cpu_s=Interval(cpu_s.value, cpu_s.low, most))
    more = tail = 0.0
    if alone_trial is not None and (alone := cost_of(alone_trial)) is not None:
        # any of them is woken, so one in as many is the last one again
        others = 1 - 1 / alone_trial.settings.workers
        more = max(0.0, alone.cpu_s.value - busy.cpu_s.value) / max(others, 0.5)
        tail = _tail(alone_trial, waits)
    half = Z95 * SYNC_SCATTER * busy.cpu_s.value
    cpu_s = Interval(
        busy.cpu_s.value,
        max(0.0, busy.cpu_s.value - math.hypot(busy.cpu_s.value - busy.cpu_s.low, half)),
        busy.cpu_s.value + math.hypot(busy.cpu_s.high - busy.cpu_s.value, half),
    )
    return replace(
        busy,
        cpu_s=cpu_s,
        worker_bytes=busy.worker_bytes + _grown(threaded_series, busy.requests),
        requests=max(busy.requests, threaded.requests),
        wake_cpu_s=more,
        tail_cpu_s=tail,
    )


def _grown(series: Iterable[MemorySeries], since: float) -> float:
    """Bytes that a worker of this trial grew by after so many requests."""
    grown = [
        max(0.0, float(s.anon_bytes[-1] - np.interp(since, s.requests, s.anon_bytes)))
        for s in series
        if s.anon_bytes is not None and len(s.requests)
    ]
    return sum(grown) / len(grown) if grown else 0.0


def on_server(demand: Demand, server: str, worker_class: str) -> Demand:
    """``demand`` as it would be there; unchanged where one of the two costs is not known."""
    wanted = (server, worker_class)
    cost_on_server, here = demand.costs.get(wanted), demand.costs.get(demand.served_by)
    if wanted == demand.served_by or cost_on_server is None or here is None:
        return demand
    return replace(
        demand,
        served_by=wanted,
        overhead_cpu_s=_moved(demand.overhead_cpu_s, here.cpu_s, cost_on_server.cpu_s),
        generator_cpu_s=max(
            0.0, demand.generator_cpu_s + cost_on_server.generator_cpu_s - here.generator_cpu_s
        ),
        wake_cpu_s=cost_on_server.wake_cpu_s,
        tail_cpu_s=cost_on_server.tail_cpu_s,
        worker=_worker(demand.worker, here, cost_on_server),
    )


def _moved(x: Interval, here: Interval, cost_on_server: Interval) -> Interval:
    change = cost_on_server.value - here.value
    half = Z95 * SCATTER * math.hypot(here.value, cost_on_server.value)
    below = math.hypot(
        x.value - x.low, cost_on_server.value - cost_on_server.low, here.high - here.value, half
    )
    above = math.hypot(
        x.high - x.value, cost_on_server.high - cost_on_server.value, here.value - here.low, half
    )
    value = max(0.0, x.value + change)
    return Interval(value, max(0.0, value - below), value + above)


def _worker(worker: WorkerDemand, here: ServerCost, cost_on_server: ServerCost) -> WorkerDemand:
    """Move a worker's demand; the memory of a trial's further threads is in no difference."""
    files = cost_on_server.file_bytes - here.file_bytes
    slope = worker.leak_slope_bytes_per_request.value if worker.leak_class == "leak" else 0.0
    anon = cost_on_server.kept_bytes(slope) - here.kept_bytes(slope)
    anon -= (cost_on_server.further_threads - here.further_threads) * worker.per_thread_bytes.value
    base = worker.base_pss_bytes
    return replace(
        worker,
        base_pss_bytes=Interval(
            base.value + anon + files, base.low + anon + files, base.high + anon + files
        ),
        shared_file_bytes=worker.shared_file_bytes + files,
        fixed_pss_bytes=max(
            0.0, worker.fixed_pss_bytes + cost_on_server.master_bytes - here.master_bytes
        ),
    )

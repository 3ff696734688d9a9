"""What is true of a trial of the known applications, and the pairs with what the tool says.

Three sources: the law (an app that draws its costs), the app's diary (what it really spent: a
sleep lasts a little longer than asked for), and the other repeats of the same minutes, pooled,
for what nobody can know beforehand (percentiles of latency, memory).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.measurement.apps.work import KINDS, LEAKED, NUMBER, Kind
from bench.measurement.pairs import Pair
from bench.measurement.stage import Trial
from pretune.advisor.demand import estimate as demand
from pretune.advisor.demand.values import Demand
from pretune.advisor.profiler.measurement import Latency, Measurement
from pretune.advisor.quantity import Interval
from pretune.loadtests.workload import Workload

QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
MIB = 1 << 20
# Of one object of 500 bytes: CPython's allocator puts 31 blocks of 512 bytes into a pool of 16 KiB
# and keeps 48 bytes of it.
LEAK_BYTES = (1 << 14) / (((1 << 14) - 48) // (-(-LEAKED // 16) * 16))


@dataclass(frozen=True)
class Costs:
    """Of one request of a kind, seconds."""

    cpu: float
    wait: float
    db: float


@dataclass(frozen=True)
class Repeat:
    """A trial with the demand the tool makes of it, when it was a demand trial."""

    trial: Trial
    demand: Demand | None
    held_bytes: float = 0.0


def repeat(workload: Workload, trial: Trial, *, held_mib: int = 0, alone: bool = True) -> Repeat:
    """``alone``: a trial of one request at a time, from which demand can be learned."""
    found = demand.assemble(workload, trial.measured) if alone else None
    return Repeat(trial, found, float(held_mib * MIB))


def kind_of(name: str) -> Kind:
    return KINDS[NUMBER[name.strip("/")]]


def costs(diary: NDArray[np.void], kind: Kind) -> Costs:
    """By the law where there is one, beyond it by the diary: whose rows are those of one thread.

    CPU is what the thread spent from the end of the request before to the end of this one.
    """
    rows = np.flatnonzero(diary["kind"] == NUMBER[kind.name])
    rows = rows[rows > 0]
    spent = diary["left"][rows] - diary["left"][rows - 1]
    mine = diary[rows]
    return Costs(
        cpu=kind.cpu + float(np.mean(spent - mine["cpu_drawn"])),
        wait=kind.wait + float(np.mean(mine["wait"] + mine["out"] - mine["wait_drawn"])),
        db=float(np.mean(mine["db"])),
    )


def of_demand(where: str, workload: Workload, one: Repeat) -> list[Pair]:
    """CPU, waits, database and calls per request: of each endpoint, and of the mix."""
    found, diary = one.demand, one.trial.diary
    assert found is not None
    pairs = []
    mixed = np.zeros(5)
    for endpoint, said in zip(workload.endpoints, found.by_endpoint, strict=True):
        kind = kind_of(endpoint.name)
        true = costs(diary, kind)
        mixed += endpoint.share * np.array(
            [true.cpu, true.wait, true.db, float(kind.queries), float(kind.calls)]
        )
        if kind.cpu:
            # of the others nearly all is writing and reading, and the diary, which cannot see
            # where one request's ends, gives a request the writing of the one before
            pairs.append(Pair("cpu_s of an endpoint", where, said.cpu_s, true.cpu))
        if kind.wait or kind.calls:
            pairs.append(Pair("wait_s of an endpoint", where, said.wait_s, true.wait))
        if kind.queries:
            pairs.append(Pair("db_s of an endpoint", where, said.db_s, true.db))
            calls = float(kind.queries)
            pairs.append(Pair("db_calls of an endpoint", where, said.db_calls, calls))
        client = one.trial.client
        sizes = client["bytes"][client["endpoint"] == 1 + workload.endpoints.index(endpoint)]
        size = Interval.exact(said.response_bytes)
        pairs.append(Pair("response_bytes of an endpoint", where, size, float(np.mean(sizes))))
    held = max(kind_of(endpoint.name).connections for endpoint in workload.endpoints)
    if held and (said := one.trial.measured.pg_connections_interval) is not None:
        pairs.append(Pair("connections held", where, said, float(held)))
    mix = (found.cpu_s, found.wait_s, found.db_s, found.db_calls, found.wait_calls)
    names = ("cpu_s", "wait_s", "db_s", "db_calls", "wait_calls")
    pairs += [
        Pair(f"{name} of the mix", where, said, float(true))
        for name, said, true in zip(names, mix, mixed, strict=True)
        if true > 0
    ]
    return pairs


def gil_fraction(name: str, measured: Measurement) -> float:
    """Of a trial of one kind alone: what is not burned free of the lock needs it."""
    kind = KINDS[NUMBER[name]]
    return 1 - kind.cpu * kind.free / measured.cpu_s_per_request.value


def needless_wait(workload: Workload, one: Repeat) -> float:
    """The longest wait reported for an endpoint that never waits, seconds."""
    assert one.demand is not None
    return max(
        said.wait_s.value
        for endpoint, said in zip(workload.endpoints, one.demand.by_endpoint, strict=True)
        if (kind := kind_of(endpoint.name)).wait == kind.calls == kind.queries == 0
    )


def of_the_others(
    where: str, workload: Workload, one: Repeat, others: Sequence[Repeat]
) -> list[Pair]:
    """What is known of a load only from more of it: throughput, latency, memory."""
    measured = one.trial.measured
    client = np.concatenate([other.trial.client for other in others])
    seconds = sum(other.trial.window.length_s for other in others)
    pairs = [Pair("throughput", where, measured.throughput_rps, len(client) / seconds)]
    pairs += _latency("latency, {}", where, measured.latency, client)
    for number, said in enumerate(measured.by_endpoint, start=1):
        if said.latency is not None:
            mine = client[client["endpoint"] == number]
            pairs += _latency("latency of an endpoint, {}", where, said.latency, mine)
    spent = sum(t.cpu_s_per_request.value * t.requests for t in _measured(others))
    requests = sum(t.requests for t in _measured(others))
    pairs.append(Pair("process CPU", where, measured.cpu_s_per_request, spent / requests))
    if one.demand is not None:
        empty = [
            other.demand.worker.base_pss_bytes.value - other.held_bytes
            for other in others
            if other.demand is not None
        ]
        base = one.demand.worker.base_pss_bytes
        pairs.append(
            Pair("memory of a worker", where, base, float(np.mean(empty)) + one.held_bytes)
        )
    return pairs


def of_leak(where: str, one: Repeat) -> list[Pair]:
    assert one.demand is not None
    slope = one.demand.worker.leak_slope_bytes_per_request
    return [Pair("leak slope", where, slope, LEAK_BYTES)]


def _measured(repeats: Sequence[Repeat]):  # type: ignore[no-untyped-def]
    return [r.trial.measured for r in repeats]


def _latency(name: str, where: str, said: Latency, client: NDArray[np.void]) -> list[Pair]:
    walls = client["wall"]
    pairs = [Pair(name.format("mean"), where, said.mean, float(walls.mean()))]
    for quantile, share in QUANTILES.items():
        truth = float(np.quantile(walls, share))
        pairs.append(Pair(name.format(quantile), where, getattr(said, quantile), truth))
    return pairs

"""Measurements with known truth, made by hand."""

from __future__ import annotations

import numpy as np

from pretune.advisor.profiler.measurement import (
    Conditions,
    Latency,
    Measurement,
    Role,
    WorkerMeasurement,
)
from pretune.advisor.profiler.telemetry import RECORD
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.loadtests.workload import Endpoint, Load, Workload
from pretune.server.settings import Settings

MIB = 1 << 20
EXACT = Interval.exact
WORKLOAD = Workload((Endpoint("/cheap", ("/cheap",), 0.8), Endpoint("/dear", ("/dear",), 0.2)))


def telemetry(n: int = 4000, seed: int = 1, dear: float = 0.5) -> np.ndarray:
    """Cheap: 2 ms CPU; dear: 10 ms CPU, 20 ms database in 4 calls, 5 ms elsewhere."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(n, RECORD)
    is_dear = rng.random(n) < dear
    rows["seq"] = np.arange(1, n + 1)
    rows["start"] = np.arange(n) * 0.01
    rows["endpoint"] = np.where(is_dear, 2, 1)
    rows["cpu"] = np.where(is_dear, 0.010, 0.002) * rng.lognormal(-0.02, 0.2, n)
    rows["db"] = np.where(is_dear, 0.020, 0.0)
    rows["db_calls"] = np.where(is_dear, 4, 0)
    rows["out"] = np.where(is_dear, 0.003, 0.0)
    rows["out_calls"] = np.where(is_dear, 1, 0)
    rows["runq"] = 0.0001
    rows["wall"] = rows["cpu"] + rows["db"] + rows["runq"] + np.where(is_dear, 0.005, 0.0)
    rows["status"] = 200
    rows["bytes"] = np.where(is_dear, 9000, 1000)
    return rows


def worker(**changes: float) -> WorkerMeasurement:
    fields = {
        "pid": 1, "boot_s": 0.5, "requests": 100, "cpu_s": 1.0, "pss_bytes": 50 * MIB,
        "uss_bytes": 45 * MIB, "rss_bytes": 70 * MIB, "fds": 12, "threads": 1,
        "pg_connections": 1, "shutdown_s": None,
    }  # fmt: skip
    return WorkerMeasurement(**{**fields, **changes})  # type: ignore[arg-type]


def measurement(
    settings: Settings,
    *,
    rows: np.ndarray | None = None,
    pss: float = 60 * MIB,
    rps: float = 100.0,
    cpu_s: float = 0.0045,
    cores: float = 1.0,
    workers: tuple[WorkerMeasurement, ...] | None = None,
) -> Measurement:
    nothing = Latency(UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN)
    return Measurement(
        name="demand", role=Role.DEMAND, settings=settings, load=Load(1, 10.0),
        conditions=Conditions(cores, 0, True, False), steady=True, steady_note="", window_s=10.0,
        requests=1000, throughput_rps=EXACT(rps), latency=nothing, error_rate=0.0, errors=(),
        by_endpoint=(), pss_bytes=Interval(pss, pss * 0.99, pss * 1.01), rss_bytes=2 * pss,
        master_pss_bytes=10.0 * MIB, kernel_bytes=0.0,
        workers=workers or tuple(worker() for _ in range(settings.workers)), memory_series=(),
        pg_connections_peak=None, pg_idle_in_transaction_peak=None, db_cpu_s_per_request=None,
        cpu_s_per_request=Interval(cpu_s, cpu_s * 0.98, cpu_s * 1.02),
        telemetry=telemetry() if rows is None else rows, telemetry_lost=0, generator_cpu=0.01,
        generator_saturated=False, disturbed="",
    )  # fmt: skip

"""The run as one plain dict: report.json, version 1. Every renderer reads this and nothing else."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import is_dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pretune.advisor.demand import server_costs as costs
from pretune.advisor.demand.allocation_sites import Holders
from pretune.advisor.demand.breakdown import EndpointInside, Host, Inside
from pretune.advisor.demand.values import Demand, EndpointDemand
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.preflight.target import Target
from pretune.advisor.profiler.measurement import Conditions, Latency, Measurement
from pretune.advisor.quantity import Interval
from pretune.advisor.recommendation import fleet
from pretune.advisor.recommendation import today as todays
from pretune.advisor.recommendation.fleet import Fleet
from pretune.advisor.recommendation.today import Today
from pretune.advisor.recommendation.values import Recommendation
from pretune.advisor.resources.budget import Budget, Slo
from pretune.advisor.resources.postgres import PostgresLimits
from pretune.advisor.reverse_proxy import checks as front_checks
from pretune.advisor.reverse_proxy.values import Checks, Fronted
from pretune.advisor.run import Row, Run, Trial
from pretune.loadtests.workload import Workload

SCHEMA = 1
SERIES_POINTS = 400


def assemble(run: Run) -> dict[str, Any]:
    """The document, ready for ``reports.document.write``."""
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "tool": f"pretune {version('pretune')}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": run.seed,
        "target": _target(run.spec, run.target),
        "machine": _machine(run.cpu_steal),
        "budget": _budget(run.budget),
        "database": _database(run.database),
        "slo": _slo(run.slo, run.slo_source),
        "workload": _workload(run.workload),
        "boot_memory": _boot_memory(run),
        "demand": _demand(run.demand, run.inside),
        "extrapolation": _plain(run.extrapolation),
        "holders": None if run.holders is None else _holders(run.holders),
        "allocators": [_plain(vars(saving)) for saving in run.allocators],
        "trials": [_trial(t) for t in run.trials],
        "candidates": [
            {
                "settings": c.settings.to_json(),
                "predicted": _predicted(c.predicted),
                "rejected_by": c.rejected_by,
            }
            for c in run.candidates
        ],
        "recommendation": _recommendation(run.recommendation),
        "fleet": _fleet(run.fleet, run.budget),
        "verification": _verification(run),
        "server_costs": _plain(costs.to_json(run.server_costs)),
        "front": _front(run.front),
        "baselines": [
            {
                "name": b.name,
                "settings": b.settings.to_json(),
                "predicted": _predicted(b.predicted),
                "violates": list(b.violates),
            }
            for b in run.baselines
        ],
        "today": _today(run.today),
        "findings": [
            {
                "id": f.id,
                "severity": f.severity,
                "title": f.title,
                "evidence": _plain(f.evidence),
                "fix": f.fix,
            }
            for f in run.findings
        ],
        "verdict": str(run.verdict),
        "failure": None if run.failure is None else vars(run.failure).copy(),
        "notes": list(run.notes),
        "gate": None if run.gate is None else {"checks": [_plain(c) for c in run.gate]},
        "files": dict(run.files),
        "series": _series([t.measurement for t in run.trials]),
    }
    return document


def _target(spec: str, target: Target | None) -> dict[str, Any]:
    if target is None:
        return {"spec": spec}
    return {
        "spec": spec,
        "chdir": str(target.chdir),
        "python": str(target.python),
        "interface": target.interface,
        "framework": target.framework,
        "callable_name": target.callable_name,
        "file": str(target.file) if target.file else None,
        "python_version": target.python_version,
        "boot_s": target.boot_s,
    }


def _machine(cpu_steal: float | None) -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "ram_bytes": pages,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu_steal": cpu_steal,
    }


def _budget(budget: Budget | None) -> dict[str, Any] | None:
    if budget is None:
        return None
    return {
        "ram_bytes": budget.ram_bytes,
        "cores": budget.cores,
        "cpu_factor": budget.cpu_factor,
        "pg_connections": budget.pg_connections,
        "fds": budget.fds,
        "instances": budget.instances,
        "reserve_bytes": budget.reserve_bytes,
        "sources": dict(budget.sources),
    }


def _database(database: PostgresLimits | None) -> dict[str, Any] | None:
    if database is None:
        return None
    return {
        "version": database.version,
        "local": database.local,
        "max_connections": database.max_connections,
        "superuser_reserved": database.superuser_reserved,
        "reserved": database.reserved,
        "role_limit": database.role_limit,
        "database_limit": database.database_limit,
        "others_in_use": database.others_in_use,
        "available": database.available,
        "pooler": _fields(database.pooler),
    }


def _slo(slo: Slo | None, source: str) -> dict[str, Any] | None:
    if slo is None:
        return None
    return {
        "p95_ms": None if slo.p95_s is None else slo.p95_s * 1e3,
        "source": source,
        "error_rate": slo.error_rate,
        "rps": slo.rps,
    }


def _workload(workload: Workload | None) -> dict[str, Any] | None:
    if workload is None:
        return None
    return {
        "source": workload.source,
        "assumption": workload.assumption,
        "endpoints": [
            {"name": e.name, "share": e.share, "paths": list(e.paths), "method": e.method}
            for e in workload.endpoints
        ],
        "skipped": [{"name": s.name, "reason": s.reason} for s in workload.skipped],
        "headers": dict(workload.headers),
    }


def _demand(demand: Demand | None, inside: Inside | None) -> dict[str, Any] | None:
    if demand is None:
        return None
    worker = demand.worker
    return {
        "cpu_s": demand.cpu_s.to_json(),
        "cpu_gil_fraction": demand.cpu_gil_fraction.to_json(),
        "overhead_cpu_s": demand.overhead_cpu_s.to_json(),
        "db_s": demand.db_s.to_json(),
        "db_calls": demand.db_calls.to_json(),
        "db_cpu_s": _optional(demand.db_cpu_s),
        "front_cpu_s": demand.front_cpu_s.to_json(),
        "wait_s": demand.wait_s.to_json(),
        "wait_calls": demand.wait_calls.to_json(),
        "by_endpoint": [
            _endpoint_demand(e) | _endpoint_inside(inside.endpoint(e.name) if inside else None)
            for e in demand.by_endpoint
        ],
        "inside": _inside(inside),
        "worker": {
            "base_pss_bytes": worker.base_pss_bytes.to_json(),
            "per_thread_bytes": worker.per_thread_bytes.to_json(),
            "fixed_pss_bytes": _finite(worker.fixed_pss_bytes),
            "preload_saving_bytes": _optional(worker.preload_saving_bytes),
            "leak_slope_bytes_per_request": worker.leak_slope_bytes_per_request.to_json(),
            "leak_class": worker.leak_class,
            "boot_s": _finite(worker.boot_s),
            "shutdown_s": _finite(worker.shutdown_s),
            "fds": worker.fds,
            "pg_connections": worker.pg_connections,
            "pg_connections_per_thread": worker.pg_connections_per_thread,
            "shared_file_bytes": _finite(worker.shared_file_bytes),
            "preload_once_bytes": _finite(worker.preload_once_bytes),
            "first_use_bytes": _finite(worker.first_use_bytes),
            "preload_first_use_bytes": _finite(worker.preload_first_use_bytes),
            "warming_bytes": worker.warming_bytes.to_json(),
            "db_pss_bytes": worker.db_pss_bytes.to_json(),
            "db_pss_bytes_per_connection": _finite(worker.db_pss_bytes_per_connection),
            "front_pss_bytes": worker.front_pss_bytes.to_json(),
        },
        "unloaded_p95_s": _finite(demand.unloaded_p95_s),
        "generator_cpu_s": _finite(demand.generator_cpu_s),
    }


def _boot_memory(run: Run) -> dict[str, Any] | None:
    """What was weighed, beside a worker that has booted and not served yet."""
    if run.boot_memory is None:
        return None
    booted = [
        float(series.anon_bytes[0])
        for trial in run.trials
        for series in trial.measurement.memory_series
        if series.anon_bytes is not None and len(series.requests) and series.requests[0] == 0
    ]
    return {
        **_plain(run.boot_memory),
        "worker_anon_bytes": booted[0] if booted else None,
    }


def _holders(found: Holders) -> dict[str, Any]:
    return {
        "lines": [_plain(vars(line)) for line in found.lines],
        "bytes_per_request": found.bytes_per_request,
        "requests": found.requests,
    }


def _endpoint_demand(endpoint: EndpointDemand) -> dict[str, Any]:
    return {
        "name": endpoint.name,
        "share": endpoint.share,
        "requests": endpoint.requests,
        "cpu_s": endpoint.cpu_s.to_json(),
        "db_s": endpoint.db_s.to_json(),
        "db_calls": endpoint.db_calls.to_json(),
        "wait_s": endpoint.wait_s.to_json(),
        "unloaded_p95_s": _finite(endpoint.unloaded_p95_s),
        "response_bytes": _finite(endpoint.response_bytes),
    }


def _endpoint_inside(inside: EndpointInside | None) -> dict[str, Any]:
    if inside is None:
        return {}
    return {
        "routes": list(inside.routes),
        "out_s": inside.out_s.to_json(),
        "other_s": inside.other_s.to_json(),
        "hosts": [_host(h) for h in inside.hosts],
        "lines": [_plain(vars(line)) for line in inside.lines],
        "held_fraction": _optional(inside.held_fraction),
    }


def _host(host: Host) -> dict[str, Any]:
    return {"host": host.name, "calls": host.calls.to_json(), "wait_s": host.wait_s.to_json()}


def _inside(inside: Inside | None) -> dict[str, Any] | None:
    """What belongs to no endpoint."""
    if inside is None:
        return None
    loop, contention = inside.loop, inside.contention
    return {
        "out_s": inside.out_s.to_json(),
        "other_s": inside.other_s.to_json(),
        "hosts": [_host(h) for h in inside.hosts],
        "loop": loop
        and {**_plain(vars(loop)), "blocking": [_plain(vars(b)) for b in loop.blocking]},
        "contention": contention and _plain(vars(contention)),
        "looks": inside.looks,
        "late_fraction": inside.late_fraction,
        "looking_core_fraction": inside.looking_core_fraction,
    }


def _trial(trial: Trial) -> dict[str, Any]:
    measurement = trial.measurement
    return {
        "name": measurement.name,
        "settings": measurement.settings.to_json(),
        "load": {
            "users": measurement.load.users,
            "duration_s": measurement.load.duration_s,
            "seed": measurement.load.seed,
            "think_s": measurement.load.think_s,
            "rps": measurement.load.rps,
            "ramp_s": measurement.load.ramp_s,
        },
        "conditions": _plain(vars(measurement.conditions)),
        "predicted": None if trial.predicted is None else _predicted(trial.predicted),
        "measured": _measured(measurement),
    }


def _measured(m: Measurement) -> dict[str, Any]:
    return {
        "throughput_rps": m.throughput_rps.to_json(),
        "latency_ms": _latency(m.latency),
        "error_rate": _finite(m.error_rate) or 0.0,
        "error_rate_interval": m.error_interval.to_json(),
        "pss_bytes": m.pss_bytes.to_json(),
        "rss_bytes": _finite(m.rss_bytes),
        "master_pss_bytes": _finite(m.master_pss_bytes),
        "anon_bytes": _optional(m.anon_bytes),
        "file_bytes": _finite(m.file_bytes),
        "master_anon_bytes": _finite(m.master_anon_bytes),
        "db_pss_bytes": _finite(m.db_pss_bytes),
        "kernel_bytes": _finite(m.kernel_bytes),
        "pg_connections_peak": m.pg_connections_peak,
        "pg_connections_interval": _optional(m.pg_connections_interval),
        "pg_idle_in_transaction_peak": m.pg_idle_in_transaction_peak,
        "cpu_s_per_request": m.cpu_s_per_request.to_json(),
        "db_cpu_s_per_request": _optional(m.db_cpu_s_per_request),
        "requests": m.requests,
        "window_s": m.window_s,
        "steady": m.steady,
        "steady_note": m.steady_note,
        "disturbed": m.disturbed,
        "generator_cpu": _finite(m.generator_cpu),
        "generator_saturated": m.generator_saturated,
        "errors": [{"what": what, "count": count} for what, count in m.errors],
        "by_endpoint": [
            {
                "name": e.name,
                "requests": e.requests,
                "errors": e.errors,
                "latency_ms": None if e.latency is None else _latency(e.latency),
            }
            for e in m.by_endpoint
        ],
        "workers": [_plain(vars(w)) for w in m.workers],
        "worker_exits": dict(m.worker_exits),
        "telemetry_lost": m.telemetry_lost,
        "stopped_under_load": m.stopped_under_load,
        "database_time": _fields(m.database_time),
        "cpu_accounting": _fields(m.cpu_accounting),
        "surroundings": _fields(m.surroundings),
        "front": _fields(m.front),
    }


def _predicted(prediction: Prediction) -> dict[str, Any]:
    return {
        "users": prediction.users,
        "throughput_rps": prediction.throughput_rps.to_json(),
        "latency_ms": _latency(prediction.latency),
        "pss_bytes": prediction.pss_bytes.to_json(),
        "ram_bytes": prediction.ram_bytes.to_json(),
        "pg_connections": prediction.pg_connections,
        "fds": prediction.fds,
        "utilisation": {name: _finite(x) for name, x in prediction.utilisation},
        "binding": prediction.binding,
        "explanation": prediction.explanation,
        "rps": prediction.rps,
    }


def _recommendation(recommendation: Recommendation | None) -> dict[str, Any] | None:
    if recommendation is None:
        return None
    return {
        "settings": recommendation.settings.to_json(),
        "predicted": _predicted(recommendation.predicted),
        "binding": recommendation.binding,
        "headroom": {name: _finite(x) for name, x in recommendation.headroom},
        "reasons": dict(recommendation.reasons),
        "deployment": [vars(advice).copy() for advice in recommendation.deployment],
    }


def _today(today: Today | None) -> dict[str, Any] | None:
    if today is None:
        return None
    predicted = None if today.predicted is None else _predicted(today.predicted)
    return {**todays.to_json(today), "predicted": predicted}


def _fleet(found: Fleet | None, budget: Budget | None) -> dict[str, Any] | None:
    if found is None or budget is None:
        return None
    database = found.database
    return {
        "instances": found.instances,
        "asked": found.asked,
        "rps": found.rps,
        "needed": found.needed,
        "capacity_rps": found.capacity_rps.to_json(),
        "each_rps": found.each_rps,
        "each": _predicted(found.each),
        "headroom": found.headroom,
        "cores": found.cores,
        "ram_bytes": found.ram_bytes,
        "carries": found.carries,
        "database": database
        and {
            **_plain(vars(database)),
            "pooler": database.pooler,
            "enough": database.enough,
        },
        "sentences": list(fleet.sentences(found, budget)),
    }


def _front(found: Fronted | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "name": found.name,
        "version": found.version,
        "cost": _fields(found.cost),
        "told": _fields(found.told),
        "checks": _front_checks(found.checks),
    }


def _front_checks(checks: Checks | None) -> dict[str, Any] | None:
    if checks is None:
        return None
    return {
        "settings": checks.settings.to_json(),
        "slow": checks.slow,
        "file_bytes": checks.file_bytes,
        "upload_bytes": front_checks.LARGE_UPLOAD_BYTES,
        "slow_s": front_checks.SLOW_S,
        "rows": [{**_plain(vars(row)), "better": row.better} for row in checks.rows],
    }


def _verification(run: Run) -> dict[str, Any] | None:
    verification = run.verification
    if verification is None:
        return None
    cores = run.budget.cores if run.budget else None
    trial = _trial(verification.trial)
    return {
        **{key: trial[key] for key in ("settings", "load", "conditions", "predicted", "measured")},
        "holds": not verification.misses,
        "misses": list(verification.misses),
        "rows": [_row(row) for row in verification.rows],
        "worker_class": verification.worker_class,
        "slo_p95_ms": None if verification.p95_s is None else verification.p95_s * 1e3,
        "server": run.server,
        "note": _where(verification.trial.measurement.conditions, cores),
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "limit": _plain(row.limit),
        "value": _plain(row.value),
        "kept": row.kept,
        "promised": row.promised,
    }


def _where(conditions: Conditions, cores: float | None) -> str:
    """On what part of the budget's cores the trial could run."""
    here = conditions.server_cores
    if cores is None or here == cores:
        return ""
    plural = "" if here == 1 else "s"
    return f"on {here:g} core{plural}; the budget has {cores:g}"


def _series(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Thinned for the report's charts; the raw samples are kept beside it."""
    memory = []
    for measurement in measurements:
        for series in measurement.memory_series:
            step = max(1, len(series.requests) // SERIES_POINTS)
            memory.append(
                {
                    "trial": measurement.name,
                    "pid": series.pid,
                    "time_s": series.time_s[::step].tolist(),
                    "requests": series.requests[::step].tolist(),
                    "private_bytes": series.private_bytes[::step].tolist(),
                }
            )
    return {"memory": memory}


def _latency(latency: Latency) -> dict[str, Any]:
    return {
        name: getattr(latency, name).scaled(1e3).to_json() for name in ("mean", "p50", "p95", "p99")
    }


def _optional(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else interval.to_json()


def _finite(x: float | None) -> float | None:
    return float(x) if x is not None and math.isfinite(x) else None


def _fields(value: Any) -> Any:
    """A dataclass of plain values and further dataclasses."""
    return None if value is None else _plain(vars(value))


def _plain(value: Any) -> Any:
    """JSON's own types: intervals, dataclasses, tuples and numpy scalars are turned into them."""
    if isinstance(value, Interval):
        return value.to_json()
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(v) for name, v in vars(value).items()}
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float):
        return _finite(value)
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)

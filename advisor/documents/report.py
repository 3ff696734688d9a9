"""The run as one plain dict: report.json, version 1. Every renderer reads this and nothing else."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from pretune.advisor.documents.demand import write_boot_memory, write_demand
from pretune.advisor.documents.plain import move, plain
from pretune.advisor.documents.trial import write_series, write_trial, write_verification
from pretune.advisor.recommendation.fleet import describe_fleet
from pretune.advisor.recommendation.today import Today
from pretune.advisor.resources.budget import Slo
from pretune.advisor.run import Run

SCHEMA = 1


def assemble(run: Run) -> dict[str, Any]:
    """The document, ready for ``reports.document.write``."""
    return {
        "schema": SCHEMA,
        "tool": f"pretune {version('pretune')}",
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": run.seed,
        "target": {"spec": run.spec, **(plain(run.target) or {})},
        "machine": _machine(run.cpu_steal),
        "budget": plain(run.budget),
        "database": plain(run.database),
        "slo": _slo(run.slo, run.slo_source),
        "workload": plain(run.workload),
        "boot_memory": write_boot_memory(run),
        "demand": write_demand(run.demand, run.breakdown),
        "extrapolation": plain(run.extrapolation),
        "holders": plain(run.holders),
        "allocators": plain(run.allocators),
        "trials": [write_trial(trial) for trial in run.trials],
        "candidates": plain(run.candidates),
        "recommendation": plain(run.recommendation),
        "fleet": _fleet(run),
        "verification": write_verification(run),
        "headline": plain(run.headline),
        "server_costs": [
            {"server": server, "worker_class": worker_class, **plain(cost)}
            for (server, worker_class), cost in run.server_costs.items()
        ],
        "front": plain(run.front),
        "baselines": plain(run.baselines),
        "today": _today(run.today),
        "findings": plain(run.findings),
        "verdict": str(run.verdict),
        "failure": plain(run.failure),
        "notes": list(run.notes),
        "gate": None,  # judged from the document
        "files": dict(run.files),
        "series": write_series([trial.measurement for trial in run.trials]),
    }


def _machine(cpu_steal: float | None) -> dict[str, Any]:
    return {
        "cores": len(os.sched_getaffinity(0)),
        "ram_bytes": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpu_steal": plain(cpu_steal),
    }


def _slo(slo: Slo | None, source: str) -> dict[str, Any] | None:
    if slo is None:
        return None
    return move({**plain(slo), "source": source}, first=("p95_ms", "source"))


def _fleet(run: Run) -> dict[str, Any] | None:
    if run.fleet is None or run.budget is None:
        return None
    return {**plain(run.fleet), "sentences": list(describe_fleet(run.fleet, run.budget))}


def _today(today: Today | None) -> dict[str, Any] | None:
    """The deployment as it was read, and as the model took it, in one object."""
    if today is None:
        return None
    return move(
        {**plain(today), **plain(today.deployed)},
        first=("server", "where", "application", "on", "why", "settings"),
        last=("violates", "predicted", "difference"),
    )

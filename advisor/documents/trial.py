"""Trials, predicted beside measured; the verification; workers' memory over the time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pretune.advisor.documents.plain import milliseconds, plain
from pretune.advisor.profiler.measurement import Conditions, Measurement
from pretune.advisor.run import Run, Trial

SERIES_POINTS = 400


def write_trial(trial: Trial) -> dict[str, Any]:
    measured = plain(trial.measurement)
    return {
        **{key: measured.pop(key) for key in ("name", "settings", "load", "conditions")},
        "predicted": plain(trial.predicted),
        "measured": measured,
    }


def write_verification(run: Run) -> dict[str, Any] | None:
    verification = run.verification
    if verification is None:
        return None
    trial = write_trial(verification.trial)
    del trial["name"]
    half = None
    if verification.half is not None:
        half = {**write_trial(verification.half), "rows": plain(verification.half_rows)}
        for same in ("name", "settings", "conditions"):
            del half[same]
    return {
        **trial,
        "holds": verification.holds,
        "misses": list(verification.misses),
        "not_shown": list(verification.not_shown),
        "rows": plain(verification.rows),
        "half": half,
        "why_no_half": verification.why_no_half,
        "worker_class": verification.worker_class,
        "slo_p95_ms": milliseconds(verification.p95_s),
        "server": run.server,
        "note": _where(
            verification.trial.measurement.conditions, run.budget.cores if run.budget else None
        ),
    }


def _where(conditions: Conditions, cores: float | None) -> str:
    """On what part of the budget's cores the trial could run."""
    here = conditions.server_cores
    if cores is None or here == cores:
        return ""
    plural = "" if here == 1 else "s"
    return f"on {here:g} core{plural}; the budget has {cores:g}"


def write_series(measurements: Sequence[Measurement]) -> dict[str, Any]:
    """Thinned for the report's charts; the raw samples are kept beside it."""
    memory = []
    for measurement in measurements:
        for series in measurement.memory_series:
            step = max(1, len(series.requests) // SERIES_POINTS)
            thinned = replace(
                series,
                time_s=series.time_s[::step],
                requests=series.requests[::step],
                private_bytes=series.private_bytes[::step],
            )
            memory.append({"trial": measurement.name, **plain(thinned)})
    return {"memory": memory}

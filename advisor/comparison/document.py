"""A comparison as one plain dict: comparison.json, version 1. Whoever renders reads only this."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pretune.advisor.comparison.disruption import Disruption
from pretune.advisor.comparison.entry import QUANTITIES, Entry, Result, Turn
from pretune.advisor.comparison.lifecycle import Check, Lifecycle
from pretune.advisor.comparison.rounds import Ratio, over_rounds, pairs
from pretune.advisor.documents.plain import mapping, plain
from pretune.advisor.documents.report import assemble as assemble_run
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.scenario import discipline
from pretune.advisor.preflight.servers import EMBEDDED
from pretune.advisor.quantity import Interval

SCHEMA = 1
# of a run's document, as it stands there
TAKEN = (
    "tool", "created", "seed", "target", "machine", "budget", "database", "slo", "workload",
    "demand", "trials", "verdict", "failure", "notes", "files",
)  # fmt: skip
METHOD = (
    "In each round every server has its turn, in a changing order. Figures are geometric means "
    "over the rounds with Student's t intervals. Two servers are compared by their ratios in "
    "the same rounds; there is no difference where the 95% interval of that ratio includes 1. "
    "Each pair is judged by itself."
)


def assemble(result: Result) -> dict[str, Any]:
    """Ready for ``reports.comparison.write``."""
    whole = assemble_run(result.run)
    costs = {c["server"]: c for c in whole["server_costs"] if c["worker_class"] != "sync"}
    return {
        "schema": SCHEMA,
        **{key: whole[key] for key in TAKEN},
        "method": METHOD,
        "users": result.users,
        "rounds": max((len(entry.turns) for entry in result.entries), default=0),
        "time_budget_s": result.time_budget_s,
        "took_s": result.took_s,
        "server_cores": _server_cores(whole),
        "embedded_cost": costs.get(EMBEDDED),
        "servers": [_entry(entry, costs.get(entry.name)) for entry in result.entries],
        "absent": plain(result.absent),
        "pairs": plain(compared(result.entries)),
    }


def compared(entries: Sequence[Entry]) -> list[Ratio]:
    """Compare every pair of measured servers in every quantity; the best capacity first.

    What was only measured "at least" has no place among capacities that were.
    """
    ratios = []
    for quantity in QUANTITIES:
        measured = [
            entry
            for entry in entries
            if entry.done and not (quantity == "capacity_rps" and entry.at_least)
        ]
        values = {entry.name: entry.by_round(quantity) for entry in measured}
        rounds = min((len(v) for v in values.values()), default=0)
        ratios += pairs(quantity, {name: v[:rounds] for name, v in values.items()})
    return ratios


def _server_cores(whole: Mapping[str, Any]) -> float | None:
    """That every trial ran on."""
    trials = whole["trials"]
    return trials[0]["conditions"]["server_cores"] if trials else None


def _entry(entry: Entry, cost: Mapping[str, Any] | None) -> dict[str, Any]:
    recommendation = entry.recommendation
    settings = entry.settings
    return {
        "name": entry.name,
        "version": entry.server.version,
        "label": entry.server.label,
        "settings": plain(settings),
        "worker_class": None
        if settings is None
        else entry.server.worker_class(settings.worker_class),
        "reasons": mapping(recommendation.reasons if recommendation else ()),
        "figures": {name: plain(over_rounds(entry.by_round(name))) for name in QUANTITIES},
        "at_least": entry.at_least,
        "pg_connections": max(
            (t.measured.pg_connections_peak or 0 for t in entry.done), default=None
        ),
        "predicted": None if recommendation is None else _predicted(recommendation.predicted),
        "predicted_alike": None if entry.alike is None else _predicted(entry.alike),
        "errors": _errors(entry),
        "rounds": [None if turn is None else _turn(turn) for turn in entry.turns],
        "discipline": _discipline(entry),
        "cost": None if cost is None else dict(cost),
        "lifecycle": _lifecycle(entry.lifecycle),
        "failure": entry.failure,
    }


def _predicted(prediction: Prediction) -> dict[str, Any]:
    """Write the predicted figures that can be set beside measured ones."""
    return {
        "users": prediction.users,
        "throughput_rps": plain(prediction.throughput_rps),
        "p95_s": plain(prediction.latency.p95),
        "pss_bytes": plain(prediction.pss_bytes),
    }


def _errors(entry: Entry) -> dict[str, Any]:
    """Measured over predicted, less 1; over the rounds, at the users alike for all and, of the
    first round, at the users that were predicted to be the most within the SLO."""
    errors: dict[str, Any] = {}
    if entry.alike is not None and entry.done:
        sentences = {
            "throughput_rps": entry.alike.throughput_rps,
            "p95_s": entry.alike.latency.p95,
            "pss_bytes": entry.alike.pss_bytes,
        }
        for name, predicted in sentences.items():
            errors[f"{name}_alike"] = _off(over_rounds(entry.by_round(name)), predicted)
    if entry.recommendation is not None:
        most = entry.recommendation.predicted
        steps = [s for t in entry.done for s in t.steps if s.users == most.users and s.enough]
        if steps:
            rates = over_rounds([step.throughput_rps for step in steps])
            late = over_rounds([step.p95_s for step in steps])
            errors["throughput_rps_at_most"] = _off(rates, most.throughput_rps)
            errors["p95_s_at_most"] = _off(late, most.latency.p95)
    return errors


def _off(measured: Interval, predicted: Interval) -> dict[str, Any]:
    """``inside``: the measured value lies in the predicted interval."""
    value = plain(measured.value)
    if value is None or not predicted.value > 0:
        return {"error_fraction": None, "inside": None}
    return {
        "error_fraction": value / predicted.value - 1,
        "inside": bool(predicted.contains(value)),
    }


def _turn(turn: Turn) -> dict[str, Any]:
    return {
        "trial": turn.trial,
        "disturbed": turn.measured.disturbed,
        "steps": [
            {
                "users": step.users,
                "throughput_rps": step.throughput_rps,
                "p95_s": plain(step.p95_s),
                "requests": step.requests,
                "errors": step.errors,
                "generator_cpu": step.generator,
            }
            for step in turn.steps
        ],
        "capacity": plain(turn.crossing),
    }


def _discipline(entry: Entry) -> dict[str, Any] | None:
    """Write how the model takes it to hand out requests, and the share of the busiest worker."""
    if entry.settings is None:
        return None
    assumed = plain(discipline(entry.name, entry.settings))
    shares = []
    for turn in entry.done:
        served = [worker.requests for worker in turn.measured.workers]
        if sum(served):
            shares.append(max(served) / sum(served))
    share = over_rounds(shares) if shares else None
    return {
        "assumed": assumed,
        "workers": entry.settings.workers,
        "busiest_worker_share": plain(share),
    }


def _lifecycle(lifecycle: Lifecycle) -> dict[str, Any]:
    return {
        "reload": _check(lifecycle.reload),
        "recycling": _check(lifecycle.recycling),
        "term": _check(lifecycle.term),
        "boot": None
        if lifecycle.boot is None
        else {**plain(lifecycle.boot), "seen": lifecycle.boot.seen},
    }


def _check(check: Check | None) -> dict[str, Any] | None:
    if check is None:
        return None
    return {
        "tried": check.disruption is not None,
        "note": check.note,
        **({} if check.disruption is None else _disruption(check.disruption)),
    }


def _disruption(disruption: Disruption) -> dict[str, Any]:
    return {
        "requests": disruption.requests,
        "lost": disruption.lost_count,
        "lost_fraction": plain(disruption.lost_fraction),
        "kinds": mapping(disruption.lost),
        "kept_closed": disruption.kept,
        "refused": disruption.refused,
        "took_s": disruption.took_s,
        "p95_before_s": plain(disruption.p95_before_s),
        "p95_s": plain(disruption.p95_s),
        "slowest_s": plain(disruption.slowest_s),
        "events": disruption.events,
    }

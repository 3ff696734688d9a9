"""The reasons for the winning arrangement, and the complete settings with a sentence for each.

The search decides workers, threads, class, preload and recycling; ``derived`` has the settings that
follow from the predicted load and the measured requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from pretune.advisor.demand.values import Demand, loop_cpu_s
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.quantity import counted, format_bytes, format_rate, format_seconds
from pretune.advisor.recommendation import derived, tail
from pretune.advisor.recommendation.derived import ONE_IN_A_MILLION
from pretune.advisor.recommendation.evidence import Evidence
from pretune.advisor.recommendation.reason_inputs import ReasonInputs
from pretune.advisor.recommendation.tail import Tail
from pretune.advisor.recommendation.values import Candidate
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.settings import Settings

ABSURD = 2.0  # times the budget: beyond it a leak is told, not an amount
_Predicate = Callable[[Settings], bool]


class Derived(NamedTuple):
    """The complete settings, and for each that has an effect on the server of the answer a sentence
    and the evidence. Where that server does not have the setting, the sentence says so."""

    settings: Settings
    reasons: tuple[tuple[str, str], ...]
    evidence: tuple[tuple[str, Evidence], ...]


def derive(
    question: Question,
    winner: Settings,
    prediction: Prediction,
    candidates: Sequence[Candidate],
) -> Derived:
    """All that follows from the winning arrangement."""
    fitted = request_tail(question.demand, winner, prediction, question.seed)
    inputs = ReasonInputs(question, winner, prediction, tuple(candidates), fitted)
    recycled, jitter = derived.settle_max_requests(inputs)
    settled = {
        "timeout": derived.settle_timeout(inputs),
        "graceful_timeout": derived.settle_graceful_timeout(inputs),
        "keepalive": derived.settle_keepalive(inputs),
        "max_requests": recycled,
        "backlog": derived.settle_backlog(inputs),
        "worker_connections": derived.settle_worker_connections(inputs),
    }
    preload, why_preload = _preload(inputs)
    values: dict[str, Any] = {name: setting.value for name, setting in settled.items()}
    settings = inputs.server.attainable(
        replace(winner, **values, max_requests_jitter=jitter, preload_app=preload)
    )
    reasons = {
        "worker_class": _worker_class(inputs),
        "workers": _workers(inputs),
        "threads": _threads(inputs),
        "timeout": settled["timeout"].reason,
        "graceful_timeout": settled["graceful_timeout"].reason,
        "keepalive": settled["keepalive"].reason,
        "max_requests": recycled.reason,
        "max_requests_jitter": derived.explain_jitter(inputs, settings),
        "preload_app": why_preload,
        "backlog": settled["backlog"].reason,
        "worker_connections": settled["worker_connections"].reason,
    }
    for name, hindrance in inputs.server.impossible(settings).items():
        if reasons.get(name):
            reasons[name] = f"{reasons[name].rstrip('.')}; not as it is set: {hindrance}"
    lacking = lacks(inputs.server.name)
    if inputs.leaks:
        lacking.pop("max_requests", None)
    reasons.update({name: says for name, says in lacking.items() if reasons.get(name)})
    return Derived(
        settings,
        tuple((name, sentence) for name, sentence in reasons.items() if sentence),
        tuple((n, each.evidence) for n, each in settled.items() if each.evidence and reasons[n]),
    )


def lacks(server: str) -> dict[str, str]:
    """Settings that a server of the field does not have, and what happens there instead."""
    server_facts = SERVERS.get(server)
    if server_facts is None:
        return {}
    return {
        name: f"{server} has no such setting. {meaning.says}"
        for name, meaning in server_facts.settings.items()
        if not meaning.option and name != "workers"
    }


def request_tail(
    demand: Demand, settings: Settings, prediction: Prediction, seed: int
) -> Tail | None:
    """The tail of the time that ``timeout`` limits, at the predicted load.

    Measured unloaded, every request's time is stretched by as much as the load stretches the 99th
    percentile, at the upper end. Under asgi only CPU holds the loop, so only CPU counts.
    """
    rows = demand.tuples
    overhead = max(0.0, demand.overhead_cpu_s.value)
    whole = rows["cpu"] + rows["db"] + rows["wait"] + overhead
    if len(whole) == 0:
        return None
    alone = float(np.quantile(whole, 0.99))
    loaded = prediction.latency.p99.high
    stretch = max(1.0, loaded / alone) if math.isfinite(loaded) and alone > 0 else 1.0
    times = loop_cpu_s(rows) if settings.worker_class == "asgi" else whole
    return tail.fit(
        np.asarray(times * stretch, dtype=np.float64), (0.999, ONE_IN_A_MILLION), seed=seed
    )


def _worker_class(inputs: ReasonInputs) -> str:
    settings = inputs.settings
    if settings.worker_class == "asgi":
        return "the application is ASGI: one event loop per worker."
    if settings.worker_class == "sync":
        return (
            "one request at a time per worker is enough here, and threads gain nothing. Put a "
            "buffering proxy in front, because a silent connection blocks a sync worker."
        )
    sync = _best(inputs, lambda s: s.worker_class == "sync")
    if sync is None:
        keeps = "" if inputs.kind.closes else "keep connections alive and "
        return f"threads {keeps}overlap waiting within one worker."
    return (
        f"the best sync arrangement tried ({counted(sync.settings.workers, 'worker')}) "
        f"{_would(inputs, sync)}, {_ram_of(inputs, sync)}; and a silent connection blocks a sync "
        "worker."
    )


def _workers(inputs: ReasonInputs) -> str:
    parts = [inputs.prediction.explanation]
    for more in (False, True):
        other = _neighbour(inputs, "workers", more)
        if other is None:
            continue
        part = f"{other.settings.workers} {_would(inputs, other)}, {_ram_of(inputs, other)}"
        if _breaks(other.rejected_by):
            part += f", beyond a limit ({other.rejected_by})"
        parts.append(part)
    return "; ".join(parts) + "."


def _threads(inputs: ReasonInputs) -> str:
    s = inputs.settings
    if s.worker_class != "gthread":
        return ""
    d = inputs.demand
    waiting = d.db_s.value + d.wait_s.value
    cpu = d.cpu_s.value + d.overhead_cpu_s.value
    parts = [
        f"a request waits {format_seconds(waiting)} and computes {format_seconds(cpu)}, so "
        f"{waiting / cpu + 1 if cpu > 0 else 1:.1f} requests at once keep one core busy on average"
    ]
    for more in (False, True):
        other = _neighbour(inputs, "threads", more)
        if other is not None:
            word = "more" if more else "fewer"
            parts.append(f"{word} ({other.settings.threads}) {_would(inputs, other)}")
    return "; ".join(parts) + "."


def _preload(inputs: ReasonInputs) -> tuple[bool, str]:
    hindrance = inputs.question.preload_hindrance
    if hindrance:
        return False, f"the app must not be loaded before the fork: {hindrance}."
    saving = inputs.demand.worker.preload_saving_bytes
    if saving is None:
        force = inputs.in_force("preload_app")
        if force.whose == "today" and force.value and inputs.server.preloads:
            return True, f"stays on ({force.where}): the saving was not measured."
        return inputs.settings.preload_app, "the saving was not measured."
    each = f"{format_bytes(saving.value)} per further worker, measured after traffic"
    once = inputs.demand.worker.preload_once_bytes
    loader = f"; the process that loads the app takes {format_bytes(once)} once" if once else ""
    amount = each + loader
    if inputs.settings.preload_app:
        return True, f"saves {amount}."
    if inputs.settings.workers == 1:
        return False, "one worker has nothing to share."
    certain = f"of which {format_bytes(saving.low)} are certain"
    return False, f"would save too little: {amount}, {certain}."


def _best(inputs: ReasonInputs, wanted: _Predicate) -> Candidate | None:
    wanted_candidates = [
        c for c in inputs.candidates if wanted(c.settings) and not _breaks(c.rejected_by)
    ]
    return max(wanted_candidates, key=lambda c: c.predicted.compared_rps, default=None)


# (setting, whether more of it): what the reasons compare the winner with.
NEIGHBOURS = (("workers", False), ("workers", True), ("threads", False), ("threads", True))


def nearest(known: Iterable[Settings], mine: Settings, name: str, more: bool) -> Settings | None:
    """The nearest of ``known`` that differs from ``mine`` in this setting alone."""
    other = "threads" if name == "workers" else "workers"

    def distance(settings: Settings) -> int:
        away: int = getattr(settings, name) - getattr(mine, name)
        return away if more else -away

    neighbours = [
        s
        for s in known
        if s.worker_class == mine.worker_class
        and getattr(s, other) == getattr(mine, other)
        and distance(s) > 0
    ]
    return min(neighbours, key=distance, default=None)


def _neighbour(inputs: ReasonInputs, name: str, more: bool) -> Candidate | None:
    by_settings = {c.settings: c for c in inputs.candidates}
    found = nearest(by_settings, inputs.settings, name, more)
    return None if found is None else by_settings[found]


def _breaks(rejected_by: str) -> bool:
    return " > " in rejected_by


def _would(inputs: ReasonInputs, other: Candidate) -> str:
    """Say what it would carry. Where surely even the least load breaks the SLO, its rate says
    nothing."""
    p95, most = other.predicted.latency.p95, inputs.question.p95_s
    if p95.low > most:
        return (
            f"has a p95 of {format_seconds(p95.low)} or more with "
            f"{counted(other.predicted.users, 'user')}, beyond {format_seconds(most)}"
        )
    if other.difference is None:
        return f"is expected to carry {format_rate(other.predicted.compared_rps)} requests/s"
    return other.difference.said


def _ram_of(inputs: ReasonInputs, other: Candidate) -> str:
    """RAM to provide, beside the winner's."""
    theirs, ours = other.predicted.ram_bytes.value, inputs.prediction.ram_bytes.value
    budget = inputs.question.budget.ram_bytes
    if theirs > ABSURD * budget:  # a day's leak that nothing ends
        return f"in more than {ABSURD:g} times the RAM there is"
    return f"in {format_bytes(theirs)} of RAM instead of {format_bytes(ours)}"

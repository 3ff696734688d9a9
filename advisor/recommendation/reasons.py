"""The settings that follow from the winning arrangement, and one sentence of reason for each.

The search decides workers, threads, class, preload and recycling; timeouts, keep-alive and queues
follow here from the predicted load and the tail of the measured requests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pretune.advisor.demand.values import Demand, loop_cpu_s
from pretune.advisor.model import restarts
from pretune.advisor.model.prediction import Prediction
from pretune.advisor.model.question import Question
from pretune.advisor.quantity import counted, format_bytes, format_rate, format_seconds
from pretune.advisor.recommendation import recycling, tail
from pretune.advisor.recommendation.tail import Tail
from pretune.advisor.recommendation.values import Candidate
from pretune.server.adapters.catalogue import SERVERS, find
from pretune.server.adapters.server import FieldServer, Meaning, Recycling, Server, WorkerClass
from pretune.server.settings import Settings

CONTAINER_GRACE_S = 10.0  # docker stop, then SIGKILL
SHORTEST_TIMEOUT_S = 5.0
UNKNOWN_TIMEOUT_S = 30.0  # gunicorn's default, where the sample is too small for a tail
APART_TIMES = 3  # the timeout over the time of a route that was measured apart
ONE_IN_A_MILLION = 1 - 1e-6
MOST_BACKLOG = 2048
LEAST_BACKLOG = 64
KEEPALIVE_S = 5.0
SHORT_KEEPALIVE_S = 2.0

ABSURD = 2.0  # times the budget: beyond it a leak is told, not an amount
_Predicate = Callable[[Settings], bool]


@dataclass(frozen=True)
class ReasonInputs:
    """The values that every reason may quote. ``settings``: the winner's."""

    question: Question
    settings: Settings
    prediction: Prediction
    candidates: tuple[Candidate, ...]
    tail: Tail | None

    @property
    def demand(self) -> Demand:
        return self.question.demand

    @property
    def fds(self) -> int:
        """Descriptors that a process may have."""
        return self.question.budget.fds

    @property
    def server(self) -> Server:
        return find(self.question.conditions.server)

    @property
    def kind(self) -> WorkerClass:
        return self.server.classes[self.settings.worker_class]

    @property
    def leaks(self) -> bool:
        return self.demand.worker.leak_class == "leak"

    def meaning(self, name: str) -> Meaning | None:
        """The setting on a server that has it by another name; None where it is gunicorn's."""
        return self.server.settings.get(name) if isinstance(self.server, FieldServer) else None

    @property
    def carried(self) -> float:
        return self.prediction.throughput_rps.value


def derive(
    question: Question,
    winner: Settings,
    prediction: Prediction,
    candidates: Sequence[Candidate],
) -> tuple[Settings, tuple[tuple[str, str], ...]]:
    """The complete settings and (setting, sentence) for each that has an effect on the server of
    the answer; where it does not have the setting, the sentence says so."""
    fitted = request_tail(question.demand, winner, prediction, question.seed)
    inputs = ReasonInputs(question, winner, prediction, tuple(candidates), fitted)
    timeout, why_timeout = _timeout(inputs)
    graceful, why_graceful = _graceful_timeout(inputs)
    keepalive, why_keepalive = _keepalive(inputs)
    backlog, why_backlog = _backlog(inputs)
    settings = inputs.server.attainable(
        replace(
            winner,
            timeout=timeout,
            graceful_timeout=graceful,
            keepalive=keepalive,
            backlog=backlog,
        )
    )
    reasons = {
        "worker_class": _worker_class(inputs),
        "workers": _workers(inputs),
        "threads": _threads(inputs),
        "timeout": why_timeout,
        "graceful_timeout": why_graceful,
        "keepalive": why_keepalive,
        "max_requests": _max_requests(inputs),
        "max_requests_jitter": _jitter(inputs),
        "preload_app": _preload(inputs),
        "backlog": why_backlog,
        "worker_connections": _worker_connections(inputs),
    }
    for name, hindrance in inputs.server.impossible(settings).items():
        if reasons.get(name):
            reasons[name] = f"{reasons[name].rstrip('.')}; not as it is set: {hindrance}"
    lacking = lacks(inputs.server.name)
    if inputs.leaks:
        lacking.pop("max_requests", None)
    reasons.update({name: says for name, says in lacking.items() if reasons.get(name)})
    return settings, tuple((name, sentence) for name, sentence in reasons.items() if sentence)


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


def _timeout(inputs: ReasonInputs) -> tuple[float, str]:
    seconds, sentence = _timeout_of_measured(inputs)
    apart_s = inputs.question.apart_s
    least = float(math.ceil(APART_TIMES * apart_s))
    if inputs.settings.worker_class == "asgi" or least <= seconds:
        return seconds, sentence
    return least, (
        f"{sentence.rstrip('.')}; the slowest route, which was measured apart, takes "
        f"{format_seconds(apart_s)}, and it is never less than three times that."
    )


def _timeout_of_measured(inputs: ReasonInputs) -> tuple[float, str]:
    other = inputs.meaning("timeout")
    meaning = inputs.kind.timeout if other is None else f"{other.option}: {other.says.rstrip('.')}"
    boot = inputs.demand.worker.boot_s
    if inputs.tail is None:
        seconds = max(UNKNOWN_TIMEOUT_S, math.ceil(2 * boot))
        return seconds, (
            f"{len(inputs.demand.tuples)} requests are too few to estimate the slowest ones, so "
            f"the default of {UNKNOWN_TIMEOUT_S:g} s stays; {meaning}."
        )
    bound = inputs.tail.bound(ONE_IN_A_MILLION)
    seconds = float(math.ceil(max(bound, SHORTEST_TIMEOUT_S, 2 * boot)))
    what = "CPU burst" if inputs.settings.worker_class == "asgi" else "request"
    sentence = (
        f"one {what} in a million takes at most {format_seconds(bound)} at this load "
        f"(extreme-value fit on {inputs.tail.sample} requests, the slowest "
        f"{format_seconds(inputs.tail.maximum_s)}"
    )
    if bound >= tail.FURTHEST * inputs.tail.maximum_s * (1 - 1e-9):
        sentence += ", capped at ten times that"
    sentence += ")"
    if seconds > math.ceil(bound):
        floor = (
            f"booting takes {format_seconds(boot)}, and it is never less than twice that"
            if 2 * boot > SHORTEST_TIMEOUT_S
            else f"below {SHORTEST_TIMEOUT_S:g} s a busy machine would kill healthy workers"
        )
        sentence += f"; {floor}"
    return seconds, f"{sentence}; {meaning}."


def _graceful_timeout(inputs: ReasonInputs) -> tuple[float, str]:
    shutdown = inputs.demand.worker.shutdown_s
    most = max(1.0, CONTAINER_GRACE_S - 1.0)
    if inputs.tail is None:
        return most, (
            f"one second less than the {CONTAINER_GRACE_S:g} s a container gets to stop; too few "
            "requests were measured to justify less."
        )
    slowest = inputs.prediction.latency.p99.high
    if inputs.settings.worker_class != "asgi":
        slowest = inputs.tail.bound(0.999)
    what, apart_s = "p99.9, upper bound", inputs.question.apart_s
    if apart_s > slowest:
        slowest, what = apart_s, "the slowest route, measured apart"
    need = slowest + shutdown
    seconds = float(min(most, max(2, math.ceil(2 * need))))
    sentence = (
        f"requests in flight end within {format_seconds(slowest)} ({what}) and a "
        f"worker shuts down in {format_seconds(shutdown)}"
    )
    if need > most:
        return seconds, (
            f"{sentence}, more than the {CONTAINER_GRACE_S:g} s a container gets to stop: raise "
            f"that to {math.ceil(need) + 2} s (terminationGracePeriodSeconds, stop_grace_period)."
        )
    return seconds, (
        f"{sentence}; that is within the {CONTAINER_GRACE_S:g} s a container gets to stop."
    )


def _keepalive(inputs: ReasonInputs) -> tuple[float, str]:
    if inputs.settings.worker_class == "sync":
        return KEEPALIVE_S, ""
    users, fds = inputs.prediction.users, inputs.fds
    tight = inputs.prediction.fds > 0.5 * fds
    seconds = SHORT_KEEPALIVE_S if tight else KEEPALIVE_S
    busy = inputs.prediction.fds
    sentence = (
        f"with {counted(users, 'user')} one worker has at most {busy} of {fds} descriptors open"
    )
    if tight:
        return seconds, f"{sentence}, so idle connections are closed early."
    return seconds, (
        f"{sentence}, so connections can stay open between a page's requests; behind a load "
        "balancer set it above the balancer's own idle timeout."
    )


def _backlog(inputs: ReasonInputs) -> tuple[int, str]:
    # While workers boot after a crash or a deploy nobody accepts.
    seconds = max(1.0, inputs.demand.worker.boot_s)
    most = inputs.prediction.throughput_rps.high
    want = most * seconds
    size = 2 ** math.ceil(math.log2(max(want, LEAST_BACKLOG)))
    size = min(size, MOST_BACKLOG)
    says, other = "the kernel limits it to net.core.somaxconn", inputs.meaning("backlog")
    if other is not None and other.says != "The same.":
        says = f"{other.option}: {other.says.rstrip('.')}"
    return size, (
        f"holds the {counted(math.ceil(want), 'request')} that may arrive within "
        f"{format_seconds(seconds)} at up to {format_rate(most)} requests/s"
        + (", limited to a useful length; " if want > size else "; ")
        + f"{says}."
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


def _max_requests(inputs: ReasonInputs) -> str:
    if inputs.question.debug:
        return (
            "the app runs in debug mode, which keeps what it has seen: no leak is told from that, "
            "so there is no recycling yet."
        )
    worker = inputs.demand.worker
    slope = worker.leak_slope_bytes_per_request
    if worker.leak_class == "leak":
        grows = f"workers leak {format_bytes(slope.value)} per request (up to {slope.high:.0f} B)"
        s = inputs.settings
        if not inputs.server.recycles(s.workers):
            return f"{grows}; {_unrecycled(inputs)}"
        if s.max_requests == 0:
            return f"{grows}, and no RAM is left for it to grow until a recycling."
        total = s.max_requests + s.max_requests_jitter
        return (
            f"{grows}: after {total:,} requests at most {format_bytes(total * slope.high)}, which "
            f"the RAM left to each of {s.workers} workers allows."
            if s.workers > 1
            else f"{grows}: after {total:,} requests at most {format_bytes(total * slope.high)}, "
            "which the RAM left to one worker allows."
        )
    if worker.leak_class == "none":
        return (
            f"no leak was found (at most {format_bytes(slope.high)} per request), so recycling "
            "would only cost boots."
        )
    if worker.leak_class == "fragmentation":
        return (
            "memory grew by garbage or freed blocks, which were returned on request: that is no "
            "leak, so recycling would only cost boots."
        )
    if worker.leak_class == "still_warming":
        return (
            f"memory was still growing from warm-up (at most {format_bytes(slope.high)} per "
            "request) and no leak is proven: no recycling yet; measure longer with "
            "--time-budget."
        )
    return (
        "too few requests were measured to tell a leak from warm-up, so there is no recycling yet."
    )


def _unrecycled(inputs: ReasonInputs) -> str:
    """Sentence of a leak on a server that does not replace its workers."""
    server, budget = inputs.server, inputs.question.budget
    if server.recycling_of(inputs.settings.workers) is Recycling.ENDS:
        why = f"at a limit {server.name} with one worker ends, and nothing starts it again"
    else:
        why = f"{server.name} never replaces a worker for its requests"
    hours = restarts.restart_hours(
        inputs.demand.worker, inputs.settings, inputs.prediction.throughput_rps, budget, server.name
    )
    if not hours:
        return f"{why}; the RAM does not last for an hour."
    return f"{why}: restart it from outside every {hours} h; the RAM is counted for that long."


# What becomes of one worker at its limit.
_ALONE = {
    Recycling.OVERLAPS: (
        "a single worker cannot restart together with another; its successor is ready before it "
        "leaves."
    ),
    Recycling.REPLACES: (
        "a single worker cannot restart together with another; requests wait until its successor "
        "has booted."
    ),
}


def _jitter(inputs: ReasonInputs) -> str:
    s = inputs.settings
    if s.max_requests == 0:
        return ""
    boot = inputs.demand.worker.boot_s
    chance = recycling.meeting_probability(s, boot, inputs.carried)
    if s.workers == 1:
        return _ALONE[inputs.server.recycling_of(1)]
    return (
        f"booting takes {format_seconds(boot)}; with this jitter two of {s.workers} workers "
        f"restart at the same time in {chance:.0%} of the rounds."
    )


def _preload(inputs: ReasonInputs) -> str:
    if inputs.question.preload_hindrance:
        return f"the app must not be loaded before the fork: {inputs.question.preload_hindrance}."
    saving = inputs.demand.worker.preload_saving_bytes
    if saving is None:
        return "the saving was not measured."
    each = f"{format_bytes(saving.value)} per further worker, measured after traffic"
    once = inputs.demand.worker.preload_once_bytes
    loader = f"; the process that loads the app takes {format_bytes(once)} once" if once else ""
    amount = each + loader
    if inputs.settings.preload_app:
        return f"saves {amount}."
    if inputs.settings.workers == 1:
        return "one worker has nothing to share."
    return f"would save too little: {amount}, of which {format_bytes(saving.low)} are certain."


def _worker_connections(inputs: ReasonInputs) -> str:
    s = inputs.settings
    if s.worker_class == "sync":
        return ""
    each = math.ceil(inputs.prediction.users / s.workers)
    return (
        f"{counted(inputs.prediction.users, 'user')} on {counted(s.workers, 'worker')} make about "
        f"{counted(each, 'connection')} per worker; {s.worker_connections} stays below the "
        f"{inputs.fds} descriptors a process may have."
    )


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

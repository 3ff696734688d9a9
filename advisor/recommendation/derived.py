"""Settings that follow from the winning arrangement: times, queues, recycling. Pure.

Each is what its method gives where the evidence is enough (``evidence.METHODS``), else what is in
force; its sentence says which, and why.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from pretune.advisor.model import restarts
from pretune.advisor.quantity import counted, format_bytes, format_rate, format_seconds
from pretune.advisor.recommendation import evidence, recycling, tail
from pretune.advisor.recommendation.evidence import Evidence
from pretune.advisor.recommendation.fleet import VAGUE
from pretune.advisor.recommendation.reason_inputs import ReasonInputs
from pretune.advisor.recommendation.space import SPARE_FDS
from pretune.server.adapters.server import Recycling
from pretune.server.settings import Settings

CONTAINER_GRACE_S = 10.0  # docker stop, then SIGKILL
SHORTEST_TIMEOUT_S = 5.0
ONE_IN_A_MILLION = 1 - 1e-6
MOST_BACKLOG = 2048
LEAST_BACKLOG = 64
SHORT_KEEPALIVE_S = 2.0
APART_TIMES = 3  # the timeout over the time of a route that was measured apart


@dataclass(frozen=True)
class Setting:
    """A value, its sentence, and the evidence for it; None where there is no choice."""

    value: float
    reason: str
    evidence: Evidence | None = None


def _seconds(x: float) -> str:
    return f"{x:g} s" if x else "off"


def _settle(
    inputs: ReasonInputs,
    name: str,
    derived: float | None,
    how: str,
    show: Callable[[float], str] = _seconds,
) -> Setting:
    """The derived value where its evidence is enough, else what is in force; ``how`` is a clause
    that explains the derived value."""
    force = inputs.in_force(name)
    weighed = evidence.weigh(name, derived, inputs.seen, force)
    if not weighed.lacks:
        assert derived is not None
        return Setting(derived, how, weighed)
    words = force.words.format(show(force.value))
    sentence = f"stays at {words}: {weighed.lacks}"
    if derived is not None and derived != force.value:
        sentence += f"; what was measured would allow {show(derived)} ({how})"
    return Setting(force.value, sentence, weighed)


def settle_timeout(inputs: ReasonInputs) -> Setting:
    other = inputs.meaning("timeout")
    meaning = inputs.kind.timeout if other is None else f"{other.option}: {other.says.rstrip('.')}"
    boot = inputs.demand.worker.boot_s
    derived, how = None, ""
    if inputs.tail is not None:
        bound = inputs.tail.bound(ONE_IN_A_MILLION)
        derived = float(math.ceil(max(bound, SHORTEST_TIMEOUT_S, 2 * boot)))
        how = _bound(inputs, bound)
        if derived > math.ceil(bound):
            how += (
                f"; booting takes {format_seconds(boot)}, and it is never less than twice that"
                if 2 * boot > SHORTEST_TIMEOUT_S
                else f"; below {SHORTEST_TIMEOUT_S:g} s a busy machine would kill healthy workers"
            )
    settled = _settle(inputs, "timeout", derived, how)
    value, reason = settled.value, settled.reason
    if 0 < value < 2 * boot:
        value = float(math.ceil(2 * boot))
        reason += f"; booting takes {format_seconds(boot)}, and twice that is {value:g} s"
    apart_s = inputs.question.apart_s
    least = float(math.ceil(APART_TIMES * apart_s))
    if inputs.settings.worker_class != "asgi" and 0 < value < least:
        value = least
        reason += (
            f"; the slowest route, which was measured apart, takes {format_seconds(apart_s)}, and "
            "it is never less than three times that"
        )
    return Setting(value, f"{reason}; {meaning}.", settled.evidence)


def _bound(inputs: ReasonInputs, bound: float) -> str:
    assert inputs.tail is not None
    what = "CPU burst" if inputs.settings.worker_class == "asgi" else "request"
    sentence = (
        f"one {what} in a million takes at most {format_seconds(bound)} at this load, by an "
        f"extreme-value fit on {inputs.tail.sample} requests, the slowest "
        f"{format_seconds(inputs.tail.maximum_s)}"
    )
    if bound >= tail.FURTHEST * inputs.tail.maximum_s * (1 - 1e-9):
        sentence += ", capped at ten times that"
    return sentence


def settle_graceful_timeout(inputs: ReasonInputs) -> Setting:
    shutdown = inputs.demand.worker.shutdown_s
    most = max(1.0, CONTAINER_GRACE_S - 1.0)
    derived, how, need = None, "", 0.0
    if inputs.tail is not None:
        slowest = inputs.prediction.latency.p99.high
        if inputs.settings.worker_class != "asgi":
            slowest = inputs.tail.bound(0.999)
        what, apart_s = "p99.9, upper bound", inputs.question.apart_s
        if apart_s > slowest:
            slowest, what = apart_s, "the slowest route, measured apart"
        need = slowest + shutdown
        derived = float(min(most, max(2, math.ceil(2 * need))))
        how = (
            f"requests in flight end within {format_seconds(slowest)} ({what}) and a "
            f"worker shuts down in {format_seconds(shutdown)}"
        )
    settled = _settle(inputs, "graceful_timeout", derived, how)
    if need > most or settled.value > most:
        grace = math.ceil(max(need, settled.value) + shutdown) + 1
        return Setting(
            settled.value,
            f"{settled.reason}; more than the {CONTAINER_GRACE_S:g} s a container gets to stop: "
            f"raise that to {grace} s (terminationGracePeriodSeconds, stop_grace_period).",
            settled.evidence,
        )
    within = f"within the {CONTAINER_GRACE_S:g} s a container gets to stop"
    return Setting(settled.value, f"{settled.reason}; {within}.", settled.evidence)


def settle_keepalive(inputs: ReasonInputs) -> Setting:
    """Keep what is in force unless descriptors are short: nothing measured says how long a page
    takes."""
    force = inputs.in_force("keepalive")
    if inputs.settings.worker_class == "sync":
        return Setting(force.value, "")
    busy = inputs.prediction.fds
    tight = busy > 0.5 * inputs.fds
    value = min(force.value, SHORT_KEEPALIVE_S) if tight else force.value
    weighed = evidence.weigh("keepalive", value, inputs.seen, force)
    sentence = f"one worker has at most {busy} of {inputs.fds} descriptors open at the load above"
    if value != force.value:
        sentence += ", so idle connections are closed early."
    else:
        sentence = f"stays at {force.words.format(_seconds(force.value))}: {sentence}, so " + (
            "no more is needed." if not tight else "it is short enough."
        )
    kept = "" if value != force.value else force.whose
    sentence += " Behind a load balancer it has to be above the balancer's own idle timeout."
    return Setting(value, sentence, _kept(weighed, kept))


def settle_backlog(inputs: ReasonInputs) -> Setting:
    # While workers boot after a crash or a deploy nobody accepts.
    seconds = max(1.0, inputs.demand.worker.boot_s)
    rate = inputs.prediction.throughput_rps
    want = rate.high * seconds
    derived, how = None, ""
    if rate.high <= VAGUE * rate.value:
        derived = float(min(2 ** math.ceil(math.log2(max(want, LEAST_BACKLOG))), MOST_BACKLOG))
        how = (
            f"holds the {counted(math.ceil(want), 'request')} that may arrive within "
            f"{format_seconds(seconds)} at up to {format_rate(rate.high)} requests/s"
        ) + (", limited to a useful length" if want > derived else "")
    says, other = "the kernel limits it to net.core.somaxconn", inputs.meaning("backlog")
    if other is not None and other.says != "The same.":
        says = f"{other.option}: {other.says.rstrip('.')}"
    if derived is None:
        force = inputs.in_force("backlog")
        weighed = evidence.weigh("backlog", None, inputs.seen, force)
        rates = f"{format_rate(rate.low)} to {format_rate(rate.high)}"
        between = f"the rate is not known well enough ({rates})"
        words = force.words.format(f"{force.value:,.0f}")
        settled = Setting(
            force.value, f"stays at {words}: {between}", _kept(weighed, force.whose, between)
        )
    else:
        settled = _settle(inputs, "backlog", derived, how, lambda x: f"{x:,.0f}")
    return Setting(int(settled.value), f"{settled.reason}; {says}.", settled.evidence)


def settle_worker_connections(inputs: ReasonInputs) -> Setting:
    """Keep what is in force, where the load needs no more and descriptors allow as many."""
    s, force = inputs.settings, inputs.in_force("worker_connections")
    if s.worker_class == "sync":
        return Setting(s.worker_connections, "")
    each = math.ceil(inputs.prediction.users / s.workers)
    users = inputs.prediction.users
    load = (
        f"{counted(users, 'user')} on {counted(s.workers, 'worker')} make about "
        f"{counted(each, 'connection')} per worker"
    )
    room = inputs.fds - inputs.demand.worker.fds - SPARE_FDS
    weighed = evidence.weigh("worker_connections", force.value, inputs.seen, force)
    if max(each, s.threads) <= force.value <= room:
        words = force.words.format(f"{force.value:,.0f}")
        reason = f"stays at {words}: {load}, and a process may have {inputs.fds} descriptors."
        return Setting(int(force.value), reason, _kept(weighed, force.whose))
    value = max(s.worker_connections, each)
    return Setting(
        value, f"{load}; {value} stays below the {inputs.fds} descriptors a process may have.",
        _kept(weighed, ""),
    )  # fmt: skip


def settle_max_requests(inputs: ReasonInputs) -> tuple[Setting, int]:
    """The limit and its jitter. Today's recycling stays where routes that were not measured may
    leak, or where it is not known whether anything does."""
    s, force = inputs.settings, inputs.in_force("max_requests")
    seen, worker = inputs.seen, inputs.demand.worker
    derived = float(s.max_requests)
    weighed = evidence.weigh("max_requests", derived, seen, force)
    lacks = weighed.lacks
    unsure = inputs.question.debug or worker.leak_class in ("still_warming", "not_enough_data")
    if not lacks and derived == 0 and unsure:
        lacks = "no leak was proven, and none excluded"
    recycles = inputs.server.recycles(s.workers)
    if not (lacks and force.whose == "today" and force.value and recycles):
        settled = Setting(s.max_requests, _max_requests(inputs), _kept(weighed, ""))
        return settled, s.max_requests_jitter
    jitter = inputs.in_force("max_requests_jitter").value
    words = force.words.format(f"{force.value:,.0f}")
    reason = f"stays at {words}: {lacks}; of what was measured: {_max_requests(inputs)}"
    return Setting(int(force.value), reason, _kept(weighed, "today", lacks)), int(jitter)


def _kept(weighed: Evidence, whose: str, lacks: str = "") -> Evidence:
    return replace(weighed, kept=whose, lacks=lacks or (weighed.lacks if whose else ""))


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


def explain_jitter(inputs: ReasonInputs, s: Settings) -> str:
    """The sentence on the complete settings' jitter; "" where nothing is recycled."""
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

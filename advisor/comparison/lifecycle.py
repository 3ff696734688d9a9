"""Operations on a server while it serves, as deploys and supervisors do them.

Reload by its own signal, recycling by a small max_requests, and TERM, which is what every
supervisor sends, also where the server would rather be told otherwise.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from pretune.advisor.comparison.broken import BootFailure
from pretune.advisor.comparison.disruption import Disruption, judge
from pretune.advisor.trials.bench import STOP_SECONDS, Stage
from pretune.loadtests.workload import Load
from pretune.server.adapters.catalogue import SERVERS
from pretune.server.settings import Settings

BEFORE_S = 1.0  # of load before the signal
AFTER_S = 0.7  # of load after it is done
RELOAD_S = 20.0  # longest wait for the new workers; granian takes 3.5 s for each
RECYCLE_S = 5.0
RECYCLED = 2.5  # how often each worker should end in that time
LEAST_REQUESTS = 10
JITTER = 0.25  # of max_requests, where there is one
_LOOK_S = 0.01


@dataclass(frozen=True)
class Check:
    """``disruption`` None: not tried, or nothing happened; ``note`` says why."""

    disruption: Disruption | None
    note: str = ""


@dataclass(frozen=True)
class Lifecycle:
    """None: it was not come to."""

    reload: Check | None = None
    recycling: Check | None = None
    term: Check | None = None
    boot: BootFailure | None = None


def reload(stage: Stage, load: Load) -> Check:
    server = stage.server
    if "reload" not in server.signals:
        return Check(None, "it cannot reload")
    old = set(server.worker_pids())
    moments = _Moments()

    def renewed() -> bool:
        living = set(server.worker_pids())
        return len(living) >= len(old) and not living & old

    def meanwhile() -> None:
        time.sleep(BEFORE_S)
        moments.signal = time.monotonic()
        server.send("reload")
        moments.done = _wait(lambda: renewed() or server.exit_code is not None, RELOAD_S)
        time.sleep(AFTER_S)

    asked = replace(load, duration_s=BEFORE_S + RELOAD_S + AFTER_S + STOP_SECONDS)
    sent = stage.send(asked, meanwhile)
    note = "" if server.exit_code is None else f"the server ended ({server.exit_code})"
    disruption = judge(
        "reload", sent.records, moments.signal, moments.done, abandoned=sent.result.abandoned
    )
    return Check(disruption, note)


def term(stage: Stage, load: Load) -> Check:
    server = stage.server
    name = next((n for n, number in server.signals.items() if number == signal.SIGTERM), None)
    if name is None:
        return Check(None, "it ignores TERM")
    moments = _Moments()

    def meanwhile() -> None:
        time.sleep(BEFORE_S)
        moments.signal = time.monotonic()
        server.send(name)
        moments.done = _wait(lambda: server.exit_code is not None, STOP_SECONDS)
        time.sleep(_LOOK_S)

    asked = replace(load, duration_s=BEFORE_S + 2 * STOP_SECONDS)
    sent = stage.send(asked, meanwhile)
    disruption = judge(
        "term", sent.records, moments.signal, moments.done,
        ends=True, abandoned=sent.result.abandoned,
    )  # fmt: skip
    note = "" if moments.done is not None else f"it had not ended after {STOP_SECONDS:.0f} s"
    return Check(disruption, note)


def recycles(server: str, settings: Settings) -> str:
    """Why this server would not replace a worker for its requests; "" when it would."""
    server_facts = SERVERS.get(server)
    if server_facts is None:
        return ""
    meaning = server_facts.settings["max_requests"]
    asked = replace(settings, max_requests=LEAST_REQUESTS)
    given = meaning.value(asked) if meaning.value is not None else None
    return "" if given is not None else meaning.says.partition(". ")[0]


def recycled(settings: Settings, rps: float) -> Settings:
    """With a limit that each worker reaches a few times while it is watched."""
    each = rps * RECYCLE_S / (RECYCLED * settings.workers) if math.isfinite(rps) else 0.0
    most = max(LEAST_REQUESTS, round(each))
    return replace(settings, max_requests=most, max_requests_jitter=round(JITTER * most))


def recycling(stage: Stage, load: Load) -> Check:
    began = time.monotonic()
    sent = stage.send(replace(load, duration_s=RECYCLE_S))
    exits = sum(e.name == "worker_exit" and e.time >= began for e in stage.server.events())
    if not exits:
        return Check(None, f"no worker was replaced in {RECYCLE_S:.0f} s")
    disruption = judge(
        "recycling", sent.records, began, began + RECYCLE_S,
        abandoned=sent.result.abandoned, events=exits,
    )  # fmt: skip
    return Check(disruption)


@dataclass
class _Moments:
    signal: float = math.inf
    done: float | None = None


def _wait(condition: Callable[[], bool], longest_s: float) -> float | None:
    """When it came true (monotonic s); None when it did not."""
    until = time.monotonic() + longest_s
    while not condition():
        if time.monotonic() > until:
            return None
        time.sleep(_LOOK_S)
    return time.monotonic()

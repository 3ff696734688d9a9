"""Checks of what nginx gives: a few questions asked of the server with it and without it.

One server, of the kind and the settings of the answer (two workers at most), runs an application
that only takes and gives bytes: a user's own must not be sent uploads. Each question is asked
alternately, without and with, in rounds; a round is the unit of the interval.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pretune.advisor.profiler.statistics import around, error_of_mean, percentiles, ratio
from pretune.advisor.quantity import UNKNOWN, Interval
from pretune.advisor.reverse_proxy.rig import Stand, Way, standing
from pretune.advisor.reverse_proxy.values import Checks, Comparison
from pretune.advisor.workspace import cores
from pretune.loadtests import clients
from pretune.loadtests.clients import KeepAliveClient, Unanswered
from pretune.server.adapters import catalogue
from pretune.server.settings import Settings

if TYPE_CHECKING:
    from pretune.advisor.preflight.preflight import Preflight
    from pretune.advisor.workspace.directory import Workspace

SECONDS = 16.0  # all of it, boot and stop too
MOST_WORKERS = 2
# A round of requests one after the other, and how many of each kind.
BRISK_S, BRISK_ROUNDS = 0.1, 10
# How long a slow client takes, and how many rounds of them.
SLOW_S, SLOW_ROUNDS = 0.4, 4
BETWEEN_S = 0.02  # two of the others' requests, beside slow ones
UPLOAD_BYTES = 64 << 10
LARGE_UPLOAD_BYTES = 8 << 20
LARGE_ROUNDS = 4
# On a busy machine rounds take longer: then there are fewer of them, and wider intervals.
QUESTION_S, LEAST_ROUNDS = 5.0, 3
LOOK_S = 0.005  # between two looks at memory
DOWNLOAD_BYTES = 4 << 20  # more than the sockets between take


def run_checks(
    preflight: Preflight, workspace: Workspace, settings: Settings, update: Callable[[str], None]
) -> Checks:
    """Raises BootFailed, FrontFailed, TimeoutError: then nothing was compared."""
    settings = replace(
        settings, workers=min(MOST_WORKERS, settings.workers), preload_app=False, max_requests=0
    )
    server = catalogue.find(preflight.servers.verified)
    with (
        cores.confined(preflight.core_plan.generator),
        standing(preflight, workspace, settings) as stand,
    ):
        rows: list[Comparison] = []
        for question, ask in _QUESTIONS.items():
            if question == "keepalive" and not server.keeps_connections(settings):
                continue
            update(question.replace("_", " "))
            try:
                rows += ask(stand)
            except Unanswered as error:
                rows.append(Comparison(question, "", UNKNOWN, UNKNOWN, 0, str(error)))
        return Checks(settings, stand.slow, stand.file_bytes, tuple(rows))


def keeping_costs(checks: Checks) -> bool:
    """Return whether requests over kept connections certainly take longer than over new ones."""
    return any(
        row.question == "keepalive" and row.quantity == "p95_s" and row.better is False
        for row in checks.rows
    )


# The questions


def _static(stand: Stand) -> list[Comparison]:
    """A file: by the application and its server, and by nginx from the disk."""
    without = _brisk([(stand.without, "/file/x"), (stand.behind, stand.file_path)])
    return _compared("static", *without)


def _keepalive(stand: Stand) -> list[Comparison]:
    """Connections from nginx to the server: one for each request, and kept ones."""
    return _compared("keepalive", *_brisk([(stand.closing, "/"), (stand.behind, "/")]))


def _slow_upload(stand: Stand) -> list[Comparison]:
    held: dict[Way, list[float]] = {}

    def send(way: Way) -> None:
        reply = clients.upload(way.address, "/read", UPLOAD_BYTES, SLOW_S)
        held.setdefault(way, []).append(float(reply.split()[1]))

    others = _beside("slow_upload", stand, send)
    inside = _over_rounds(held[stand.without], held[stand.behind], stand.slow)
    return [others, Comparison("slow_upload", "held_s", *inside, others.rounds)]


def _slow_download(stand: Stand) -> list[Comparison]:
    def take(way: Way) -> None:
        clients.download(way.address, f"/send/{DOWNLOAD_BYTES}", DOWNLOAD_BYTES, SLOW_S)

    return [_beside("slow_download", stand, take)]


def _large_upload(stand: Stand) -> list[Comparison]:
    """As many at once as may be inside, as fast as they go."""
    held: dict[Way, list[float]] = {stand.without: [], stand.behind: []}
    grown: dict[Way, list[float]] = {stand.without: [], stand.behind: []}

    def send(way: Way) -> None:
        reply = clients.upload(way.address, "/read", LARGE_UPLOAD_BYTES)
        held[way].append(float(reply.split()[1]))

    for _ in _rounds(LARGE_ROUNDS):
        for way in (stand.without, stand.behind):
            with _peak(way) as peak:
                _all([partial(send, way)] * stand.slow)
            grown[way].append(float(peak[0]))
    inside = _over_rounds(held[stand.without], held[stand.behind], stand.slow)
    memory = _over_rounds(grown[stand.without], grown[stand.behind], 1)
    rounds = len(grown[stand.behind])
    return [
        Comparison("large_upload", "held_s", *inside, rounds),
        Comparison("large_upload", "growth_bytes", *memory, rounds),
    ]


_QUESTIONS: Mapping[str, Callable[[Stand], list[Comparison]]] = {
    "static": _static,
    "slow_upload": _slow_upload,
    "slow_download": _slow_download,
    "large_upload": _large_upload,
    "keepalive": _keepalive,
}


# How they are asked


class _Seen(NamedTuple):
    """The samples of one way: per round CPU s and requests; of each request its seconds and its
    round.
    """

    cpu_s: list[float]
    requests: list[float]
    took_s: list[float]
    round: list[int]


def _brisk(ways: Sequence[tuple[Way, str]]) -> list[_Seen]:
    """One client, one request after the other over one connection; the ways in turn."""
    connections = [KeepAliveClient(way.address) for way, _ in ways]
    seen = [_Seen([], [], [], []) for _ in ways]
    try:
        for number in _rounds(BRISK_ROUNDS + 1):
            for (way, path), connection, mine in zip(ways, connections, seen, strict=True):
                before, took = way.cpu_s(), []
                until = time.perf_counter() + BRISK_S
                while time.perf_counter() < until:
                    took.append(connection.get(path)[0])
                if number == 0:
                    continue  # warming up
                mine.cpu_s.append(way.cpu_s() - before)
                mine.requests.append(len(took))
                mine.took_s.extend(took)
                mine.round.extend([number - 1] * len(took))
    finally:
        for connection in connections:
            connection.close()
    return seen


def _rounds(most: int) -> Iterator[int]:
    """0, 1, ... while there is time, at least so many that something can be said."""
    until = time.monotonic() + QUESTION_S
    for number in range(most):
        if number >= LEAST_ROUNDS and time.monotonic() > until:
            return
        yield number


def _compared(question: str, without: _Seen, behind: _Seen) -> list[Comparison]:
    rounds = len(behind.cpu_s)
    cpu = [ratio(np.array(seen.cpu_s), np.array(seen.requests)) for seen in (without, behind)]
    p95 = [
        percentiles(np.array(seen.took_s), np.array(seen.round), rounds, (0.95,))[0]
        for seen in (without, behind)
    ]
    return [
        Comparison(question, "cpu_s", cpu[0], cpu[1], rounds),
        Comparison(question, "p95_s", p95[0], p95[1], rounds),
    ]


def _beside(question: str, stand: Stand, slow: Callable[[Way], None]) -> Comparison:
    """Measure how long others wait beside as many slow clients as may be inside; they come at fixed
    moments, so those that would have come while nobody was answered count, too.
    """
    moments = np.arange(SLOW_S / 4, SLOW_S, BETWEEN_S).tolist()
    means: dict[Way, list[float]] = {stand.without: [], stand.behind: []}

    def others(way: Way) -> None:
        took = clients.get_at(way.address, "/", moments)
        if not np.isfinite(took).all():
            raise Unanswered("others were not answered")
        means[way].append(float(np.mean(took)))

    for _ in _rounds(SLOW_ROUNDS):
        for way in (stand.without, stand.behind):
            tasks = [partial(slow, way)] * stand.slow
            _all([*tasks, partial(others, way)])
    compared = _over_rounds(means[stand.without], means[stand.behind], 1)
    return Comparison(question, "others_s", *compared, len(means[stand.behind]))


def _all(tasks: Sequence[Callable[[], None]]) -> None:
    """At once; raises the first Unanswered of any."""
    failed: list[Unanswered] = []

    def guarded(task: Callable[[], None]) -> None:
        try:
            task()
        except Unanswered as error:
            failed.append(error)

    clients.run_together([partial(guarded, task) for task in tasks])
    if failed:
        raise failed[0]


@contextmanager
def _peak(way: Way) -> Iterator[list[int]]:
    """The most by which private memory stood above what it was; known at the end."""
    before, peak, over = way.private_bytes(), [0], threading.Event()

    def sample_memory() -> None:
        while not over.wait(LOOK_S):
            peak[0] = max(peak[0], way.private_bytes() - before)

    thread = threading.Thread(target=sample_memory, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _over_rounds(
    without: Sequence[float], behind: Sequence[float], each: int
) -> tuple[Interval, Interval]:
    """Means; ``each`` values of a round are one."""
    return _mean(without, each), _mean(behind, each)


def _mean(values: Sequence[float], each: int) -> Interval:
    rounds = np.array(values, dtype=np.float64).reshape(-1, each).mean(axis=1)
    return around(float(rounds.mean()), error_of_mean(rounds).half_width)

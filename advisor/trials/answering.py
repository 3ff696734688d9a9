"""Compares what a server leaves unanswered with what the embedded one does to the same load. Pure.

gunicorn 26.2.0 never answers the second request of a kept connection when another task of an ASGI
app sends the answer: eight users get eight answers, and then wait. From such a trial nothing about
the application can be told.
"""

from __future__ import annotations

from collections.abc import Iterable

from pretune.advisor.profiler.measurement import Measurement, Role
from pretune.advisor.profiler.statistics import proportion

# Trials that send what the contrast trial sends to workers like its own. Preloaded workers and
# those of class sync may fail for reasons of their own.
COMPARED = frozenset({Role.SERVER, Role.ALONE, Role.CROWD, Role.VERIFICATION})
FINE, FEWEST = 0.01, 100  # part of the requests lost at most, and answers at least, on our server
LOST = 0.05  # surely more than this part
# Load lasts so many times our p99: a request still unanswered at its end was not merely slow.
PATIENCE = 5.0


def loses_requests(theirs: Measurement, ours: Measurement | None) -> bool:
    """Say whether the server of a trial surely loses requests that ours answers.

    ``ours``: the contrast trial; None where there is none. An open load is not compared: what a
    slower server has no room for is lost there.
    """
    if ours is None or theirs.conditions.server == ours.conditions.server:
        return False
    here, there = ours.counts, theirs.counts
    if theirs.role not in COMPARED or theirs.load.rps is not None or here is None or there is None:
        return False
    patient = theirs.load.duration_s >= PATIENCE * ours.latency.p99.value
    lost = there.failed + (there.unanswered if patient else 0)
    few = here.answered < FEWEST or here.lost > FINE * here.sent
    return not few and proportion(lost, lost + there.answered).low > LOST


def describe_loss(theirs: Measurement, ours: Measurement, server: str) -> str:
    """The counts on both, in a sentence. ``server``: its name and version."""
    here, there = ours.counts, theirs.counts
    assert here is not None
    assert there is not None
    what = f"{there.unanswered:,} were never answered" if there.unanswered else ""
    what += " and " if there.unanswered and there.failed else ""
    what += f"{there.failed:,} failed" if there.failed else ""
    return (
        f"{server} loses requests of this app: of {there.sent:,} in the {theirs.name} trial "
        f"{what}; of {here.sent:,} on the embedded server, {here.lost:,}"
    )


def explain_stop(stopped: str, loss: tuple[Measurement, Measurement] | None, server: str) -> str:
    """``stopped``, which says that a server did not end, with its cause: a server that waits for
    requests which it never answers, else the application."""
    if loss is not None:
        return (
            f"{stopped}: {server} waits for requests that it never answers, which the embedded "
            f"server does; another version of {server.partition(' ')[0]}, another worker class or "
            "another server (--server) ends"
        )
    return (
        f"{stopped}: a thread, an exit handler or a call of the application holds it; whoever "
        "stops the server in production must wait longer than that, or kill it"
    )


def find_loss(trials: Iterable[Measurement]) -> tuple[Measurement, Measurement] | None:
    """The first trial whose server loses requests, and the contrast trial beside it."""
    known = tuple(trials)
    ours = next((t for t in reversed(known) if t.role is Role.CONTRAST), None)
    if ours is None:
        return None
    return next(((each, ours) for each in known if loses_requests(each, ours)), None)

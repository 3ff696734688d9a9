"""Draining of a worker that leaves: what it should do next, given what it sees. Pure, for all
worker classes.

What was begun is finished, and a connection that waits in the kernel's queue was begun too. When
the server stops, the queues are sealed first (``listening.seal``), so that they end: however many
clients go on asking, the worker takes what is in there, closes that entrance for good, and is
bounded by what it has in hand. A queue that cannot be sealed is left after IMPATIENCE. When
retiring, siblings serve on: they take what is still in the queue, and would keep it filled. When
yielding to a newer server, that one takes what is in the queues they share; but connections that
siblings hand to each other are no business of it, and that entrance is emptied as a sealed one.

Idle connections are closed when the server stops; one that has just come has a GRACE for its
request. When retiring they are given to siblings where that can be done, and else stay until their
next answer, which says that it is the last, or until they have been idle for too long. When
yielding to a newer server there are no siblings to give to: they all leave.

If no worker is ready when the server stops, the master keeps the queues until one is
(last_queue.py).

A bare TERM does not say how to leave. Whoever sends it to a worker alone means to have it replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

STOP = "stop"  # the whole server goes
RETIRE = "retire"  # siblings go on
YIELD = "yield"  # the whole server goes, but a newer one serves on, on the same sockets
IMPATIENCE = 0.5  # s a worker goes on taking connections from a queue that may never end
HANDSHAKE = 0.1  # s for handshakes that had begun when the queue was sealed
GRACE = 0.5  # s a connection has from its coming until its request when the server stops
LOOK = 0.01  # s between two looks


class Step(NamedTuple):
    """The actions after one look."""

    shut_queues: tuple[int, ...]
    close_idle: bool  # idle connections
    give_idle: bool  # the same, to siblings
    done: bool


def next_step(
    how: str,
    elapsed: float,
    patience: float,
    queues: Mapping[int, bool],
    connections: int,
    sealed: Collection[int] = (),
) -> Step:
    """``queues``: those still open, and whether somebody waits there; ``sealed``: nobody new comes.

    ``elapsed`` seconds since the order to leave; after ``patience`` nothing is waited for.
    ``connections`` are those not yet closed. ``done`` is to be confirmed by who guards the queues:
    a thread may just be taking a connection.
    """

    def ends(queue: int, waiting: bool) -> bool:
        if how != RETIRE and queue in sealed:
            return not waiting and elapsed > HANDSHAKE
        return not waiting or elapsed > IMPATIENCE

    closed = tuple(queue for queue, waiting in queues.items() if ends(queue, waiting))
    shut = len(closed) == len(queues)
    return Step(
        shut_queues=closed,
        close_idle=how == STOP,
        give_idle=how == RETIRE,
        done=(shut and not connections) or elapsed > patience,
    )

"""How a worker leaves: what it should do next, given what it sees. Pure, for all worker classes.

What was begun is finished, and a connection that waits in the kernel's queue was begun too. So the
worker goes on taking connections until a look finds nobody waiting, then closes that door for good.
When retiring, siblings serve on: they take what is still in the queue, and would keep it filled.

Idle connections are closed when the server stops, once no more can come. When retiring they are
given to siblings where that can be done, and else stay until their next answer, which says that it
is the last, or until they have been idle for too long. When yielding to a newer server there are no
siblings to give to: they all leave.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

STOP = "stop"  # the whole server goes
RETIRE = "retire"  # siblings go on
YIELD = "yield"  # the whole server goes, but a newer one serves on, on the same sockets
IMPATIENCE = 0.5  # s a retiring worker goes on taking connections
LOOK = 0.01  # s between two looks


class Step(NamedTuple):
    """What to do after one look."""

    close_doors: tuple[int, ...]
    close_idle: bool  # idle connections
    give_idle: bool  # the same, to siblings
    done: bool


def next_step(
    how: str, elapsed: float, patience: float, doors: Mapping[int, bool], connections: int
) -> Step:
    """``doors``: those still open, and whether somebody waits there.

    ``elapsed`` seconds since the order to leave; after ``patience`` nothing is waited for.
    ``connections`` are those not yet closed. ``done`` is to be confirmed by who guards the doors:
    a thread may just be taking a connection.
    """
    impatient = how != STOP and elapsed > IMPATIENCE
    closed = tuple(door for door, waiting in doors.items() if impatient or not waiting)
    shut = len(closed) == len(doors)
    return Step(
        close_doors=closed,
        close_idle=how == STOP and shut,
        give_idle=how == RETIRE,
        done=(shut and not connections) or elapsed > patience,
    )

"""Limits on a worker's wait for its clients and its siblings: the same under every class.

A client that must keep up a rate has a deadline: a patience ahead at first, moved on by each byte,
never farther than the patience. So neither silence nor a byte now and then holds anything for ever,
and a client that was fast may pause.

Read these as ``limits.NAME`` when they are needed: tests set them.
"""

from __future__ import annotations

YIELD = 0.001  # s a sibling with fewer connections gets to accept first ...
YIELDS = 3  # ... so many times, where a thread can wait for it
PAUSE = 0.1  # s without accepting after the descriptors ran out
FRESH = 1.0  # s in which an idle connection is not closed to make room
SWEEP = 0.5  # s between looks at all connections
HEAD_PATIENCE = 10.0  # s a client may take over a request's head
BODY_PATIENCE = 30.0  # s a client may be silent within a body, ...
BODY_RATE = 500  # ... and bytes/s that keep it alive
SEND_PATIENCE = 30.0  # s a client may take nothing of what waits for it, ...
SEND_RATE = 500  # ... and bytes/s that keep it alive
LINGER = 2.0  # s for a client to see a refusal before the connection is reset


def extend_body(deadline: float, size: int, now: float) -> float:
    """The deadline of a body after ``size`` more bytes of it came; s, as ``now``."""
    return min(deadline + size / BODY_RATE, now + BODY_PATIENCE)


def extend_sending(deadline: float, size: int, now: float) -> float:
    """The deadline of a response after the client took ``size`` more bytes; s, as ``now``."""
    return min(deadline + size / SEND_RATE, now + SEND_PATIENCE)

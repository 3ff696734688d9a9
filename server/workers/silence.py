"""Which connections may be closed unasked: those whose clients have said nothing."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from itertools import islice
from typing import Protocol, TypeVar

from pretune.server.process import listening

MOST = 64  # connections that the kernel is asked about at once


class Silent(Protocol):
    """A connection: ``is_silent`` goes by what was read from its socket."""

    sock: socket.socket

    def is_silent(self, now: float, grace: float) -> bool:
        """Return whether it has said nothing, or not all of a head, ``grace`` s after it could."""


C = TypeVar("C", bound=Silent)


def silent(connections: Iterable[C], now: float, grace: float) -> list[C]:
    """The first of them that are silent, in their order; nothing of theirs waits in the kernel."""
    candidates = (c for c in connections if c.is_silent(now, grace) and c.sock.fileno() >= 0)
    return unheard(islice(candidates, MOST))


def unheard(connections: Iterable[C]) -> list[C]:
    """Those of whom nothing waits in the kernel: not bytes, not an end."""
    asked = {c.sock.fileno(): c for c in connections}
    waiting = listening.readable(asked)
    return [connection for fd, connection in asked.items() if fd not in waiting]

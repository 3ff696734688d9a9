"""Inheritance of every child: what it gets from the master by fork and keeps across reloads."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from pretune.server.config import hooks
from pretune.server.process.log import Log
from pretune.server.process.scoreboard import Scoreboard


@dataclass(frozen=True)
class Inheritance:
    """``exchange``: a give and a take end, for connections that a busy worker gives to an idle one.

    The pair is one for all workers of all generations; who holds a descriptor in it is nobody's
    business but theirs.
    """

    listeners: tuple[socket.socket, ...]
    scoreboard: Scoreboard
    log: Log
    exchange: tuple[socket.socket, socket.socket]
    server: hooks.Server  # what hooks are called with


def exchange() -> tuple[socket.socket, socket.socket]:
    """The pair; neither end ever waits."""
    give, take = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    give.setblocking(False)
    take.setblocking(False)
    return give, take

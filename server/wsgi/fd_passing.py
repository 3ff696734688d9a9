"""Passing a connection from a worker that is busy, or leaves, to one that is idle.

All workers of all generations hold both ends of one socket pair. A connection put into it waits
there as one in a listening socket's queue does: whichever worker is free takes it, the one that
gave it included, and it outlives the worker that gave it. The message is the descriptor and what
the next worker cannot ask the kernel for, as JSON.

Only connections between two requests are passed, with nothing of theirs in a buffer of ours.
"""

from __future__ import annotations

import array
import json
import os
import socket
from typing import NamedTuple

_MOST = 4096  # bytes of a message; our own are far smaller


class Passed(NamedTuple):
    """A connection on its way. ``listener`` is the name of the address it came through."""

    sock: socket.socket
    listener: str
    peer: tuple[str, str]
    served: int


def give(end: socket.socket, passed: Passed) -> bool:
    """Send it off; False if there is no room. The caller closes its own descriptor after."""
    state = {"listener": passed.listener, "peer": passed.peer, "served": passed.served}
    try:
        socket.send_fds(end, [json.dumps(state).encode()], [passed.sock.fileno()])
    except OSError:  # full, or too many descriptors on their way
        return False
    return True


def take(end: socket.socket) -> Passed | None:
    """The next one, None if a sibling was faster. Raises OSError when no descriptor is free."""
    room = socket.CMSG_SPACE(array.array("i").itemsize)
    try:
        data, ancillary, flags, _ = end.recvmsg(_MOST, room, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return None
    if not ancillary:
        if flags & socket.MSG_CTRUNC:
            raise OSError("a connection was lost: no descriptors are left")
        return None
    fd = array.array("i", ancillary[0][2][:4])[0]
    state = json.loads(data)
    try:
        sock = socket.socket(fileno=fd)
    except OSError:
        os.close(fd)
        return None
    sock.setblocking(False)
    host, port = state["peer"]
    return Passed(sock, state["listener"], (host, port), state["served"])

"""A message pipe between two processes of the server: JSON objects, and descriptors beside them.

Its end is also the sign of life: it closes when the other process is gone, however it went.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
from collections.abc import Iterable
from typing import Any

# Kept under the smallest default of the kernel's socket buffers.
MAX_MESSAGE = 60_000


class Channel:
    """One end. Sequenced packets: a message is read whole or not at all.

    ``patient``: sending waits while the other end's buffer is full. The master must not: a stopped
    worker would stop it too.
    """

    def __init__(self, sock: socket.socket, *, patient: bool = True) -> None:
        self._sock = sock
        # gevent's sockets let other greenlets run where they would wait, whatever the flags say.
        self._unpatched: socket.socket = getattr(sock, "_sock", sock)
        self._flags = socket.MSG_NOSIGNAL | (0 if patient else socket.MSG_DONTWAIT)

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: dict[str, Any], fds: Iterable[int] = ()) -> bool:
        """False if the other end is gone, or does not listen."""
        data = json.dumps(message).encode()
        try:
            socket.send_fds(self._sock, [data], list(fds), self._flags)
        except OSError:
            return False
        return True

    def receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        """The next message and its descriptors; None at the end. Waits."""
        return self._receive(self._sock, 0)

    def receive_now(self) -> tuple[dict[str, Any] | None, list[int]] | None:
        """The same, or None if there is nothing yet: it never waits, and no greenlet comes between.

        So of several who listen each message is heard by one, and nobody waits for another's.
        """
        try:
            return self._receive(self._unpatched, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return None

    def _receive(self, sock: socket.socket, flags: int) -> tuple[dict[str, Any] | None, list[int]]:
        room = socket.CMSG_SPACE(16 * 4)
        data, ancillary, _, _ = sock.recvmsg(MAX_MESSAGE + 4096, room, flags)
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        for fd in fds:
            os.set_inheritable(fd, False)
        return (json.loads(data) if data else None), list(fds)

    def readable(self) -> bool:
        """Return whether ``receive`` would not wait. False while another process holds the other
        end.
        """
        poll = select.poll()
        poll.register(self._sock, select.POLLIN)
        return bool(poll.poll(0))

    def detach(self) -> int:
        return self._sock.detach()

    def close(self) -> None:
        self._sock.close()


def pair() -> tuple[Channel, Channel]:
    """The master's end and the other's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(ours, patient=False), Channel(theirs)


def adopt(fd: int, *, patient: bool = True) -> Channel:
    """The end that was passed as a descriptor."""
    return Channel(socket.socket(fileno=fd), patient=patient)

"""A message pipe between two processes of the server: JSON objects, and descriptors beside them.

Its end is also the sign of life: it closes when the other process is gone, however it went.
"""

from __future__ import annotations

import array
import json
import os
import socket
from collections.abc import Iterable
from typing import Any

# Kept under the smallest default of the kernel's socket buffers.
MAX_MESSAGE = 60_000


class Channel:
    """One end. Sequenced packets: a message is read whole or not at all."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        return self._sock.fileno()

    def send(self, message: dict[str, Any], fds: Iterable[int] = ()) -> bool:
        """False if the other end is gone."""
        data = json.dumps(message).encode()
        try:
            socket.send_fds(self._sock, [data], list(fds))
        except OSError:
            return False
        return True

    def receive(self) -> tuple[dict[str, Any] | None, list[int]]:
        """The next message and its descriptors; None at the end. Waits."""
        data, ancillary, _, _ = self._sock.recvmsg(MAX_MESSAGE + 4096, socket.CMSG_SPACE(16 * 4))
        fds = array.array("i")
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds.frombytes(payload[: len(payload) - len(payload) % fds.itemsize])
        for fd in fds:
            os.set_inheritable(fd, False)
        return (json.loads(data) if data else None), list(fds)

    def detach(self) -> int:
        return self._sock.detach()

    def close(self) -> None:
        self._sock.close()


def pair() -> tuple[Channel, Channel]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(ours), Channel(theirs)


def adopt(fd: int) -> Channel:
    """The end that was passed as a descriptor."""
    return Channel(socket.socket(fileno=fd))

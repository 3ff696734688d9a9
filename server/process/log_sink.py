"""The sink of a log's lines: a file, or a descriptor we were given.

It never blocks and never raises. A full disk or a pipe that nobody reads must not hold up requests.
A pipe gets a description of our own that does not block (making the given one so would do it to
everybody who shares it); a socket, as systemd's journal is one, is asked each time. When there is
no room a line waits for at most PATIENCE; if that was in vain, lines are dropped and counted until
one gets through again, which says how many were lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import stat
from collections.abc import Callable

from pretune.server.process.path_rights import Place, place_of, refuse_hard_link

PATIENCE = 1.0  # s
# O_NONBLOCK means nothing to a file, and lets a named pipe open.
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
_STANDARD = {"/dev/stdout": 1, "/dev/stderr": 2}


def _open_at(place: Place) -> tuple[int, bool]:
    """A descriptor, and whether the file was made for it. Raises OSError."""
    flags, name, at = _FLAGS | place.no_follow, place.name, place.dir_fd
    with contextlib.suppress(FileExistsError):
        return os.open(name, flags | os.O_EXCL, 0o644, dir_fd=at), True
    try:
        fd = os.open(name, flags, 0o644, dir_fd=at)
    except OSError as error:
        if error.errno != errno.ENXIO:
            raise
        # A pipe, unread yet.
        read_too = os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | place.no_follow
        fd = os.open(name, read_too, dir_fd=at)
    try:
        refuse_hard_link(place, os.fstat(fd))
    except OSError:
        os.close(fd)
        raise
    return fd, False


class Sink:
    """One log. ``-`` is the descriptor ``standard``. Raises OSError if it cannot be opened."""

    def __init__(
        self,
        path: str,
        standard: int,
        owner: tuple[int, int] | None = None,
        complain: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.path = path
        self._owner = owner
        self._complain = complain
        self._lost = 0
        self._socket: socket.socket | None = None
        given = standard if path == "-" else _STANDARD.get(path)
        self._given = given
        self.is_file = given is None
        self.fd = self._open() if given is None else self._take(given)

    def _open(self) -> int:
        with place_of(self.path) as place:
            fd, created = _open_at(place)
        if created and self._owner is not None and os.geteuid() == 0:
            # Workers open it again after they have given up root. Never a file that was there:
            # who put it there may have meant another.
            os.fchown(fd, *self._owner)
        return fd

    def _take(self, given: int) -> int:
        try:
            mode = os.fstat(given).st_mode
            if stat.S_ISSOCK(mode):
                self._socket = socket.socket(fileno=os.dup(given))
            elif stat.S_ISFIFO(mode):
                return os.open(f"/proc/self/fd/{given}", _FLAGS & ~os.O_CREAT)
        except OSError:
            pass  # closed, or not ours to open: then as it is
        return given

    def reopen(self) -> None:
        """Open the file again after it was moved away; the descriptor keeps its number.

        Raises OSError, and goes on with the old file.
        """
        if self.is_file:
            fresh = self._open()
            os.dup2(fresh, self.fd, inheritable=False)
            os.close(fresh)

    def close(self) -> None:
        """Give up what is ours; a descriptor we were given stays open."""
        if self._socket is not None:
            self._socket.close()
        if self.fd != self._given:
            os.close(self.fd)

    def write(self, text: str) -> None:
        """One line or several, as one write."""
        data = text.encode("utf-8", "backslashreplace")
        lost = self._lost
        if lost:
            data = b"\npretune: %d lines were lost here\n%b" % (lost, data)
        patient = not lost
        try:
            while data:
                try:
                    data = data[self._put(data) :]
                except BlockingIOError:
                    if not (patient and self._room()):
                        raise
                    patient = False
            self._lost -= lost
        except OSError as error:
            self._lost += 1
            if not lost:
                self._complain(f"cannot be written: {error.strerror}")

    def _put(self, data: bytes) -> int:
        if self._socket is not None:
            return self._socket.send(data, socket.MSG_DONTWAIT)
        return os.write(self.fd, data)

    def _room(self) -> bool:
        poll = select.poll()
        poll.register(self._socket or self.fd, select.POLLOUT)
        return bool(poll.poll(PATIENCE * 1000))

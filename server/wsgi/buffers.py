"""Buffers of a worker for clients slower than it: bodies on their way in, rests of responses.

Both are kept in memory up to a size, and together up to ``worker_buffer_memory``; beyond that in
temporary files that have no name, together up to ``worker_buffer_files``. Neither holds a thread. A
body for which there is no room is refused, for a response the app waits.

One body may take as much memory as it leaves: of 64 MiB the first up to 32, and each of ten slow
ones a tenth and the rest one more. So long ones are as fast as short ones while there is room, and
however many there are, some is left for the next (dynamic thresholds: Choudhury and Hahne, 1998).
"""

from __future__ import annotations

import io
import os
import socket
import tempfile
import threading
from contextlib import suppress
from typing import BinaryIO

from pretune.server.clock import Clock
from pretune.server.http11.refused import Refused
from pretune.server.process.log import Log
from pretune.server.process.sockets import unacknowledged
from pretune.server.workers import limits

IN_MEMORY = 1 << 20  # bytes of one stream, or of a body with no hope to fit, in memory
IN_FILE = 128 << 20  # bytes of one response that may be in a file: one client takes not all room
CHUNK = 65536
CALM = 60.0  # s between two complaints


class Allowance:
    """So many bytes, of which parts are taken and given back by several threads."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()

    def take(self, size: int) -> bool:
        """False, and nothing is taken, if there is not as much left."""
        with self._lock:
            if self.taken + size > self.most:
                return False
            self.taken += size
            return True

    def give(self, size: int) -> None:
        with self._lock:
            self.taken -= size

    @property
    def left(self) -> int:
        return self.most - self.taken


class Room:
    """All that one worker may hold for its clients. ``directory``: None for the usual one."""

    def __init__(self, memory: int, files: int, directory: str | None, log: Log) -> None:
        self.memory = Allowance(memory)
        self.files = Allowance(files)
        self.directory = directory
        self._log = log
        self._complained = -CALM
        self._warn_unless_writable()

    def _warn_unless_writable(self) -> None:
        """Better at the start than at the first long body."""
        where = self.directory
        with suppress(FileNotFoundError):  # there is no usual one: it has tried them all
            where = where or tempfile.gettempdir()
        if where is None or not os.access(where, os.W_OK | os.X_OK):
            self._log.warning(
                f"no temporary file can be written ({where or 'no directory'}): bodies for which "
                "--worker-buffer-memory is short are refused with 503; see --tmp-upload-dir"
            )

    def open(self) -> io.FileIO | None:
        """A file without a name; None if there is none to be had."""
        try:
            return tempfile.TemporaryFile(dir=self.directory, buffering=0)
        except OSError as error:
            self.complain(f"cannot create a temporary file: {error}")
            return None

    def append(self, file: io.FileIO, data: bytes | memoryview) -> bool:
        """Write all of it, if there is room; False if there is not."""
        size = len(data)
        if not self.files.take(size):
            self.complain("--worker-buffer-files is used up")
            return False
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) or 0 :]
        except OSError as error:  # the disk is full, say
            self.files.give(size)
            where = self.directory or tempfile.gettempdir()
            self.complain(f"cannot write to a temporary file in {where}: {error}")
            return False
        return True

    def complain(self, text: str) -> None:
        now = Clock.monotonic()
        if now > self._complained + CALM:
            self._complained = now
            self._log.error(f"no room for the bytes of slow clients: {text}")


class Body:
    """A request's body while it comes, and as ``wsgi.input``."""

    __slots__ = ("_bytes", "_file", "_in_memory", "_input", "_room", "_size")

    def __init__(self, room: Room, length: int | None) -> None:
        """``length`` in bytes; None: unknown. Raises Refused if there can be no room for it."""
        self._room = room
        self._bytes = io.BytesIO()  # grows in place: nothing is copied when the body is whole
        self._size = 0
        self._file: io.FileIO | None = None
        self._input: BinaryIO = self._bytes
        # A descriptor is taken for what has come, not for what is announced.
        fits = length is None or 2 * length <= room.memory.left
        self._in_memory = room.memory.most if fits else IN_MEMORY
        if length is not None and length > max(room.memory.most // 2, room.files.most):
            raise Refused(413, "the body is too long")

    def add(self, part: bytes) -> None:
        """Raises Refused."""
        size = len(part)
        if self._file is None:
            memory = self._room.memory
            fits = self._size + size <= min(self._in_memory, memory.left - size)
            if fits and memory.take(size):
                self._bytes.write(part)
                self._size += size
                return
            self._move()
        self._append(part)

    def _move(self) -> None:
        """From memory to a file."""
        self._file = self._room.open()
        if self._file is None:
            raise Refused(503, "there is no room for the body")
        size, self._size = self._size, 0
        try:
            with self._bytes.getbuffer() as held:
                self._append(held)
        finally:
            self._room.memory.give(size)
        self._bytes.close()

    def _append(self, data: bytes | memoryview) -> None:
        assert self._file is not None
        if not self._room.append(self._file, data):
            if self._size + len(data) > self._room.files.most:
                raise Refused(413, "the body is too long")
            raise Refused(503, "there is no room for the body")
        self._size += len(data)

    def input(self) -> BinaryIO:
        """The whole body as a file, at its beginning."""
        if self._file is not None:
            self._input = io.BufferedReader(self._file, CHUNK)
        self._input.seek(0)
        return self._input

    def close(self) -> None:
        """Give back what it took."""
        if self._file is None:
            self._room.memory.give(self._size)
        else:
            self._room.files.give(self._size)
            self._input.close()
            self._file.close()
        self._size = 0


def _thrifty(view: memoryview) -> memoryview:
    """The same bytes. A view keeps all it is a view of: what is mostly sent is not kept for it."""
    return view if 2 * len(view) > memoryview(view.obj).nbytes else memoryview(bytes(view))


class Rest:
    """The rest of a response that its client has not taken yet. One thread at a time.

    First come bytes in memory, then those in a file of ours, then a file of the app's.

    The client must take SEND_RATE. What it has taken is asked of the kernel, whose buffers may
    hold megabytes, and say that there is room only when a third of that is free.
    """

    __slots__ = (
        "_at", "_bytes", "_file", "_held", "_room", "_sent", "_sock", "_tail", "_taken", "_written",
        "deadline",
    )  # fmt: skip

    def __init__(self, room: Room, sock: socket.socket) -> None:
        self._room = room
        self._sock = sock
        self._bytes: memoryview | bytearray = bytearray()
        self._held = 0  # bytes taken from the room's memory
        self._file: io.FileIO | None = None
        self._at = 0  # sent of the file
        self._written = 0  # bytes in it
        self._tail: tuple[int, int, int] | None = None  # descriptor, offset, count
        self._sent = 0  # bytes handed to the kernel
        self._taken = -unacknowledged(sock)
        self.deadline = Clock.monotonic() + limits.SEND_PATIENCE

    def __bool__(self) -> bool:
        return bool(self._bytes) or self._at < self._written or self._tail is not None

    def add(self, data: bytes | memoryview, *, whole: bool = False) -> bool:
        """Keep it; False if there is no room. ``whole``: nothing follows, and the app holds it.

        What the app has made as one piece is in memory already, so it may be of any length there.
        """
        size = len(data)
        if self._at == self._written:
            if whole and not self._bytes:
                if self._room.memory.take(size):
                    self._bytes, self._held = _thrifty(memoryview(data)), self._held + size
                    return True
            elif len(self._bytes) + size <= IN_MEMORY and self._room.memory.take(size):
                if not isinstance(self._bytes, bytearray):
                    self._bytes = bytearray(self._bytes)
                self._bytes += data
                self._held += size
                return True
        if self._written + size > IN_FILE:
            return False
        if self._file is None:
            self._file = self._room.open()
        if self._file is None or not self._room.append(self._file, data):
            return False
        self._written += size
        return True

    def add_file(self, fd: int, offset: int, count: int) -> None:
        """The end of the response is in a file of the app's, which may close its descriptor."""
        self._tail = (os.dup(fd), offset, count)

    def send(self) -> int:
        """Send what the client takes now; how much that was.

        Raises BlockingIOError, OSError, and EOFError if the app's file has become shorter.
        """
        if self._bytes:
            sent = self._sock.send(self._bytes)
            if isinstance(self._bytes, bytearray):
                del self._bytes[:sent]
                self._give(sent)
            else:
                self._bytes = self._bytes[sent:]
                if not self._bytes:
                    self._bytes = bytearray()
                    self._give(self._held)
        elif self._at < self._written:
            assert self._file is not None
            sent = os.sendfile(
                self._sock.fileno(), self._file.fileno(), self._at, self._written - self._at
            )
            self._at += sent
            if self._at == self._written:
                self._empty_file()
        else:
            assert self._tail is not None
            fd, offset, count = self._tail
            sent = os.sendfile(self._sock.fileno(), fd, offset, count)
            if not sent:
                raise EOFError
            self._tail = (fd, offset + sent, count - sent)
            if sent == count:
                os.close(fd)
                self._tail = None
        self._sent += sent
        return sent

    def _give(self, size: int) -> None:
        self._held -= size
        self._room.memory.give(size)

    def _empty_file(self) -> None:
        assert self._file is not None
        self._room.files.give(self._written)
        self._file.seek(0)
        self._file.truncate()
        self._at = self._written = 0

    def send_at_once(self, data: bytes | memoryview) -> int:
        """Bytes of ``data`` the client takes now, when nothing is kept. Raises OSError."""
        try:
            sent = self._sock.send(data)
        except BlockingIOError:
            return 0
        self._sent += sent
        return sent

    def restart(self) -> None:
        """The client was up to date until now."""
        self._taken = self._sent - unacknowledged(self._sock)
        self.deadline = Clock.monotonic() + limits.SEND_PATIENCE

    def overdue(self, now: float) -> bool:
        """Return whether the client takes less than it must; moves the deadline on if not."""
        if now <= self.deadline:
            return False
        taken = self._sent - unacknowledged(self._sock)
        self.deadline = limits.extend_sending(self.deadline, taken - self._taken, now)
        self._taken = taken
        return now > self.deadline

    def close(self) -> None:
        """Give back what it took."""
        self._bytes = bytearray()
        self._give(self._held)
        if self._file is not None:
            self._room.files.give(self._written)
            self._at = self._written = 0
            self._file.close()
            self._file = None
        if self._tail is not None:
            os.close(self._tail[0])
            self._tail = None

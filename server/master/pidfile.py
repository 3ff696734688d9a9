"""The file that holds the master's pid.

The master keeps a lock on its file for as long as it lives, so that nobody has to guess from a
number: a file whose lock is free is stale, also when its pid belongs to somebody else by now (after
a restart of a container the pids are the same ones again). Record locks are the process's own:
forked workers do not hold them, and the kernel frees them however the master ends. They are lost
when the process closes any descriptor of the file, so only this module opens it.
"""

from __future__ import annotations

import fcntl
import os

from pretune.server.process.path_rights import place_of, refuse_hard_link


class PidFileTaken(Exception):
    """A master that lives holds the file, or it cannot be written."""


class PidFile:
    """One pid file, for one process."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = -1

    def create(self) -> None:
        """Write our pid; a stale file is replaced. Raises PidFileTaken."""
        try:
            self._fd = _locked(self.path)
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        except OSError as error:
            self._close()
            raise PidFileTaken(
                f"cannot write the pid file {self.path}: {error.strerror}"
            ) from error

    def rename(self, path: str) -> None:
        """Go on under another name, replacing what is there. Raises PidFileTaken."""
        try:
            if self._ours():
                with place_of(self.path, link=False) as old, place_of(path, link=False) as new:
                    os.rename(old.name, new.name, src_dir_fd=old.dir_fd, dst_dir_fd=new.dir_fd)
                self.path = path
                return
            # Somebody removed it: say our pid again, under the new name.
            self._close()
            self.path = path
        except OSError as error:
            raise PidFileTaken(f"cannot write the pid file {path}: {error.strerror}") from error
        self.create()

    def remove(self) -> None:
        """Remove the file, unless it is another's by now. Raises nothing."""
        try:
            if self._ours():
                with place_of(self.path, link=False) as place:
                    os.unlink(place.name, dir_fd=place.dir_fd)
        except OSError:
            pass
        self._close()

    def shed(self) -> None:
        """In a forked child: close it, or the app could write another pid to it."""
        self._close()

    def _ours(self) -> bool:
        """Return whether the path still leads to the file we hold, with our pid in it."""
        if self._fd < 0:
            return False
        try:
            on_disk, held = os.stat(self.path), os.fstat(self._fd)
        except OSError:
            return False
        same = (on_disk.st_dev, on_disk.st_ino) == (held.st_dev, held.st_ino)
        return same and os.pread(self._fd, 32, 0).strip() == b"%d" % os.getpid()

    def _close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _locked(path: str) -> int:
    """A descriptor of the file, which is locked. Raises PidFileTaken, OSError."""
    while True:
        with place_of(path, link=False) as place:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(place.name, flags, 0o644, dir_fd=place.dir_fd)
        try:
            refuse_hard_link(place, os.fstat(fd))
            try:
                fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "?"
                raise PidFileTaken(f"{path}: already running with pid {holder}") from None
            # It may have been removed or replaced between the opening and the lock.
            held, on_disk = os.fstat(fd), os.stat(path)
            if (held.st_dev, held.st_ino) == (on_disk.st_dev, on_disk.st_ino):
                return fd
        except FileNotFoundError:
            pass
        except BaseException:
            os.close(fd)
            raise
        os.close(fd)

"""Accepting fails for want of something: said once, with what to do about it."""

from __future__ import annotations

import errno
import math

from pretune.server.process.log import Log

CALM = 60.0  # s without a failure after which another one is news

# After these the connection stays in the kernel's queue: to try again at once is to spin.
_REMEDIES = {
    errno.EMFILE: (
        "this process may open no more files: raise its limit (`ulimit -n`, systemd's LimitNOFILE, "
        "Docker's --ulimit nofile) or lower --worker-connections"
    ),
    errno.ENFILE: "the machine has no more open files to give: raise the sysctl fs.file-max",
    errno.ENOBUFS: "the kernel has no memory for sockets: lower --worker-connections",
    errno.ENOMEM: "the kernel has no memory for sockets: lower --worker-connections",
}


class Shortage:
    """One worker's failures to accept."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._last = -math.inf  # time of the last failure, s

    def note(self, error: OSError, connections: int, now: float) -> bool:
        """Log ``error`` if it is for want of something and the last was long ago; return whether it
        is.
        """
        remedy = _REMEDIES.get(error.errno or 0)
        if remedy is None:
            return False
        if now > self._last + CALM:
            self._log.error(
                f"cannot accept: {error.strerror} ({connections} connections); {remedy}"
            )
        self._last = now
        return True

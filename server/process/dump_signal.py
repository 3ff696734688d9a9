"""DUMP_SIGNAL makes a process write the stack of every thread to the error log, even stuck in C."""

from __future__ import annotations

import faulthandler
import signal

from pretune.server.process.log import Log

# A real-time signal: the ordinary ones are the app's to use.
DUMP_SIGNAL = signal.SIGRTMIN + 3


def dump_on_signal(log: Log) -> None:
    """From now on the master can see where every thread of this process stands."""
    faulthandler.register(DUMP_SIGNAL, file=log.error_fd, all_threads=True, chain=False)

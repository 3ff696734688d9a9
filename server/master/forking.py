"""Forking, so that the child is nothing like the parent's heir: no handlers, no signals, no ends.

A signal that arrives between the fork and the child's first line would run the parent's handlers
in the child, or reach the parent's wake-up pipe; so signals are blocked across the fork.
"""

from __future__ import annotations

import atexit
import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable

from pretune.server.process.importing import DESCRIPTORS_CLOSED

# What the master and the zygote handle; children start with the defaults again.
HANDLED = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGWINCH,
    signal.SIGCHLD,
)


# What a failure to fork, or to open the channel to the child, is for want of, and what helps.
_REMEDIES = {
    errno.EMFILE: (
        "the master may open no more files: raise its limit (`ulimit -n`, systemd's LimitNOFILE, "
        "Docker's --ulimit nofile) or lower --workers"
    ),
    errno.ENFILE: "the machine has no more open files to give: raise the sysctl fs.file-max",
    errno.EAGAIN: (
        "there may be no more processes: raise the limit (`ulimit -u`, systemd's TasksMax, "
        "Docker's --pids-limit) or lower --workers"
    ),
    errno.ENOMEM: "the kernel has no memory for a process: lower --workers",
}


def explain(error: Exception) -> str:
    """Why nothing can be forked, and what helps, for the log."""
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    remedy = _REMEDIES.get(error.errno or 0)
    return f"{error.strerror}; {remedy}" if remedy else error.strerror


def fork(role: Callable[[], int]) -> int:
    """Fork; the child runs ``role`` and exits with its result. Returns the child's pid."""
    sys.stdout.flush()
    sys.stderr.flush()
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        pid = os.fork()
    except OSError:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        raise
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return pid
    signal.set_wakeup_fd(-1)
    for number in HANDLED:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    code = 1
    try:
        code = role()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:
        traceback.print_exc()
        if isinstance(error, OSError) and error.errno == errno.EBADF:
            code = DESCRIPTORS_CLOSED
    finally:
        end(code)
    return 0


def share_imports(worker_class: str) -> None:
    """In who forks: import what each worker would, so that all have the same pages.

    Of the standard library only: what is the app's, or this server's, is read anew by new workers.
    asyncio takes 7 MiB, of which a forked worker shares half; WSGI workers need none of it.
    """
    if worker_class == "asgi":
        importlib.import_module("asyncio")


def end(code: int) -> None:
    """Leave a forked child as an interpreter leaves: its threads joined, its atexit run.

    ``sys.exit`` would unwind through the parent's frames; multiprocessing ends its children in
    the same way. The caller's caller kills us if the app's threads take too long.
    """
    try:
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)

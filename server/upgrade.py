"""Replacing the program while it serves: the master starts a new one, which inherits its sockets.

The new master is a child of the old one, started with the same command line in the same directory,
so that a link to a newer release or a rebuilt environment is followed. Both serve until somebody
ends one: the old one after the new one was ready (TERM to it), or the new one if it turned out
badly. Between them is a channel: it says ``ready``, and its end is the sign that the other is gone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass

from pretune.server import birth, listening, origin
from pretune.server.channel import Channel, adopt, pair

PARENT = "PRETUNE_MASTER"  # pid of the master before us, and our end of the channel to it
METRICS = "PRETUNE_METRICS"  # as listening.LEGACY, for the address of the metrics
_OURS = (PARENT, METRICS, listening.LEGACY)


@dataclass(eq=False)
class Relative:
    """The other master: the one before or the one after us."""

    pid: int
    channel: Channel
    ready: bool = False


def predecessor(environ: MutableMapping[str, str]) -> Relative | None:
    """The master that started us as its successor; its variables are removed."""
    pid, _, fd = environ.pop(PARENT, "").partition(":")
    if not pid.isdigit() or not fd.isdigit():
        return None
    channel = adopt(int(fd), patient=False)
    os.set_inheritable(int(fd), False)
    return Relative(int(pid), channel)


def start(
    listeners: Sequence[object],
    metrics: Sequence[object],
    others: Sequence[int],
    before: Callable[[], None],
) -> Relative:
    """Start the program anew, with these sockets and descriptors. Raises OSError.

    ``before`` runs in the new process, before the program; what it raises ends that process.
    """
    begun = origin.remember()
    environ = {name: value for name, value in begun.environ if name not in _OURS}
    variables, fds = listening.bequeath(listeners)  # type: ignore[arg-type]
    environ.update(variables)
    if metrics:
        variables, more = listening.bequeath(metrics)  # type: ignore[arg-type]
        environ[METRICS] = variables[listening.LEGACY]
        fds += more
    ours, theirs = pair()
    environ[PARENT] = f"{os.getpid()}:{theirs.fileno()}"

    def role() -> int:
        # Both are checked against the pid of who reads them.
        for name in ("LISTEN_PID", "WATCHDOG_PID"):
            if environ.get(name):
                environ[name] = str(os.getpid())
        before()
        os.chdir(begun.directory)
        for fd in (*fds, *others, theirs.fileno()):
            os.set_inheritable(fd, True)
        os.execve(begun.command[0], begun.command, environ)

    try:
        pid = birth.fork(role)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Relative(pid, ours)

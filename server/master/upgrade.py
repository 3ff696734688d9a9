"""Replacing the program while it serves: the master starts a new one, which inherits its sockets.

The new master is a child of the old one, started with the same command line in the same directory,
so that a link to a newer release or a rebuilt environment is followed. Both serve until somebody
ends one: the old one after the new one was ready (TERM to it), or the new one if it turned out
badly. Between them is a channel: it says ``ready``, and its end is the sign that the other is gone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pretune.server.config import hooks
from pretune.server.config.config import Config
from pretune.server.master import forking, own_command
from pretune.server.master.child import Generation
from pretune.server.master.crash_backoff import describe
from pretune.server.master.generations import Generations
from pretune.server.master.loop import Loop
from pretune.server.master.notify import Notifier
from pretune.server.master.pidfile import PidFile, PidFileTaken
from pretune.server.process import listening
from pretune.server.process.channel import Channel, adopt, pair
from pretune.server.process.log import Log

PARENT = "PRETUNE_MASTER"  # pid of the master before us, and our end of the channel to it
METRICS = "PRETUNE_METRICS"  # as listening.LEGACY, for the address of the metrics
_OURS = (PARENT, METRICS, listening.LEGACY)


@dataclass(eq=False)
class Relative:
    """The other master: the one before or the one after us."""

    pid: int
    channel: Channel
    ready: bool = False


def find_predecessor(environ: MutableMapping[str, str]) -> Relative | None:
    """The master that started us as its successor; its variables are removed."""
    pid, _, fd = environ.pop(PARENT, "").partition(":")
    if not pid.isdigit() or not fd.isdigit():
        return None
    channel = adopt(int(fd), patient=False)
    os.set_inheritable(int(fd), False)
    return Relative(int(pid), channel)


def start_successor(
    listeners: Sequence[object],
    metrics: Sequence[object],
    others: Sequence[int],
    before: Callable[[], None],
) -> Relative:
    """Start the program anew, with these sockets and descriptors. Raises OSError.

    ``before`` runs in the new process, before the program; what it raises ends that process.
    """
    begun = own_command.remember()
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
        pid = forking.fork(role)
    except OSError:
        ours.close()
        raise
    finally:
        theirs.close()
    return Relative(pid, ours)


class Metrics(Protocol):
    """Whoever answers for the metrics: one master at a time."""

    listeners: list[socket.socket]

    def resume(self) -> None: ...
    def stop(self) -> None: ...


class Owner(Protocol):
    """The master, as far as its relatives need it."""

    config: Config
    generations: Generations
    listeners: list[socket.socket]
    log: Log
    loop: Loop
    notifier: Notifier
    pid_file: PidFile | None
    server: hooks.Server
    stopping_since: float | None

    @property
    def exporting(self) -> Metrics: ...
    def hook(self, generation: Generation | None, name: str, *arguments: object) -> bool: ...
    def rest(self, resting: bool) -> None: ...


class Relatives:
    """The master before this one and the one after it, as long as they live."""

    def __init__(self, master: Owner, environ: MutableMapping[str, str]) -> None:
        self._master = master
        self._before = find_predecessor(environ)
        self._after: Relative | None = None

    @property
    def alone(self) -> bool:
        """Sockets and files are this master's alone."""
        return self._before is None and self._after is None

    @property
    def succeeded(self) -> bool:
        """The new program serves."""
        return self._after is not None and self._after.ready

    def watch_predecessor(self) -> None:
        if self._before is not None:
            self._master.loop.watch(self._before.channel, self._note_predecessor_gone)

    def shed(self) -> None:
        """In a forked child: these are the master's."""
        for other in (self._before, self._after):
            if other is not None:
                other.channel.close()

    # -- we are the old one

    def upgrade(self) -> None:
        """Start the program anew, if that is possible now."""
        master, log = self._master, self._master.log
        if not self.alone:
            log.warning("no upgrade: the other master still lives")
            return
        if os.getpid() == 1:
            # Its end, after the upgrade, would be the end of everything in the container.
            log.warning("no upgrade: this is process 1; HUP brings new code")
            return
        generation = master.generations.current

        def before() -> None:
            master.hook(generation, "pre_exec", master.server)

        passed = [fd for fd in (master.config.events_fd,) if fd is not None]
        try:
            self._after = start_successor(
                master.listeners, master.exporting.listeners, passed, before
            )
        except OSError as error:
            log.error(f"no upgrade: {error}")
            return
        master.loop.watch(self._after.channel, self._receive_from_successor)
        log.info(f"starting a new master beside this one, pid {self._after.pid}")

    def _receive_from_successor(self) -> None:
        after, master = self._after, self._master
        assert after is not None
        try:
            message, _ = after.channel.receive()
        except OSError:
            message = None
        if message is None:
            master.loop.forget(after.channel)  # of its end the kernel tells
        elif "ready" in message:
            after.ready = True
            master.log.info(f"the new master {after.pid} is ready: TERM to this one ends it")
            master.exporting.stop()
            master.notifier.main_pid(after.pid)

    def note_end(self, pid: int, status: int) -> bool:
        """A child has ended; whether it was the new master."""
        after, master = self._after, self._master
        if after is None or pid != after.pid:
            return False
        if master.loop.watches(after.channel) and after.channel.readable():
            self._receive_from_successor()  # it may have been ready before
        master.loop.forget(after.channel)
        after.channel.close()
        self._after = None
        what = "ended" if after.ready else "did not come up"
        master.log.error(
            f"the new master {after.pid} {what} ({describe(status)}): this one goes on"
        )
        if master.stopping_since is None:
            master.notifier.main_pid(os.getpid())
            master.exporting.resume()
            master.rest(False)
        return True

    # -- we are the new one

    def say_ready(self) -> None:
        """All our workers can answer."""
        if self._before is not None and not self._before.ready:
            self._before.ready = True
            self._before.channel.send({"ready": True})
            self._master.exporting.resume()

    def _note_predecessor_gone(self) -> None:
        """It never says anything: it is gone."""
        before, self._before = self._before, None
        master = self._master
        assert before is not None
        master.loop.forget(before.channel)
        before.channel.close()
        master.log.info(f"the old master {before.pid} is gone")
        master.exporting.resume()
        if master.pid_file is not None and master.config.pid_file:
            try:
                master.pid_file.rename(master.config.pid_file)
            except PidFileTaken as error:
                master.log.error(str(error))

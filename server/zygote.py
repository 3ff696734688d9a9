"""The zygote: loads the app once and forks workers from it on the master's command.

The master never imports the app, so a reload needs only a new zygote, and the master stays small.
Everything alive after the import is moved out of the garbage collector's sight, or the first
collection in each worker would touch, and thereby copy, every page.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import time

from pretune.server import birth, importing, worker
from pretune.server.board import Board
from pretune.server.channel import Channel, adopt
from pretune.server.config import Config, choose_class
from pretune.server.log import Log

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)  # the master decides


def main(
    config: Config,
    listeners: tuple[socket.socket, ...],
    channel: Channel,
    board: Board,
    log: Log,
) -> int:
    """Run the zygote until the master is gone or says stop and the last worker has ended."""
    began = time.monotonic()
    try:
        loaded = worker.load_app(config)
        choose_class(config.settings, loaded.interface)
    except importing.TargetError as error:
        return worker.report_failure(channel, error)
    except ValueError as error:
        return worker.report_failure(channel, importing.TargetError(str(error)))
    gc.collect()
    gc.freeze()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    channel.send({"loaded": time.monotonic() - began})
    children: set[int] = set()
    stopping = False
    poll = select.poll()
    poll.register(wake, select.POLLIN)
    poll.register(channel.fileno(), select.POLLIN)
    while not (stopping and not children):
        for fd, _ in poll.poll():
            if fd == wake:
                os.read(wake, 512)
                _reap(channel, children)
                continue
            message, fds = channel.receive()
            if message is None:
                os._exit(1)  # the master is gone; the workers notice it themselves
            if "fork" in message:
                (end,) = fds
                row = message["row"]

                def role(end: int = end, row: int = row) -> int:
                    channel.close()
                    os.close(wake)
                    os.close(woken)
                    return worker.main(config, listeners, adopt(end), board, row, log, loaded)

                pid = birth.fork(role)
                os.close(end)
                children.add(pid)
                channel.send({"forked": pid, "ticket": message["fork"]})
            else:
                stopping = True
    return 0


def _reap(channel: Channel, children: set[int]) -> None:
    while children:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        # The app's own children end here too, when they were started during the import.
        if pid in children:
            children.discard(pid)
            channel.send({"exited": pid, "status": status})

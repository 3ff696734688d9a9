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

from pretune.server.clock import Clock
from pretune.server.config import hooks
from pretune.server.config.config import Config, choose_class, hook_settings
from pretune.server.master import forking, worker_main
from pretune.server.probes import left_open
from pretune.server.process import listening
from pretune.server.process.channel import Channel, adopt
from pretune.server.process.dump_signal import dump_on_signal
from pretune.server.process.importing import TargetError, user_traceback
from pretune.server.workers.inheritance import Inheritance

_IGNORED = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)  # the master decides


def main(config: Config, inheritance: Inheritance, channel: Channel) -> int:
    """Run the zygote until the master is gone or says stop and the last worker has ended."""
    began, before = Clock.monotonic(), left_open.look()
    dump_on_signal(inheritance.log)
    try:
        worker_main.take_on_privileges(config, "zygote")
        loaded = worker_main.load_app(config)
        forking.share_imports(choose_class(config.settings, loaded.interface))
    except (TargetError, ValueError) as error:
        return worker_main.report_failure(channel, error)
    gc.collect()
    _warn_of_open(inheritance, left_open.find(before, config.chdir))
    gc.freeze()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    channel.send({"loaded": Clock.monotonic() - began})
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
                slot = message["slot"]
                me = hooks.Worker(hook_settings(config), inheritance.log, message["fork"])
                _before_fork(config, inheritance, me)

                def role(end: int = end, slot: int = slot, me: hooks.Worker = me) -> int:
                    channel.close()
                    os.close(wake)
                    os.close(woken)
                    return worker_main.main(config, inheritance, adopt(end), slot, me, loaded)

                try:
                    pid = forking.fork(role)
                except OSError as error:
                    inheritance.log.error(f"no worker can be forked: {forking.explain(error)}")
                    os.close(end)
                    continue  # the master sees its end of the channel close
                os.close(end)
                children.add(pid)
                channel.send({"forked": pid, "ticket": message["fork"]})
            elif "reopen" in message:
                inheritance.log.reopen()
            else:
                stopping = True
                for listener in inheritance.listeners:
                    listening.let_go(listener)  # no worker will inherit them any more
    return 0


def _warn_of_open(inheritance: Inheritance, found: list[dict[str, str]]) -> None:
    """Say what the import left open, which every worker forked from here will share or lack."""
    if found:
        named = "; ".join(f"{each['kind']} {each['name']}" for each in found)
        inheritance.log.warning(
            f"loaded before the fork, the application left open: {named}. Workers share its "
            "connections and have none of its threads: open them after the fork, or switch "
            "preload_app off"
        )


def _before_fork(config: Config, inheritance: Inheritance, me: hooks.Worker) -> None:
    """Here, and not in the master: the hook's business is with what the app has opened."""
    try:
        config.hooks.call("pre_fork", inheritance.server, me)
    except (Exception, SystemExit) as error:
        inheritance.log.error(f"the hook pre_fork failed\n{user_traceback(error)}")


def _reap(channel: Channel, children: set[int]) -> None:
    """Tell of every child that has ended."""
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

"""The master: listens, has workers forked, watches them, replaces them, and lets them go.

It never imports the app. Everything it does is an answer to one of: a signal, a message of a
worker or zygote, a child's end, the passing of time; after each of them ``_reconcile`` compares
what there is with what there should be. Signals: TERM finishes what was begun; INT and QUIT stop
at once; HUP brings up new workers and lets the old ones go once those are ready; TTIN and TTOU
change the number of workers; USR1 reopens the logs.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from collections import deque
from typing import Any

from pretune.server import birth, listening, policy, worker, zygote
from pretune.server.board import Board
from pretune.server.channel import pair
from pretune.server.children import Generation, Worker, Zygote
from pretune.server.config import Config, boot_limit
from pretune.server.context import DUMP_SIGNAL
from pretune.server.events import Events
from pretune.server.log import Log

CRASHED = 1  # exit code after a crash loop
BOOT_FAILED = worker.BOOT_FAILED  # exit code when no worker was ever ready

SIGNALS = {
    signal.SIGTERM: "term",
    signal.SIGINT: "quit",
    signal.SIGQUIT: "quit",
    signal.SIGHUP: "hup",
    signal.SIGTTIN: "ttin",
    signal.SIGTTOU: "ttou",
    signal.SIGUSR1: "usr1",
    signal.SIGCHLD: "chld",
}


class Master:
    """Runs until told to stop."""

    def __init__(self, config: Config, listeners: list[socket.socket], log: Log) -> None:
        self.config = config
        self.settings = config.settings
        self.listeners = listeners
        self.log = log
        self.events = Events(config.events_fd)
        self.board = Board(config.settings.threads)
        self.count = config.settings.workers
        self.workers: dict[int, Worker] = {}  # by ticket
        self.zygotes: set[Zygote] = set()
        self.serving: Generation | None = None
        self.coming: Generation | None = Generation(1)
        self.retiring: Worker | None = None  # waits for its successor
        self.ever_ready = False
        self.stopping_since: float | None = None
        self.code = 0
        self._pid = os.getpid()
        self._tickets = 0
        self._signals: deque[int] = deque()
        self._selector = selectors.DefaultSelector()
        self._looked = 0.0

    # -- the loop

    def run(self) -> int:
        """Serve; the exit code."""
        self._catch_signals()
        if self.config.pid_file:
            with open(self.config.pid_file, "w") as file:
                file.write(f"{self._pid}\n")
        address = ", ".join(listening.name(sock) for sock in self.listeners)
        self.log.info(f"listening at {address}, starting {self.count} workers")
        self.events.emit("listening", address=address)
        assert self.coming is not None
        self._begin(self.coming)
        try:
            while not self._ended():
                for key, _ in self._selector.select(self._patience()):
                    # What came before it in this round may have ended whom it is about.
                    if self._selector.get_map().get(key.fd) is key:
                        key.data()
                while self._signals:
                    getattr(self, "_on_" + SIGNALS[signal.Signals(self._signals.popleft())])()
                self._watch(time.monotonic())
                self._reconcile(time.monotonic())
        finally:
            self._kill_all()
            listening.close(self.listeners, unlink=True)
            if self.config.pid_file and os.path.exists(self.config.pid_file):
                os.unlink(self.config.pid_file)
        self.log.info("stopped")
        self.events.emit("stopped")
        return self.code

    def _catch_signals(self) -> None:
        wake, woken = os.pipe()
        for fd in (wake, woken):
            os.set_blocking(fd, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        for number in SIGNALS:
            signal.signal(number, lambda n, _: self._signals.append(n))
        self._wake = (wake, woken)
        self._selector.register(wake, selectors.EVENT_READ, lambda: os.read(wake, 512))

    def _ended(self) -> bool:
        return self.stopping_since is not None and not self.workers and not self.zygotes

    def _patience(self) -> float:
        if self.stopping_since is not None or any(w.ordered for w in self.workers.values()):
            return 0.05
        nearest = policy.watch_interval(self.settings.timeout)
        loop = self._current.loop
        if loop.not_before:
            nearest = min(nearest, max(0.01, loop.not_before - time.monotonic()))
        return nearest

    @property
    def _current(self) -> Generation:
        """The generation that gets new workers."""
        generation = self.coming or self.serving
        assert generation is not None
        return generation

    # -- signals

    def _on_term(self) -> None:
        self._stop("stop", self.settings.graceful_timeout)

    def _on_quit(self) -> None:
        self._stop("stop", 0.0)

    def _on_hup(self) -> None:
        if self.stopping_since is not None:
            return
        if self.coming is not None:
            if self.serving is None:
                return  # the first workers are still coming, with the code there is
            self._abandon(self.coming)
        self.log.info("reloading")
        self.coming = Generation(self._current.number + 1)
        self._begin(self.coming)

    def _on_ttin(self) -> None:
        self.count += 1
        self._current.announced = False

    def _on_ttou(self) -> None:
        self.count = max(1, self.count - 1)

    def _on_usr1(self) -> None:
        self.log.reopen()
        for each in self.workers.values():
            each.channel.send({"reopen": True})

    def _on_chld(self) -> None:
        """Reap every child, also those an init process inherits."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            self._exited(pid, status)

    # -- children come

    def _begin(self, generation: Generation) -> None:
        """Start a generation's zygote, if it has one; its workers follow in _reconcile."""
        if not self.settings.preload_app:
            return
        ours, theirs = pair()

        def role() -> int:
            self._become_child()
            ours.close()
            return zygote.main(self.config, tuple(self.listeners), theirs, self.board, self.log)

        pid = birth.fork(role)
        theirs.close()
        made = Zygote(pid, ours, time.monotonic())
        generation.zygote = made
        self.zygotes.add(made)
        self._selector.register(
            ours, selectors.EVENT_READ, lambda: self._hear_zygote(generation, made)
        )

    def _spawn(self, generation: Generation) -> None:
        ours, theirs = pair()
        self._tickets += 1
        row = self.board.allot()
        made = Worker(self._tickets, generation, ours, row, time.monotonic())
        if generation.zygote is not None:
            message = {"fork": made.ticket, "row": row}
            generation.zygote.channel.send(message, (theirs.fileno(),))
        else:

            def role() -> int:
                self._become_child()
                ours.close()
                listeners = tuple(self.listeners)
                return worker.main(self.config, listeners, theirs, self.board, row, self.log)

            made.pid = birth.fork(role)
        theirs.close()
        self.workers[made.ticket] = made
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear(made))

    def _become_child(self) -> None:
        """In a child: close what is the master's, above all its ends of the other channels.

        A sibling that held them would hide the master's death from their owners.
        """
        self._selector.close()
        self.events.close()
        for fd in self._wake:
            os.close(fd)
        for each in self.workers.values():
            each.channel.close()
        for other in self.zygotes:
            other.channel.close()

    # -- messages

    def _hear(self, who: Worker) -> None:
        try:
            message, _ = who.channel.receive()
        except OSError:
            message = None
        if message is None:
            self._selector.unregister(who.channel)
            # The zygote that could tell how it ended is gone too.
            zygote_ = who.generation.zygote
            if zygote_ is not None and zygote_ not in self.zygotes:
                self._lost(who, None)
        elif "ready" in message:
            self._became_ready(who, message["ready"])
        elif "boot_failed" in message:
            who.boot_failure = message["boot_failed"]
            self._boot_failed(who.pid, message["boot_failed"], message["traceback"])
        elif "retire" in message:
            who.asks_to_retire = True

    def _hear_zygote(self, generation: Generation, who: Zygote) -> None:
        try:
            message, _ = who.channel.receive()
        except OSError:
            message = None
        if message is None:
            self._selector.unregister(who.channel)
        elif "loaded" in message:
            who.loaded = True
            self.log.info(f"zygote {who.pid} loaded the app in {message['loaded']:.2f} s")
        elif "boot_failed" in message:
            self._boot_failed(who.pid, message["boot_failed"], message["traceback"])
        elif "forked" in message:
            born = self.workers.get(message["ticket"])
            if born is not None:
                born.pid = message["forked"]
        elif "exited" in message:
            self._exited(message["exited"], message["status"])

    def _became_ready(self, who: Worker, boot_s: float) -> None:
        who.ready = True
        self.ever_ready = True
        self.log.info(f"worker {who.pid} is ready after {boot_s:.2f} s")
        self.events.emit("worker_ready", pid=who.pid, boot_s=boot_s)

    def _boot_failed(self, pid: int, message: str, traceback: str) -> None:
        self.log.error(f"the app does not boot: {message}\n{traceback}")
        self.events.emit("boot_failed", pid=pid, message=message, traceback=traceback)

    # -- children go

    def _exited(self, pid: int, status: int) -> None:
        for each in self.workers.values():
            if each.pid == pid:
                self._lost(each, status)
                return
        for each_zygote in self.zygotes:
            if each_zygote.pid == pid:
                self._lost_zygote(each_zygote, status)
                return

    def _lost(self, who: Worker, status: int | None) -> None:
        """A worker has ended."""
        self._drain(who)
        now = time.monotonic()
        reason = policy.exit_reason(who.ordered, status, who.ready)
        shutdown = now - who.ordered_at if who.ordered is not None else None
        text = f"worker {who.pid} ended ({reason}, {policy.describe(status)})"
        (self.log.error if reason in ("crash", "boot") else self.log.info)(text)
        self.events.emit(
            "worker_exit", pid=who.pid, status=status, reason=reason, shutdown_s=shutdown
        )
        self._unregister(who.channel)
        del self.workers[who.ticket]
        who.channel.close()
        self.board.release(who.row)
        if self.retiring is who:
            self.retiring = None
        if reason in ("crash", "boot"):
            self._crashed(who, reason, now)

    def _crashed(self, who: Worker, reason: str, now: float) -> None:
        generation = who.generation
        generation.loop = generation.loop.died(now - who.born, now)
        if reason == "boot" and generation is self.coming:
            if who.boot_failure is None:
                text = "a worker ended before it was ready"
                self._boot_failed(who.pid, text, "")
            self._give_up(generation)
        elif generation.loop.hopeless and not any(w.serving for w in self.workers.values()):
            self.log.error(f"{generation.loop.quick} workers in a row ended at once: giving up")
            self.code = CRASHED
            self._stop("stop", 0.0)

    def _lost_zygote(self, who: Zygote, status: int) -> None:
        while self._registered(who.channel):
            self._selector.get_key(who.channel).data()
        self.zygotes.discard(who)
        who.channel.close()
        for each in tuple(self.workers.values()):
            if each.generation.zygote is who and not each.pid:
                self._lost(each, None)
        if who.stopping or self.stopping_since is not None:
            return
        self.log.error(f"zygote {who.pid} ended ({policy.describe(status)})")
        if self.coming is not None and self.coming.zygote is who:
            if not who.loaded and status >> 8 != BOOT_FAILED:
                self._boot_failed(who.pid, "the zygote ended before the app was loaded", "")
            self._give_up(self.coming)
        else:
            self._on_hup()  # its workers serve on until new ones, from a new zygote, are ready

    def _give_up(self, generation: Generation) -> None:
        """The generation on its way does not boot."""
        if self.serving is None:
            self.log.error("no worker could be started: stopping")
            self.code = BOOT_FAILED
            self._stop("stop", 0.0)
        else:
            self.log.error("the new code does not boot: the old workers go on serving")
            self._abandon(generation)

    def _abandon(self, generation: Generation) -> None:
        self.coming = None
        for each in self.workers.values():
            if each.generation is generation:
                each.order("stop", "stop", 0.0)
        self._stop_zygote(generation)

    def _stop_zygote(self, generation: Generation) -> None:
        if generation.zygote is not None and not generation.zygote.stopping:
            generation.zygote.stopping = True
            generation.zygote.channel.send({"stop": True})

    # -- what is against what should be

    def _reconcile(self, now: float) -> None:
        if self.stopping_since is not None:
            return
        self._replace_retiring()
        generation = self._current
        mine = [w for w in self.workers.values() if w.generation is generation]
        live = [w for w in mine if w.ordered is None]
        wanted = self.count + (1 if self.retiring in live else 0)
        may = generation.zygote is None or generation.zygote.loaded
        if may and now >= generation.loop.not_before:
            for _ in range(wanted - len(live)):
                self._spawn(generation)
        for surplus in live[wanted:]:
            surplus.order("stop", "retire", self.settings.graceful_timeout)
        if sum(w.serving for w in mine) >= self.count:
            if not generation.announced:
                generation.announced = True
                self.log.info(f"ready: {self.count} workers can answer")
                self.events.emit("ready")
            if self.coming is generation:
                self._switch(generation)

    def _switch(self, generation: Generation) -> None:
        """The coming generation is ready: it serves, and the one before leaves."""
        before, self.serving, self.coming = self.serving, generation, None
        if before is None:
            return
        for each in self.workers.values():
            if each.generation is not generation and each.ordered is None:
                each.order("stop", "retire", self.settings.graceful_timeout)
        self._stop_zygote(before)

    def _replace_retiring(self) -> None:
        """Recycling, one at a time: the successor is ready before the worker leaves."""
        if self.retiring is None and self.coming is None:
            asking = [w for w in self.workers.values() if w.asks_to_retire and w.serving]
            self.retiring = asking[0] if asking else None
        leaver = self.retiring
        if leaver is None:
            return
        if leaver.ordered is not None:
            self.retiring = None
            return
        others = [
            w
            for w in self.workers.values()
            if w.serving and w is not leaver and w.generation is leaver.generation
        ]
        if len(others) >= self.count:
            leaver.order("max_requests", "retire", self.settings.graceful_timeout)
            self.retiring = None

    def _watch(self, now: float) -> None:
        """Look at every worker's clock."""
        hurried = self.stopping_since is not None
        due = now >= self._looked + policy.watch_interval(self.settings.timeout)
        boot = boot_limit(self.config)
        if due or hurried:
            self._looked = now
        for each in tuple(self.workers.values()):
            # The other requests of a stuck worker may finish, if they can.
            if each.ordered == "timeout" and policy.only_overdue(
                self.board.cells(each.row), now, self.settings.timeout
            ):
                each.deadline = min(each.deadline, each.ordered_at + 0.2)
            if each.ordered is not None:
                if now >= each.deadline and each.pid:
                    each.killed = True
                    each.signal(signal.SIGKILL)
            elif due and each.ready:
                if policy.overdue(self.board.cells(each.row), now, self.settings.timeout):
                    self._stuck(each)
            elif due and boot and not each.ready and now > each.born + boot:
                self._boot_failed(each.pid, f"not ready after {boot:g} s", "")
                each.boot_failure = "timeout"
                each.signal(DUMP_SIGNAL)
                each.ordered, each.ordered_at = "boot", now
                each.deadline = now + 0.2
        for zygote_ in self.zygotes:
            if due and boot and not zygote_.loaded and now > zygote_.born + boot:
                self._boot_failed(zygote_.pid, f"not loaded after {boot:g} s", "")
                os.kill(zygote_.pid, signal.SIGKILL)

    def _stuck(self, who: Worker) -> None:
        timeout = self.settings.timeout
        self.log.error(f"worker {who.pid}: a request takes longer than {timeout:g} s; its threads:")
        who.signal(DUMP_SIGNAL)
        who.order("timeout", "stop", min(timeout, self.settings.graceful_timeout))

    # -- the end

    def _stop(self, reason: str, patience: float) -> None:
        """Let all go; again with less patience if asked again."""
        first = self.stopping_since is None
        self.stopping_since = self.stopping_since or time.monotonic()
        if first:
            self.log.info("stopping")
            for sock in self.listeners:
                sock.close()
            for zygote_ in self.zygotes:
                zygote_.stopping = True
                zygote_.channel.send({"stop": True})
        for each in self.workers.values():
            each.order(reason, "stop", patience)
            if not patience:
                each.signal(signal.SIGQUIT)
                each.deadline += 0.5
        for zygote_ in self.zygotes:
            if not zygote_.loaded:
                os.kill(zygote_.pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        for each in self.workers.values():
            each.signal(signal.SIGKILL)
        for zygote_ in self.zygotes:
            os.kill(zygote_.pid, signal.SIGKILL)

    # -- helpers

    def _drain(self, who: Worker) -> None:
        """Hear a child's last words: its end may be seen before its messages are."""
        while self._registered(who.channel):
            self._selector.get_key(who.channel).data()

    def _registered(self, channel: Any) -> bool:
        return channel.fileno() in self._selector.get_map()

    def _unregister(self, channel: Any) -> None:
        if self._registered(channel):
            self._selector.unregister(channel)

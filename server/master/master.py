"""The master: listens, has workers forked, watches them, replaces them, and lets them go.

It never imports the app. Everything it does is an answer to one of: a signal, a message of a
child, a child's end, the passing of time; after each of them ``_reconcile`` compares what there is
with what there should be (worker_count.py). SIGNALS and docs/SERVER.md say what signals mean.
"""

from __future__ import annotations

import math
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import replace

from pretune.server.clock import Clock
from pretune.server.config import hooks
from pretune.server.config.config import Config, ConfigBroken, hook_settings
from pretune.server.master import (
    crash_backoff,
    exporting,
    oom_kills,
    recycling,
    upgrade,
    worker_count,
    worker_main,
)
from pretune.server.master.child import Generation, Worker, Zygote
from pretune.server.master.children import Children
from pretune.server.master.events import Events
from pretune.server.master.generations import Generations
from pretune.server.master.last_queue import LastQueue
from pretune.server.master.loop import Loop
from pretune.server.master.notify import Notifier
from pretune.server.master.pidfile import PidFile, PidFileTaken
from pretune.server.master.watchdog import Watchdog
from pretune.server.process import listening
from pretune.server.process.log import Log
from pretune.server.process.scoreboard import (
    ANSWERED,
    GENERATION,
    RELOADS,
    STARTED,
    WANTED,
    Scoreboard,
)
from pretune.server.workers import draining, inheritance

FAILED = 1  # exit code when the server cannot be what it was told to be
CRASHED = 1  # exit code after a crash loop
BOOT_FAILED = worker_main.BOOT_FAILED  # exit code when no worker was ever ready

SIGNALS = {
    signal.SIGTERM: "term",  # finish what was begun, and end
    signal.SIGINT: "quit",  # end at once
    signal.SIGQUIT: "quit",
    signal.SIGHUP: "hup",  # configuration and code again
    signal.SIGTTIN: "ttin",  # one worker more
    signal.SIGTTOU: "ttou",  # one less
    signal.SIGUSR1: "usr1",  # open the logs again
    signal.SIGUSR2: "usr2",  # start the new program beside this one
    signal.SIGWINCH: "winch",  # let the workers go: the new program serves
    signal.SIGCHLD: "chld",
}

# What HUP cannot change: it is decided when the server starts.
FIXED = ("binds", "pid_file", "metrics", "reuse_port", "events_fd", "telemetry")

HURRIED = 0.5  # s after QUIT until what is left is killed
LINGERS = 5.0  # s a zygote without workers may take to end: threads of the app may hold it up


class Master:
    """Runs until told to stop. ``reread`` gives the configuration anew, or raises ConfigBroken."""

    def __init__(
        self,
        config: Config,
        listeners: list[socket.socket],
        log: Log,
        reread: Callable[[], Config] | None = None,
    ) -> None:
        self.config = config  # of the start; what serves is in a generation
        self.listeners = listeners
        self.log = log
        self.events = Events(config.events_fd)
        self.count = config.settings.workers
        self.stopping_since: float | None = None
        self.code = 0
        self._stop_by = math.inf  # from then on nothing is waited for
        self._last_queue = LastQueue()
        addresses = [listening.name(sock) for sock in listeners]
        self.server = hooks.Server(hook_settings(config), log, addresses, self.count)
        self.scoreboard = Scoreboard(config.settings.threads, tallies=config.metrics is not None)
        self.inheritance = inheritance.Inheritance(
            tuple(listeners), self.scoreboard, log, inheritance.exchange(), self.server
        )
        self.loop = Loop()
        self.children = Children(self.loop, self.inheritance, self)
        self.generations = Generations(config, self.children, log)
        self.watchdog = Watchdog(self.scoreboard, log, self.boot_failed)
        self.recycling = recycling.Recycling(log)
        self.exporting = exporting.Exporting(config, self.inheritance, self.children)
        self.notifier = Notifier(os.environ)
        self.oom = oom_kills.Counter()
        self.relatives = upgrade.Relatives(self, os.environ)
        self.pid_file: PidFile | None = None
        self._reread = reread or (lambda: self.generations.current.config)
        self._reload_wanted = False
        self._resting = False  # WINCH: the successor serves
        self._handlers = {int(n): getattr(self, f"_on_{name}") for n, name in SIGNALS.items()}

    @property
    def wanted(self) -> int:
        return 0 if self._resting else self.count

    # -- the loop

    def run(self) -> int:
        """Serve; the exit code."""
        self.loop.catch(SIGNALS)
        if not self._start():
            listening.close(self.listeners, unlink=self.relatives.alone)
            return FAILED
        try:
            while self.stopping_since is None or self._last_queue.open or not self.children.empty:
                expected = Clock.monotonic() + self._patience()
                self.loop.wait(expected - Clock.monotonic())
                now = Clock.monotonic()
                late = crash_backoff.asleep(expected, now)
                if late:
                    self.watchdog.postpone(late, now)
                for number in self.loop.signals():
                    self._handlers[number]()
                self.watchdog.check(self.children, self.children.zygotes, Clock.monotonic())
                self._reconcile(Clock.monotonic())
                self.notifier.beat(now)
        finally:
            self.children.kill_all()
            self.exporting.stop()
            # The other master serves on: its sockets, its files.
            listening.close(
                (*self.listeners, *self.exporting.listeners), unlink=self.relatives.alone
            )
            if self.pid_file is not None:
                self.pid_file.remove()
        self.hook(None, "on_exit", self.server)
        self.log.info("stopped")
        self.events.emit("stopped")
        return self.code

    def _start(self) -> bool:
        """Start the server; return whether it can start at all."""
        if not self.hook(self.generations.current, "on_starting", self.server):
            return False
        try:
            self.exporting.listen()
            if self.config.pid_file:
                beside = "" if self.relatives.alone else ".2"
                self.pid_file = PidFile(self.config.pid_file + beside)
                self.pid_file.create()
        except (PidFileTaken, listening.BindFailed) as error:
            self.log.error(str(error))
            return False
        self.scoreboard.note(STARTED, Clock.monotonic())
        self._set_count(self.count, first=True)
        address = ", ".join(self.server.address)
        self.log.info(f"listening at {address}, starting {self.count} workers")
        self.events.emit("listening", address=address)
        self.relatives.watch_predecessor()
        if self.relatives.alone:
            self.exporting.resume()
        return True

    def _patience(self) -> float:
        """Seconds until something has to be looked at."""
        now = Clock.monotonic()
        nearest = self.watchdog.next_check(self.children, self.children.zygotes, now)
        nearest = min(nearest, self.notifier.next_beat, self.exporting.due)
        if self.stopping_since is None:
            nearest = min(nearest, self.generations.next_attempt(now))
            nearest = min(nearest, self.recycling.next_check(self.generations.recyclable()))
            if self._reload_wanted:
                nearest = min(nearest, now + 0.5)
        elif self._last_queue.open:
            nearest = min(nearest, now + draining.LOOK)
        return max(0.0, nearest - now)

    # -- signals

    def _on_term(self) -> None:
        self._stop(self.generations.current.config.settings.graceful_timeout)

    def _on_quit(self) -> None:
        self._stop(0.0)

    def _on_hup(self) -> None:
        if self._resting:
            # Its workers come back as they were, in case the new program turns out badly.
            self.rest(False)
        elif self.stopping_since is None:
            self._reload_wanted = True

    def _on_ttin(self) -> None:
        self._set_count(self.count + 1)
        self.generations.current.announced = False

    def _on_ttou(self) -> None:
        self._set_count(max(1, self.count - 1))

    def _on_usr1(self) -> None:
        self.log.reopen()
        for each in (*self.children, *self.children.zygotes):
            each.channel.send({"reopen": True})

    def _on_usr2(self) -> None:
        if self.stopping_since is None:
            self.relatives.upgrade()

    def _on_winch(self) -> None:
        # A terminal sends it too, whenever its size changes.
        if self.relatives.succeeded and self.stopping_since is None:
            self.rest(True)
        else:
            self.log.debug("WINCH is ignored while no new master serves")

    def _on_chld(self) -> None:
        for pid, status in self.children.reap():
            if not self.relatives.note_end(pid, status):
                self.exporting.note_end(pid, status)

    def _set_count(self, count: int, *, first: bool = False) -> None:
        before = None if first else self.count
        self.count = self.server.num_workers = count
        self.scoreboard.note(WANTED, count)
        if count != before:
            self.hook(None, "nworkers_changed", self.server, count, before)

    # -- reload

    def _reload(self, now: float) -> None:
        """New workers with the configuration and the code there is now."""
        self._reload_wanted = False
        self.log.info("reloading")
        self.log.reopen()
        self.notifier.reloading()
        self.hook(None, "on_reload", self.server)
        try:
            config = self._reread()
        except ConfigBroken as error:
            self.log.error(f"the configuration is broken, the old one stays: {error}")
            self._say_ready()
            return
        self.scoreboard.note(RELOADS, self.scoreboard.value(RELOADS) + 1)
        before = self.generations.current.config
        for name in FIXED:
            if getattr(config, name) != getattr(before, name):
                self.log.warning(f"{name} changes with a restart, not with a reload")
                config = replace(config, **{name: getattr(before, name)})
        self.generations.reload(config)

    def _give_up(self, generation: Generation) -> None:
        """The generation on its way does not boot."""
        if self.generations.serving is None:
            self.log.error("no worker could be started: stopping")
            self.code = BOOT_FAILED
            self._stop(0.0)
        else:
            if generation.reloaded:
                self.log.error("the new code does not boot; the old workers continue to serve")
            self.generations.abandon_coming()
            self._say_ready()
            self.generations.revive(0.0)

    def _prove(self, generation: Generation) -> None:
        """A worker of it is ready: if it is the first, it replaces what was before."""
        if not self.generations.prove(generation):
            return
        self.scoreboard.note(GENERATION, generation.number)
        self.server.cfg = hooks.View(hook_settings(generation.config))
        if generation.reloaded:  # as with gunicorn, HUP takes TTIN and TTOU back
            self._set_count(generation.config.settings.workers)

    # -- what is against what should be

    def _reconcile(self, now: float) -> None:
        if self.stopping_since is not None:
            self._see_off(now)
            return
        if self._reload_wanted and self.generations.may_reload(now):
            self._reload(now)
        self.exporting.reconcile(now)
        self.recycling.ask_due(self.generations.recyclable(), now)
        generation = self.generations.current
        plan = worker_count.plan(self.generations.posts(now), self.wanted, proven=generation.proven)
        for ticket in plan.surplus:
            who = self.children.workers[ticket]
            how = "retire" if self.wanted else "yield"
            self.children.order_to_leave(who, "stop", how, who.config.settings.graceful_timeout)
        if plan.replaced is not None:
            who = self.children.workers[plan.replaced]
            reason = (who.asks if who.generation is generation else None) or "stop"
            self.children.order_to_leave(
                who, reason, "retire", who.config.settings.graceful_timeout
            )
        if plan.spawn and self.generations.spawn(plan.spawn, now):
            self.watchdog.check_soon(now)
        if plan.complete and not generation.announced:
            generation.announced = True
            self._all_ready()

    # -- what the children tell

    def became_ready(self, who: Worker, boot_s: float) -> None:
        self.log.info(f"worker {who.pid} is ready after {boot_s:.2f} s")
        self.events.emit("worker_ready", pid=who.pid, boot_s=boot_s)
        self.watchdog.check_soon(Clock.monotonic())
        if who.ordered is None:
            self._prove(who.generation)

    def boot_failed(self, pid: int, message: str, traceback: str = "") -> None:
        self.log.error(f"the app does not boot: {message}\n{traceback}")
        self.events.emit("boot_failed", pid=pid, message=message, traceback=traceback)

    def lost(self, who: Worker, status: int | None) -> None:
        """A worker has ended."""
        now = Clock.monotonic()
        reason = crash_backoff.exit_reason(who.ordered, status, who.ready)
        shutdown = now - who.ordered_at if who.ordered is not None else None
        text = f"worker {who.pid} ended ({reason}, {crash_backoff.describe(status)})"
        cause = ""
        if reason in ("crash", "boot") and who.boot_failure is None:
            starved = status == signal.SIGKILL and self.oom.grew()
            cause = crash_backoff.likely_cause(status, out_of_memory=starved)
            self.log.error(f"{text}: {cause}")
        else:
            (self.log.error if reason == "boot" else self.log.info)(text)
        self.events.emit(
            "worker_exit", pid=who.pid, status=status, reason=reason, shutdown_s=shutdown
        )
        self.scoreboard.count_exit(reason)
        who.view.alive = False
        self.hook(who.generation, "child_exit", self.server, who.view)
        zygote = who.generation.zygote
        last = all(each.generation is not who.generation for each in self.children)
        if last and zygote is not None and zygote.stopping and not zygote.deadline:
            zygote.deadline = now + LINGERS
        if who.ready_at is not None and now - who.ready_at >= crash_backoff.QUICK:
            self.scoreboard.note(ANSWERED, 1.0)  # it could have been, all that time
        if reason in ("crash", "boot") or (self.stopping_since is not None and status):
            self._crashed(who, status, cause, now)

    def _crashed(self, who: Worker, status: int | None, cause: str, now: float) -> None:
        generation = who.generation
        served = now - who.ready_at if who.ready_at is not None else 0.0
        others = self.generations.count_living()
        generation.backoff = generation.backoff.died(served, now, others=others)
        how = f"{crash_backoff.describe(status)}: {cause or who.boot_failure}"
        if self.stopping_since is not None:
            if who.boot_failure is not None:
                self._last_queue.close()  # nobody else would boot either
            return
        if generation is self.generations.coming and not generation.proven:
            generation.tries += 1
            if who.boot_failure is None:
                text = f"a worker ended before it was ready ({how})"
                if generation.tries < crash_backoff.TRIES:
                    self.log.error(f"{text}; trying again")
                    return
                self.boot_failed(who.pid, text)
            self._give_up(generation)
            return
        backoff, answered = generation.backoff, bool(self.scoreboard.value(ANSWERED))
        many = f"{backoff.quick} workers in a row ended at once, the last with {how}"
        if backoff.hopeless(others=others, answered=answered):
            self.log.error(f"{many}: nobody was ever answered, giving up")
            self.code = CRASHED
            self._stop(0.0)
        elif backoff.quick > 1:
            self.log.error(f"{many}: {backoff.plan(others, now)}")

    def lost_zygote(self, who: Zygote, status: int) -> None:
        if who.stopping:
            return
        if self.stopping_since is not None:
            if status >> 8 == BOOT_FAILED:
                self._last_queue.close()  # another would not boot either
            elif self._last_queue.open:  # TERM may go to all processes of a service
                self.generations.load_again(Clock.monotonic() - who.born)
            return
        self.log.error(f"zygote {who.pid} ended ({crash_backoff.describe(status)})")
        coming = self.generations.coming
        if coming is None or coming.zygote is not who:
            self.generations.revive(Clock.monotonic() - who.born)
            return
        if not who.loaded and status >> 8 != BOOT_FAILED and not who.deadline:
            how = f"{crash_backoff.describe(status)}: {crash_backoff.likely_cause(status)}"
            self.boot_failed(who.pid, f"the zygote ended before the app was loaded ({how})")
        self._give_up(coming)

    def hook(self, generation: Generation | None, name: str, *arguments: object) -> bool:
        """Call the user's function; whether it did not raise."""
        try:
            (generation or self.generations.current).config.hooks.call(name, *arguments)
        except (Exception, SystemExit) as error:
            from pretune.server.process.importing import user_traceback

            self.log.error(f"the hook {name} failed\n{user_traceback(error)}")
            return False
        return True

    def shed(self) -> None:
        """In a forked child: close what is the master's."""
        self.loop.abandon()
        self.events.close()
        self.exporting.shed()
        self.relatives.shed()
        if self.pid_file is not None:
            self.pid_file.shed()

    def _all_ready(self) -> None:
        self.log.info(f"ready: {self.count} workers can answer")
        self.events.emit("ready")
        self._say_ready()
        self.relatives.say_ready()
        if self._first_ready:
            self._first_ready = False
            self.hook(None, "when_ready", self.server)

    _first_ready = True

    def _say_ready(self) -> None:
        self.notifier.ready(f"{self.count} workers serve {self.generations.current.config.target}")

    # -- the other master

    def rest(self, resting: bool) -> None:
        """The workers leave, the master stays; or they come back."""
        if resting != self._resting:
            self._resting = resting
            self.generations.current.announced = resting
            self.log.info("the workers leave" if resting else "the workers come back")
            self.scoreboard.note(WANTED, self.wanted)

    # -- the end

    def _stop(self, patience: float) -> None:
        """Let all go; again with less patience if asked again. 0: at once."""
        now = Clock.monotonic()
        if self.stopping_since is None:
            self.stopping_since = now
            # Here too: a worker may be too busy, or stopped, to hear of it now.
            self._last_queue = LastQueue(self.listeners, ours=self.relatives.alone)
            self.log.info("stopping")
            self.notifier.stopping()
            self.exporting.close_queues()
        if not patience:
            self._last_queue.close()
        self._stop_by = min(self._stop_by, now + patience)
        for each in self.children:
            if each.ordered is not None:
                self._dismiss(each, patience)
        self._see_off(now)

    def _see_off(self, now: float) -> None:
        """While the server stops: tell all to leave, but those that boot only when nobody waits."""
        assert self.stopping_since is not None
        began, patience = self.stopping_since, max(0.0, self._stop_by - now)
        waiting = self._last_queue.look(now - began, self._stop_by - began)
        for each in self.children:
            if each.ordered is None and (each.ready or not self._last_queue.open):
                self._dismiss(each, patience)
        if not self._last_queue.open:
            for zygote in self.children.zygotes:
                zygote.stop()
                zygote.deadline = min(
                    zygote.deadline or math.inf, self._stop_by + HURRIED + LINGERS
                )
        elif waiting and all((each.ordered_at or math.inf) < began for each in self.children):
            # Nobody takes from it, and nobody will.
            self.generations.spawn(min(waiting, self.count), now)

    def _dismiss(self, who: Worker, patience: float) -> None:
        # What waits in the queue is ours to answer, unless another master does.
        how = "stop" if self.relatives.alone else "yield"
        self.children.order_to_leave(who, "stop", how if patience else None, patience or HURRIED)

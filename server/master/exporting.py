"""The master's side of the metrics: their address, and the process that answers there."""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from pretune.server.clock import Clock
from pretune.server.config.config import Config
from pretune.server.master import crash_backoff, forking, upgrade
from pretune.server.master.children import Children
from pretune.server.process import listening
from pretune.server.process.channel import Channel, pair
from pretune.server.workers.inheritance import Inheritance

BACKLOG = 16


class Exporting:
    """Keeps an exporter alive while it is ours to answer; does nothing if nobody asked."""

    def __init__(self, config: Config, inheritance: Inheritance, children: Children) -> None:
        self._config = config
        self._inheritance = inheritance
        self._children = children
        self._pid = 0
        self._channel: Channel | None = None
        self._wanted = False
        self._backoff = crash_backoff.CrashBackoff()
        self._born = 0.0
        self._forking = False
        self.listeners: list[socket.socket] = []

    def listen(self) -> None:
        """Raises BindFailed."""
        if self._config.metrics is not None:
            left = {listening.LEGACY: os.environ.pop(upgrade.METRICS, "")}
            self.listeners = listening.listen((self._config.metrics,), BACKLOG, environ=left)
            for listener in self.listeners:
                self._inheritance.log.info(f"metrics at {listening.name(listener)}")

    def resume(self) -> None:
        """From now on it is ours to answer."""
        self._wanted = bool(self.listeners)

    @property
    def due(self) -> float:
        """When to reconcile next."""
        return self._backoff.not_before if self._wanted and not self._pid else float("inf")

    def reconcile(self, now: float) -> None:
        if not self._wanted or self._pid or now < self._backoff.not_before:
            return
        try:
            ours, theirs = pair()
        except OSError as error:
            self._postpone(error, now)
            return

        def role() -> int:
            from pretune.server.master.exporter import Exporter

            ours.close()
            return Exporter(self._config, self._inheritance, self.listeners, theirs).run()

        self._forking = True
        try:
            self._pid = self._children.fork(role)
        except OSError as error:
            ours.close()
            self._postpone(error, now)
            return
        finally:
            self._forking = False
            theirs.close()
        self._channel, self._born = ours, now

    def _postpone(self, error: OSError, now: float) -> None:
        self._backoff = self._backoff.died(0.0, now, others=1)
        text = f"no exporter of metrics can be forked: {forking.explain(error)}"
        self._inheritance.log.error(text)

    def note_end(self, pid: int, status: int) -> None:
        """A child has ended: was it this one?"""
        if pid != self._pid:
            return
        now = Clock.monotonic()
        self._forget()
        if self._wanted:
            self._backoff = self._backoff.died(now - self._born, now, others=1)
            self._inheritance.log.error(
                f"the exporter of metrics ended ({crash_backoff.describe(status)})"
            )

    def close_queues(self) -> None:
        """The server listens no more: the exporter must not keep its sockets open."""
        if self._channel is not None:
            self._channel.send({"closed": True})

    def stop(self) -> None:
        """It is not, or not any more, ours to answer."""
        self._wanted = False
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._forget()

    def shed(self) -> None:
        """In a forked child: this is none of its business."""
        if self._channel is not None:
            self._channel.close()
        if not self._forking:
            for listener in self.listeners:
                listener.close()

    def _forget(self) -> None:
        self._pid = 0
        if self._channel is not None:
            self._channel.close()
            self._channel = None

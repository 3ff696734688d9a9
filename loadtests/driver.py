"""The process that sends the load: ``python -m pretune.loadtests.driver``.

One process serves a whole run of the tool, trial after trial, because importing locust takes
most of a second. Commands arrive on stdin, replies go to stdout, one JSON object a line:

    <- {"reply": "hello", "time": ...}
    -> {"command": "run", "address": [host, port], "workload": {}, "load": {}, "records": path}
    <- {"reply": "started", "time": ...}                 every user has been spawned
    <- {"reply": "progress", "requests": n, "errors": n} once a second
    <- {"reply": "done", ...}                            see ``_summarise``; or
    <- {"reply": "failed", "message": ...}
    -> {"command": "stop"}                               ends a run early
    -> {"command": "exit"}

The end of stdin means that the tool has died: the process ends at once, whatever it is doing.
"""

from __future__ import annotations

import os

# Our own descriptors before anything can print: a stray print goes to stderr.
_REPLIES = os.dup(1)
os.dup2(2, 1)

# ruff: noqa: E402
from pretune.loadtests.confinement import Confinement

confinement = Confinement()
confinement.install()

import gc
import json
import logging
import resource
import time
from collections import deque
from pathlib import Path
from typing import Any

import gevent
import locust  # noqa: F401  patches the interpreter, before anything else is imported
from gevent import monkey
from locust.env import Environment
from locust.event import Events

from pretune.loadtests.arrivals import MOST_WAITING, SPARE_FDS, Arrivals
from pretune.loadtests.records import Writer
from pretune.loadtests.script import Script
from pretune.loadtests.user_errors import describe_error
from pretune.loadtests.users import Locustfile, UserLoop, Users, make_user_class

FLUSH_S = 0.25
PROGRESS_S = 1.0
LAG_TICK_S = 0.01
REQUEST_TIMEOUT_S = 60.0
# How long requests in hand may take to finish when the time is up.
GRACE_S = 5.0


# Senders: ``start()``, then ``running`` until the load is over or ``finish(grace_s)`` is called,
# which returns the number of requests left unanswered. ``most_waiting``: most at once;
# ``not_sent``: arrivals for which there was no room.
Senders = Users | Arrivals


class Driver:
    """Executes commands; at most one run at a time."""

    def __init__(self) -> None:
        self._locustfile: Locustfile | None = None
        self._loop: UserLoop | None = None

    def execute(self, command: dict[str, Any]) -> None:
        match command.get("command"):
            case "run" if self._loop is None:
                gevent.spawn(self._run_guarded, command)
            case "run":
                reply("failed", message="a run is under way")
            case "stop":
                if self._loop is not None:
                    self._loop.over = True
            case "exit":
                os._exit(0)
            case other:
                reply("failed", message=f"unknown command {other!r}")

    def _run_guarded(self, command: dict[str, Any]) -> None:
        try:
            self._run(command)
        except Exception as error:
            logging.exception("run failed")
            message, own = f"{type(error).__name__}: {error}", self._locustfile
            if own is not None:
                where, exception, _ = describe_error(error, own.path)
                message = f"{where} raises {exception}" if where != str(own.path) else message
            reply("failed", message=message)
        finally:
            confinement.allowed = None
            self._loop = None

    def _run(self, command: dict[str, Any]) -> None:
        host, port = command["address"]
        address, load, workload = (str(host), int(port)), command["load"], command["workload"]
        with Path(command["records"]).open("wb", buffering=0) as file:
            writer = Writer(file)
            loop = self._loop = UserLoop(address, load, writer)
            confinement.allowed, confinement.connections = address, 0
            senders = self._make_senders(loop, workload, load)
            # what exists now stays: a collection during the run need not visit it, nor pause for it
            gc.collect()
            gc.freeze()
            lags: list[float] = []
            cpu = time.process_time()
            senders.start()
            started = time.perf_counter()
            reply("started", time=started)
            helpers = [
                gevent.spawn(_flush, writer),
                gevent.spawn(_measure_lag, lags),
                gevent.spawn(_report_progress, writer),
                gevent.spawn(_abort_stuck, loop),
            ]
            until = started + float(load["duration_s"])
            while not loop.over and time.perf_counter() < until and senders.running:
                gevent.sleep(min(0.02, max(0.0, until - time.perf_counter())))
            loop.over = True
            cpu = time.process_time() - cpu
            ended = time.perf_counter()
            abandoned = senders.finish(GRACE_S)
            gevent.killall(helpers)
            writer.flush()
        own = self._locustfile if workload["locustfile"] else None
        names = [(name, name not in own.named) for name in own.numbers] if own else []
        error = own.errors.summary() if own else None
        figures = _summarise(writer, cpu, ended - started, lags, senders, abandoned, names)
        figures["error_bodies"] = loop.error_bodies
        reply("done", **figures, user_error=None if error is None else vars(error))

    def _make_senders(
        self, loop: UserLoop, workload: dict[str, Any], load: dict[str, Any]
    ) -> Senders:
        if load.get("rps") is None:
            environment, own = self._make_environment(loop, workload), bool(workload["locustfile"])
            return Users(environment, loop, int(load["users"]), own)
        if workload["locustfile"]:
            raise ValueError("a locustfile brings its own users: it cannot be sent at a rate")
        most = min(MOST_WAITING, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FDS)
        return Arrivals(
            Script(workload, loop.address, loop.seed), loop, float(load["rps"]), max(1, most)
        )

    def _make_environment(self, loop: UserLoop, workload: dict[str, Any]) -> Environment:
        if not workload["locustfile"]:
            user = make_user_class(Script(workload, loop.address, loop.seed), loop)
            return Environment(user_classes=[user], events=Events())  # type: ignore[no-untyped-call]
        path = Path(workload["locustfile"])
        if self._locustfile is None:
            self._locustfile = Locustfile(path)
        elif self._locustfile.path != path:
            raise ValueError("one driver serves one locustfile; start another for another")
        self._locustfile.prepare(loop.address, workload["headers"])
        return Environment(
            user_classes=list(self._locustfile.classes),
            events=self._locustfile.attach_recorder(loop),
        )


def _summarise(
    writer: Writer,
    cpu_s: float,
    duration_s: float,
    lags: list[float],
    senders: Senders,
    abandoned: int,
    names: list[tuple[str, bool]],
) -> dict[str, Any]:
    """The figures of a run. CPU is the driver's own, over ``duration_s`` from ``started``."""
    lags.sort()
    return {
        "requests": writer.requests,
        "errors": sum(writer.errors.values()),
        "errors_by_kind": writer.errors,
        "time_first": writer.time_first,
        "time_last": writer.time_last,
        "cpu_s": cpu_s,
        "duration_s": duration_s,
        "lag_ms_p99": lags[int(len(lags) * 0.99)] * 1000 if lags else 0.0,
        "connections": confinement.connections,
        "reconnects": max(0, confinement.connections - senders.most_waiting),
        "abandoned": abandoned,
        "not_sent": senders.not_sent,
        "most_waiting": senders.most_waiting,
        "names": names,
    }


def _flush(writer: Writer) -> None:
    while True:
        gevent.sleep(FLUSH_S)
        writer.flush()


def _measure_lag(lags: list[float]) -> None:
    """Note the lag of the loop's timer: every answer may have waited as long to be noticed."""
    while True:
        due = time.perf_counter() + LAG_TICK_S
        gevent.sleep(LAG_TICK_S)
        lags.append(time.perf_counter() - due)


def _report_progress(writer: Writer) -> None:
    while True:
        gevent.sleep(PROGRESS_S)
        reply("progress", requests=writer.requests, errors=sum(writer.errors.values()))


def _abort_stuck(loop: UserLoop) -> None:
    while True:
        gevent.sleep(1.0)
        loop.abort_stuck(REQUEST_TIMEOUT_S)


def reply(name: str, **data: Any) -> None:
    """One line on the pipe to the tool; the tool's end being closed ends this process."""
    line = json.dumps({"reply": name, **data}).encode() + b"\n"
    try:
        while line:
            line = line[os.write(_REPLIES, line) :]
    except BrokenPipeError:
        os._exit(0)


def _read_commands(inbox: deque[bytes], arrived: Any) -> None:
    """In a thread of the operating system, so that the end of stdin is seen even if a
    locustfile blocks the loop."""
    rest = b""
    while data := os.read(0, 1 << 16):
        *lines, rest = (rest + data).split(b"\n")
        inbox.extend(lines)
        arrived.send()
    os._exit(0)


def main() -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            del os.environ[name]  # a proxy would be another address
    logging.getLogger("locust").setLevel(logging.ERROR)
    inbox: deque[bytes] = deque()
    driver = Driver()
    arrived = gevent.get_hub().loop.async_()
    wake = gevent.event.Event()
    arrived.start(wake.set)
    monkey.get_original("_thread", "start_new_thread")(_read_commands, (inbox, arrived))
    reply("hello", time=time.perf_counter())
    while True:
        wake.wait()
        wake.clear()
        while inbox:
            driver.execute(json.loads(inbox.popleft()))


if __name__ == "__main__":
    main()

"""The process that sends the load: ``python -m pretune.loadtests.driver``.

One process serves a whole run of the tool, trial after trial, because importing locust takes
most of a second. Commands arrive on stdin, replies go to stdout, one JSON object a line:

    <- {"reply": "hello", "time": ...}
    -> {"command": "run", "address": [host, port], "workload": {}, "load": {}, "records": path}
    <- {"reply": "started", "time": ...}                 every user has been spawned
    <- {"reply": "progress", "requests": n, "errors": n} once a second
    <- {"reply": "done", ...}                            see ``_done``; or
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
from pretune.loadtests.users import Locustfile, Run, Users, workload_user

FLUSH_S = 0.25
PROGRESS_S = 1.0
LAG_TICK_S = 0.01
REQUEST_TIMEOUT_S = 60.0
# How long requests in hand may take to finish when the time is up.
GRACE_S = 5.0


# Who sends: ``start()``, then ``running`` until it is over or ``finish(grace_s)`` is called, which
# says how many requests were left without an answer. ``most_waiting``: at once; ``not_sent``: for
# want of room.
Crowd = Users | Arrivals


class Driver:
    """Executes commands; at most one run at a time."""

    def __init__(self) -> None:
        self._locustfile: Locustfile | None = None
        self._run: Run | None = None

    def execute(self, command: dict[str, Any]) -> None:
        match command.get("command"):
            case "run" if self._run is None:
                gevent.spawn(self._guarded, command)
            case "run":
                reply("failed", message="a run is under way")
            case "stop":
                if self._run is not None:
                    self._run.over = True
            case "exit":
                os._exit(0)
            case other:
                reply("failed", message=f"unknown command {other!r}")

    def _guarded(self, command: dict[str, Any]) -> None:
        try:
            self._perform(command)
        except Exception as error:
            logging.exception("run failed")
            reply("failed", message=f"{type(error).__name__}: {error}")
        finally:
            confinement.allowed = None
            self._run = None

    def _perform(self, command: dict[str, Any]) -> None:
        host, port = command["address"]
        address, load, workload = (str(host), int(port)), command["load"], command["workload"]
        with Path(command["records"]).open("wb", buffering=0) as file:
            writer = Writer(file)
            run = self._run = Run(address, load, writer)
            confinement.allowed, confinement.connections = address, 0
            crowd = self._crowd(run, workload, load)
            # what is here stays: no collection during the run need look at it, nor pause for it
            gc.collect()
            gc.freeze()
            lags: list[float] = []
            cpu = time.process_time()
            crowd.start()
            started = time.perf_counter()
            reply("started", time=started)
            helpers = [
                gevent.spawn(_flush, writer),
                gevent.spawn(_measure_lag, lags),
                gevent.spawn(_report, writer),
                gevent.spawn(_watch, run),
            ]
            until = started + float(load["duration_s"])
            while not run.over and time.perf_counter() < until and crowd.running:
                gevent.sleep(min(0.02, max(0.0, until - time.perf_counter())))
            run.over = True
            cpu = time.process_time() - cpu
            ended = time.perf_counter()
            abandoned = crowd.finish(GRACE_S)
            gevent.killall(helpers)
            writer.flush()
        own = self._locustfile if workload["locustfile"] else None
        names = [(name, name not in own.named) for name in own.numbers] if own else []
        reply("done", **_done(writer, cpu, ended - started, lags, crowd, abandoned, names))

    def _crowd(self, run: Run, workload: dict[str, Any], load: dict[str, Any]) -> Crowd:
        if load.get("rps") is None:
            environment, own = self._environment(run, workload), bool(workload["locustfile"])
            return Users(environment, run, int(load["users"]), own)
        if workload["locustfile"]:
            raise ValueError("a locustfile brings its own users: it cannot be sent at a rate")
        most = min(MOST_WAITING, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FDS)
        return Arrivals(Script(workload, run.address), run, float(load["rps"]), max(1, most))

    def _environment(self, run: Run, workload: dict[str, Any]) -> Environment:
        if not workload["locustfile"]:
            user = workload_user(Script(workload, run.address), run)
            return Environment(user_classes=[user], events=Events())  # type: ignore[no-untyped-call]
        path = Path(workload["locustfile"])
        if self._locustfile is None:
            self._locustfile = Locustfile(path)
        elif self._locustfile.path != path:
            raise ValueError("one driver serves one locustfile; start another for another")
        self._locustfile.prepare(run.address, workload["headers"])
        return Environment(
            user_classes=list(self._locustfile.classes), events=self._locustfile.events(run)
        )


def _done(
    writer: Writer,
    cpu_s: float,
    duration_s: float,
    lags: list[float],
    crowd: Crowd,
    abandoned: int,
    names: list[tuple[str, bool]],
) -> dict[str, Any]:
    """What a run came to. CPU is the driver's own, over ``duration_s`` from ``started``."""
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
        "reconnects": max(0, confinement.connections - crowd.most_waiting),
        "abandoned": abandoned,
        "not_sent": crowd.not_sent,
        "most_waiting": crowd.most_waiting,
        "names": names,
    }


def _flush(writer: Writer) -> None:
    while True:
        gevent.sleep(FLUSH_S)
        writer.flush()


def _measure_lag(lags: list[float]) -> None:
    """How late the loop comes back to a timer: what every answer may have waited to be noticed."""
    while True:
        due = time.perf_counter() + LAG_TICK_S
        gevent.sleep(LAG_TICK_S)
        lags.append(time.perf_counter() - due)


def _report(writer: Writer) -> None:
    while True:
        gevent.sleep(PROGRESS_S)
        reply("progress", requests=writer.requests, errors=sum(writer.errors.values()))


def _watch(run: Run) -> None:
    while True:
        gevent.sleep(1.0)
        run.abort_stuck(REQUEST_TIMEOUT_S)


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

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
    -> {"command": "describe", "locustfile": path}       no load
    <- {"reply": "described", "classes": [], "left_out": []}  see ``turns.describe``; or "failed"
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
from pretune.loadtests.locustfile import Locustfile
from pretune.loadtests.records import Writer
from pretune.loadtests.script import Script
from pretune.loadtests.turns import Kinds, Turns, describe
from pretune.loadtests.user_errors import explain
from pretune.loadtests.users import UserLoop, Users, make_user_class

FLUSH_S = 0.25
PROGRESS_S = 1.0
LAG_TICK_S = 0.01
REQUEST_TIMEOUT_S = 60.0
# How long requests in hand may take to finish when the time is up.
GRACE_S = 5.0


# Senders: ``start()``, then ``running`` until the load is over or ``finish(grace_s)`` is called,
# which returns the number of requests left unanswered. ``most_waiting``: most at once;
# ``not_sent``: arrivals for which there was no room.
Senders = Users | Arrivals | Turns


class Driver:
    """Executes commands; at most one run at a time."""

    def __init__(self) -> None:
        self._kinds: Kinds | None = None
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
            case "describe":
                gevent.spawn(self._describe_guarded, Path(command["locustfile"]))
            case "exit":
                os._exit(0)
            case other:
                reply("failed", message=f"unknown command {other!r}")

    def _run_guarded(self, command: dict[str, Any]) -> None:
        try:
            self._run(command)
        except Exception as error:
            logging.exception("run failed")
            own = command["workload"]["locustfile"]
            message = explain(error, Path(own)) if own else f"{type(error).__name__}: {error}"
            reply("failed", message=message)
        finally:
            confinement.allowed = None
            self._loop = None

    def _describe_guarded(self, path: Path) -> None:
        try:
            file = Locustfile(path)
            reply("described", classes=describe(file), left_out=file.left_out)
        except Exception as error:
            reply("failed", message=explain(error, path))

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
        kinds = self._kinds if workload["locustfile"] else None
        figures = _summarise(writer, cpu, ended - started, lags, senders, abandoned)
        reply("done", **figures, **_of_file(kinds), error_bodies=loop.error_bodies)

    def _make_senders(
        self, loop: UserLoop, workload: dict[str, Any], load: dict[str, Any]
    ) -> Senders:
        rps = None if load.get("rps") is None else float(load["rps"])
        most = max(1, min(MOST_WAITING, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_FDS))
        if workload["locustfile"]:
            path = Path(workload["locustfile"])
            if self._kinds is None or self._kinds.file.path != path:
                self._kinds = Kinds(Locustfile(path))
            file = self._kinds.file
            environment = file.make_environment(loop, workload["headers"])
            return Turns(self._kinds, environment, loop, int(load["users"]), rps, most)
        script = Script(workload, loop.address, loop.seed)
        if rps is not None:
            return Arrivals(script, loop, rps, most, kept=workload["kept"])
        user = make_user_class(script, loop)
        environment = Environment(user_classes=[user], events=Events())  # type: ignore[no-untyped-call]
        return Users(environment, loop, int(load["users"]))


def _of_file(kinds: Kinds | None) -> dict[str, Any]:
    """Tell of a locustfile's load what stands beside its figures."""
    if kinds is None:
        return {"names": [], "user_error": None, "elsewhere": ("", 0), "think_s": 0.0}
    file = kinds.file
    error = file.errors.summary()
    return {
        "names": [(name, name not in file.named) for name in file.numbers],
        "user_error": None if error is None else vars(error),
        "elsewhere": file.errors.elsewhere,
        "think_s": kinds.wait_s_per_request,
    }


def _summarise(
    writer: Writer,
    cpu_s: float,
    duration_s: float,
    lags: list[float],
    senders: Senders,
    abandoned: int,
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

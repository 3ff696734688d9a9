"""The tool's handle on the driver process. Nothing of locust is imported here.

driver = Driver.start(cores=frozenset({1}))
run = driver.run(("127.0.0.1", port), workload, load, records=path)
run.wait_started(10.0)
result = run.wait(load.duration_s + 30)
driver.close()
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pretune.loadtests.user_errors import UserError
from pretune.loadtests.workload import Load, UserClass, UserTask, Workload

HELLO_TIMEOUT_S = 60.0  # it imports locust, which takes a second where nothing else runs
DESCRIBE_TIMEOUT_S = 30.0  # for a locustfile's own imports


class DriverFailed(Exception):
    """The driver refused a run or died. The message says why, with the end of its stderr."""


@dataclass(frozen=True)
class LoadResult:
    """The driver's figures of one run. Times in CLOCK_MONOTONIC seconds; None without requests.

    ``lag_s_p99`` is the lag of the driver's own loop: an answer may have waited that long to be
    noticed. ``names`` are the endpoints of a locustfile, number 1 first;
    ``raw`` is true for those that are paths as they were sent, because the file gave no name.
    """

    requests: int
    errors: int
    errors_by_kind: Mapping[str, int]
    time_started: float  # all users spawned
    time_first: float | None  # first request sent
    time_last: float | None  # last answer complete
    duration_s: float
    cpu_s: float  # the driver's CPU over duration_s
    lag_s_p99: float
    connections: int
    reconnects: int  # connections beyond one per user
    # still unanswered when the run ended; in no record but an open load's
    abandoned: int
    names: tuple[str, ...] = ()
    raw: tuple[bool, ...] = ()
    not_sent: int = 0  # arrivals of an open load for which there was no room
    most_waiting: int = 0  # requests at once; of a closed load its users
    user_error: UserError | None = None  # of a locustfile's own code
    error_bodies: tuple[str, ...] = ()  # the beginnings of some answers of 500 and above
    # requests of a locustfile to other hosts: a sentence without its end, and how many
    elsewhere: tuple[str, int] = ("", 0)
    think_s: float = 0.0  # a locustfile's users were told to wait, for each request of their mix

    @property
    def cpu_fraction(self) -> float:
        """Busy part of one core; near 1 the driver was the bottleneck."""
        return self.cpu_s / self.duration_s if self.duration_s else 0.0


class LoadRun:
    """A run under way. ``progress`` is (requests, errors) as of the last report."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._changed = threading.Condition()
        self._started: float | None = None
        self._result: LoadResult | None = None
        self._failure: str | None = None
        self.progress = (0, 0)

    def wait_started(self, timeout: float) -> float:
        """The moment when all users had been spawned. Raises DriverFailed, TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._started is not None or self._failure is not None, timeout
            ):
                raise TimeoutError(f"the load did not start within {timeout:g} s")
            if self._started is None:
                raise DriverFailed(self._failure)
            return self._started

    def wait(self, timeout: float) -> LoadResult:
        """The result, once every record is in the file. Raises DriverFailed, TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(
                lambda: self._result is not None or self._failure is not None, timeout
            ):
                raise TimeoutError(f"the load did not end within {timeout:g} s")
            if self._result is None:
                raise DriverFailed(self._failure)
            return self._result

    @property
    def finished(self) -> bool:
        return self._result is not None or self._failure is not None

    def stop(self) -> None:
        """End the run after the requests in hand; ``wait`` then returns soon."""
        if not self.finished:
            self._driver._send({"command": "stop"})

    def _receive(self, reply: Mapping[str, Any]) -> None:
        data = dict(reply)
        with self._changed:
            match data.pop("reply"):
                case "started":
                    self._started = data["time"]
                case "progress":
                    self.progress = (data["requests"], data["errors"])
                case "done":
                    self.progress = (data["requests"], data["errors"])
                    data["lag_s_p99"] = data.pop("lag_ms_p99") / 1000
                    names = data.pop("names")
                    data["names"] = tuple(name for name, _ in names)
                    data["raw"] = tuple(raw for _, raw in names)
                    error = data.pop("user_error")
                    data["user_error"] = None if error is None else UserError(**error)
                    data["error_bodies"] = tuple(data["error_bodies"])
                    data["elsewhere"] = tuple(data["elsewhere"])
                    self._result = LoadResult(time_started=self._started or 0.0, **data)
                case "failed":
                    self._failure = data["message"]
            self._changed.notify_all()

    def _died(self, message: str) -> None:
        with self._changed:
            if not self.finished:
                self._failure = message
            self._changed.notify_all()


class Driver:
    """A running driver process, leader of a session of its own. ``pinned``: to its cores."""

    def __init__(self, process: subprocess.Popen[bytes], pinned: bool) -> None:
        self._process = process
        self.pid = process.pid
        self.pinned = pinned
        self._run: LoadRun | None = None
        self._hello = threading.Event()
        self._gone = threading.Event()
        self._described: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._stderr: deque[bytes] = deque(maxlen=40)
        self._threads = [
            threading.Thread(target=work, name=f"driver-{work.__name__}", daemon=True)
            for work in (self._read_replies, self._read_stderr)
        ]
        for thread in self._threads:
            thread.start()

    @classmethod
    def start(
        cls,
        python: str | Path = sys.executable,
        cores: frozenset[int] | None = None,
        on_spawn: Callable[[int], None] = lambda pid: None,
        env: Mapping[str, str] | None = None,
    ) -> Driver:
        """Spawn it, tell ``on_spawn`` the pid at once, wait until it has imported locust.

        Raises DriverFailed.
        """
        process = subprocess.Popen(
            [str(python), "-m", "pretune.loadtests.driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            start_new_session=True,
        )
        on_spawn(process.pid)
        driver = cls(process, pinned=_pin(process.pid, cores))
        driver._hello.wait(HELLO_TIMEOUT_S)
        if not driver._hello.is_set() or driver._gone.is_set():
            message = driver._describe_end()
            if not driver._gone.is_set():
                message = f"it was not ready after {HELLO_TIMEOUT_S:.0f} s: the machine is too busy"
            driver.close()
            raise DriverFailed(message)
        return driver

    def run(
        self, address: tuple[str, int], workload: Workload, load: Load, records: Path
    ) -> LoadRun:
        """Begin a run; at most one at a time."""
        if self._run is not None and not self._run.finished:
            raise ValueError("a run is under way")
        run = self._run = LoadRun(self)
        self._send(
            {
                "command": "run",
                "address": list(address),
                "workload": workload_to_json(workload),
                "load": vars(load),
                "records": str(records),
            }
        )
        return run

    def describe(
        self, locustfile: Path
    ) -> tuple[tuple[UserClass, ...], tuple[tuple[str, str], ...]]:
        """The classes of a locustfile, and what of it is left out with the reason; before any run.

        Raises DriverFailed with a sentence where it cannot be used.
        """
        self._send({"command": "describe", "locustfile": str(locustfile)})
        try:
            reply = self._described.get(timeout=DESCRIBE_TIMEOUT_S)
        except queue.Empty:
            raise DriverFailed(
                f"{locustfile} was not imported within {DESCRIBE_TIMEOUT_S:.0f} s"
            ) from None
        if reply is None:
            raise DriverFailed(self._describe_end())
        if reply["reply"] == "failed":
            raise DriverFailed(reply["message"])
        classes = (
            UserClass(**{**each, "tasks": tuple(UserTask(**task) for task in each["tasks"])})
            for each in reply["classes"]
        )
        return tuple(classes), tuple((name, reason) for name, reason in reply["left_out"])

    def close(self, timeout: float = 5.0) -> None:
        """End the process; harmless when it has ended already."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
        for thread in self._threads:
            thread.join(timeout)
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, command: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        except (OSError, ValueError):  # dead, or closed
            if self._run is not None:
                self._run._died(self._describe_end())

    def _read_replies(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            reply = json.loads(line)
            if reply["reply"] == "hello":
                self._hello.set()
            elif self._run is None or self._run.finished:
                self._described.put(reply)
            elif self._run is not None:
                self._run._receive(reply)
        self._gone.set()
        self._hello.set()
        self._described.put(None)
        if self._run is not None:
            self._run._died(self._describe_end())

    def _read_stderr(self) -> None:
        assert self._process.stderr is not None
        self._stderr.extend(self._process.stderr)

    def _describe_end(self) -> str:
        output = b"".join(self._stderr).decode(errors="replace").strip()
        return "the load driver has ended" + (f":\n{output}" if output else "")


def workload_to_json(workload: Workload) -> dict[str, Any]:
    """The part of a workload that the driver needs."""
    return {
        "endpoints": [vars(endpoint) for endpoint in workload.endpoints],
        "headers": [list(header) for header in workload.headers],
        "kept": workload.kept,
        "locustfile": str(workload.locustfile) if workload.locustfile else None,
    }


def _pin(pid: int, cores: frozenset[int] | None) -> bool:
    if not cores:
        return False
    try:
        os.sched_setaffinity(pid, cores)
    except OSError:
        return False
    return True

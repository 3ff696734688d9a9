"""Watches the app's sessions from Postgres's side: how many each worker holds, and in what state.

A session belongs to the worker whose socket has its client port. Over a unix socket there is no
port; then the worker's number in ``application_name`` (the server sets PGAPPNAME after each fork)
joins them. A session that appears during the trial, of our role in our database, and belongs to
no worker is counted under pid 0; one that was there before and belongs to no worker is somebody
else's.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from pretune.advisor import postgres
from pretune.advisor.profiler import sockets
from pretune.advisor.profiler.samples import SESSION

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERVAL_S = 0.5
BUDGET = 0.003  # of one core, for the tool's side of the watching
_WORKER_NAME = re.compile(r"^pretune[-: ](?:worker[-: ])?(\d+)$")

_SESSIONS = """
select pid, client_port, application_name, state
from pg_stat_activity
where datname = current_database() and usename = current_user
  and pid <> pg_backend_pid() and application_name <> %s
"""
# state -> column of SESSION; every other state counts as active (fastpath call, starting)
_COLUMNS = {
    "idle": 1,
    "idle in transaction": 2,
    "idle in transaction (aborted)": 2,
}


class DatabaseObserver:
    """Connects at once; a database that cannot be reached makes ``stop`` return None."""

    def __init__(self, url: str) -> None:
        self.postmaster_pid: int | None = None
        self.problem = ""
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._port = 0
        self._owner: dict[int, int] = {}  # backend pid -> worker pid
        self._foreign: set[int] = set()  # backends that are not the app's
        self._rows: list[tuple[float, int, int, int, int]] = []
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cpu_s = 0.0
        try:
            self._connection = postgres.connect(url)
            self._connection.execute("set statement_timeout = 2000")
            self._port = self._connection.info.port
            if postgres.is_local(url):
                self.postmaster_pid = _postmaster(self._connection)
        except (postgres.PostgresError, psycopg.Error) as error:
            self.problem = postgres.without_password(str(error), url)
            self._close()

    def start(self, worker_pids: Callable[[], tuple[int, ...]]) -> None:
        if self._connection is None:
            return
        before = time.thread_time()
        self._look(worker_pids, first=True)
        self._cpu_s += time.thread_time() - before
        self._thread = threading.Thread(
            target=self._run, args=(worker_pids,), name="database-observer", daemon=True
        )
        self._thread.start()

    def stop(self) -> NDArray[np.void] | None:
        """Rows of SESSION; None when the database could not be watched."""
        self._stop.set()
        if self._thread:
            self._thread.join()
        self._close()
        return None if self.problem else np.array(self._rows, SESSION)

    def cpu_s(self) -> float:
        return self._cpu_s

    def _run(self, worker_pids: Callable[[], tuple[int, ...]]) -> None:
        pause = INTERVAL_S
        while not self._stop.wait(pause) and self._connection is not None:
            before = time.thread_time()
            self._look(worker_pids, first=False)
            cost = time.thread_time() - before
            self._cpu_s += cost
            pause = max(INTERVAL_S, cost / BUDGET)

    def _look(self, worker_pids: Callable[[], tuple[int, ...]], *, first: bool) -> None:
        assert self._connection is not None
        try:
            found = self._connection.execute(_SESSIONS, [postgres.APPLICATION_NAME]).fetchall()
        except psycopg.Error as error:
            self.problem = f"Postgres stopped answering: {error}"
            self._close()
            return
        now = time.monotonic()
        living = {row[0] for row in found}
        self._owner = {pid: owner for pid, owner in self._owner.items() if pid in living}
        self._foreign &= living
        pids = worker_pids()
        unknown = living - self._owner.keys() - self._foreign
        ports = sockets.owners(pids, self._port) if unknown else {}
        counts: dict[int, list[int]] = {pid: [0, 0, 0] for pid in (*pids, 0)}
        for backend, port, name, state in found:
            if backend in self._foreign:
                continue
            owner = self._owner.get(backend) or ports.get(port or -1) or _named(name, pids)
            if owner:
                self._owner[backend] = owner
            elif first:
                self._foreign.add(backend)
                continue
            counts.setdefault(owner or 0, [0, 0, 0])[_COLUMNS.get(state, 0)] += 1
        self._rows += [
            (now, pid, active, idle, waiting) for pid, (active, idle, waiting) in counts.items()
        ]

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _named(name: str | None, pids: tuple[int, ...]) -> int | None:
    match = _WORKER_NAME.match(name or "")
    return int(match[1]) if match and int(match[1]) in pids else None


def _postmaster(connection: psycopg.Connection[tuple[Any, ...]]) -> int | None:
    """The parent of our backend, if the backend is a process we can see and be sure of.

    Postgres may live in another pid namespace (a container) where the same number is another
    process here. Its title names the client's port: "postgres: user db 127.0.0.1(53612) idle".
    """
    row = connection.execute("select pg_backend_pid(), inet_client_port()").fetchone()
    assert row is not None
    backend, port = row
    try:
        with open(f"/proc/{backend}/cmdline", encoding="utf-8", errors="replace") as file:
            title = file.read()
        with open(f"/proc/{backend}/stat", "rb") as raw:
            stat = raw.read()
    except OSError:
        return None
    mark = f"({port})" if port is not None else "[local]"
    if not title.startswith("postgres:") or mark not in title:
        return None
    return int(stat[stat.rindex(b")") + 2 :].split()[1])

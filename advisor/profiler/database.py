"""Watches the app's sessions from Postgres's side: how many each worker holds, and in what state.

A session belongs to the worker whose socket has its client port. Over a unix socket there is no
port; then the worker's number in ``application_name`` (the server sets PGAPPNAME after each fork)
joins them. A session that appears during the trial, of our role in our database, and belongs to
no worker is counted under pid 0; one that was there before and belongs to no worker is somebody
else's.

Behind a pooler the sessions are the pooler's, whatever they are called. The app's connections are
then the workers' sockets to the pooler; in what state each is only the pooler knows.

The server's own counters (Postgres 14 and later) tell how long it was busy with queries, which is
what the drivers' waits can be held against.
"""

from __future__ import annotations

import contextlib
import math
import re
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg

from pretune.advisor.profiler import sockets
from pretune.advisor.profiler.downsampling import Rows
from pretune.advisor.profiler.processes import RunDelay
from pretune.advisor.profiler.samples import DATABASE, SESSION
from pretune.advisor.resources import postgres, postgres_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTERVAL_S = 0.5
_TIMEOUT = "statement_timeout = 2000"
BUDGET = 0.003  # of one core, for the tool's side of the watching
_WORKER_NAME = re.compile(r"^pretune[-: ](?:worker[-: ])?(\d+)$")

# Our role's sessions in our database, each with the server's counters; without sessions one row.
_LOOK = """
select a.pid, a.client_port, a.application_name, a.state, {counters}
from pg_stat_database d left join pg_stat_activity a
  on a.datname = d.datname and a.usename = current_user
  and a.pid <> pg_backend_pid() and (a.application_name <> %(us)s or %(pooled)s)
where d.datname = current_database()
"""
_COUNTERS = """
       d.active_time / 1e3, d.idle_in_transaction_time / 1e3, d.session_time / 1e3,
       d.xact_commit + d.xact_rollback,
       (select count(*) from pg_stat_activity
        where backend_type = 'client backend' and pid <> pg_backend_pid()
          and application_name <> %(us)s)
"""
_SERVER_SINCE = 140000  # the first version with these counters
# state -> column of SESSION; every other state counts as active (fastpath call, starting)
_COLUMNS = {
    "idle": 1,
    "idle in transaction": 2,
    "idle in transaction (aborted)": 2,
}
_UNSEEN = 3


class DatabaseObserver:
    """Connects at once; a database that cannot be reached makes ``stop`` return None."""

    def __init__(self, url: str) -> None:
        self.postmaster_pid: int | None = None
        self.pooler_pid: int | None = None
        self.problem = ""
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._port = 0
        self._owner: dict[int, int] = {}  # backend pid -> worker pid
        self._foreign: set[int] = set()  # backends that are not the app's
        self._rows = Rows(SESSION, 200_000, ("active", "idle", "idle_in_transaction"), "pid")
        self._server_rows = Rows(DATABASE, 50_000, ("others", "pooled"))
        self._server_told = False
        self._pooled = False
        self._ours_s = 0.0
        self._delay = RunDelay()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._cpu_s = 0.0
        try:
            self._connection = postgres.connect(url)
            self._port = self._connection.info.port
            self._server_told = self._connection.info.server_version >= _SERVER_SINCE
            (backend,) = self._connection.execute("select pg_backend_pid()").fetchone() or (0,)
            self._pooled = backend != self._connection.info.backend_pid
            if not self._pooled:  # else another client would get the setting with the session
                self._connection.execute(f"set {_TIMEOUT}")
            if postgres_url.is_local(url):
                self.postmaster_pid = _postmaster(self._connection)
                self.pooler_pid = sockets.listener(self._port) if self._pooled else None
        except (postgres_url.PostgresError, psycopg.Error) as error:
            self.problem = postgres_url.without_password(str(error), url)
            self._close()

    def start(self, worker_pids: Callable[[], tuple[int, ...]]) -> None:
        if self._connection is None:
            return
        before = time.thread_time()
        self._sample(worker_pids, first=True)
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
        return None if self.problem else self._rows.array()

    def server(self) -> NDArray[np.void]:
        """Rows of DATABASE; none when the server does not count."""
        return self._server_rows.array()

    def cpu_s(self) -> float:
        return self._cpu_s

    def _run(self, worker_pids: Callable[[], tuple[int, ...]]) -> None:
        pause, costs = INTERVAL_S, deque([0.0, 0.0], maxlen=5)
        while not self._stop.wait(pause) and self._connection is not None:
            before = time.thread_time()
            self._sample(worker_pids, first=False)
            cost = time.thread_time() - before
            self._cpu_s += cost
            costs.append(cost)
            # what a new connection costs to be found is paid once
            pause = max(INTERVAL_S, statistics.median(costs) / BUDGET)

    def _sample(self, worker_pids: Callable[[], tuple[int, ...]], *, first: bool) -> None:
        assert self._connection is not None
        before = time.monotonic()
        try:
            sessions, server = self._ask(self._connection)
        except psycopg.Error as error:
            self.problem = f"Postgres stopped answering: {error}"
            self._close()
            return
        now = time.monotonic()
        pids = worker_pids()
        counts = (
            self._through_pooler(pids) if self._pooled else self._by_session(sessions, pids, first)
        )
        for pid, states in counts.items():
            self._rows.append((now, pid, *states))
        self._rows.end_tick()
        if server:
            *counters, clients = server
            delay_s = self._backends_delay_s(sessions, first)
            held = len(sessions) if self._pooled else sum(map(sum, counts.values()))
            pooled = len(sessions) + 1 if self._pooled else 0  # and the one that answers us
            # of this look the server has not told yet
            self._server_rows.append(
                (now, *counters, self._ours_s, delay_s, max(clients - held, 0), pooled)
            )
            self._server_rows.end_tick()
        self._ours_s += now - before

    def _ask(
        self, connection: psycopg.Connection[tuple[Any, ...]]
    ) -> tuple[list[tuple[Any, ...]], tuple[Any, ...] | None]:
        """Our role's sessions in our database, and the server's counters."""
        with connection.transaction() if self._pooled else contextlib.nullcontext():
            if self._pooled:
                connection.execute(f"set local {_TIMEOUT}")
            look = _LOOK.format(counters=_COUNTERS if self._server_told else "null").encode()
            asked = {"us": postgres.APPLICATION_NAME, "pooled": self._pooled}
            rows = connection.execute(look, asked).fetchall()
        sessions = [row[:4] for row in rows if row[0] is not None]
        return sessions, rows[0][4:] if self._server_told and rows else None

    def _backends_delay_s(self, sessions: list[tuple[Any, ...]], first: bool) -> float:
        """Return the delay of the app's sessions, s; one that comes and goes between two looks is
        missed.
        """
        if self.postmaster_pid is None:
            return math.nan
        apps = [row[0] for row in sessions if row[0] not in self._foreign]
        return self._delay.add_up(apps, new=not first)

    def _through_pooler(self, pids: tuple[int, ...]) -> dict[int, list[int]]:
        counts: dict[int, list[int]] = {pid: [0, 0, 0, 0] for pid in (*pids, 0)}
        for owner in sockets.owners(pids, self._port).values():
            counts[owner][_UNSEEN] += 1
        return counts

    def _by_session(
        self, sessions: list[tuple[Any, ...]], pids: tuple[int, ...], first: bool
    ) -> dict[int, list[int]]:
        living = {row[0] for row in sessions}
        self._owner = {pid: owner for pid, owner in self._owner.items() if pid in living}
        self._foreign &= living
        unknown = living - self._owner.keys() - self._foreign
        ports = sockets.owners(pids, self._port) if unknown else {}
        counts: dict[int, list[int]] = {pid: [0, 0, 0, 0] for pid in (*pids, 0)}
        for backend, port, name, state in sessions:
            if backend in self._foreign:
                continue
            owner = self._owner.get(backend) or ports.get(port or -1) or _named(name, pids)
            if owner:
                self._owner[backend] = owner
            elif first:
                self._foreign.add(backend)
                continue
            counts.setdefault(owner or 0, [0, 0, 0, 0])[_COLUMNS.get(state, 0)] += 1
        return counts

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

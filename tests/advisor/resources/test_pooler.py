"""A connection pooler is recognised, asked for its limits, and not taken for the app."""

import subprocess
import sys
import textwrap
from urllib.parse import urlsplit

import psycopg
import pytest
from support.pgbouncer import pgbouncer

from pretune.advisor.profiler import sockets
from pretune.advisor.profiler.database import DatabaseObserver
from pretune.advisor.resources import pooler, postgres
from pretune.advisor.resources.pooler import Pooler

CONFIG = [
    {"key": "max_client_conn", "value": "100"},
    {"key": "default_pool_size", "value": "20"},
    {"key": "reserve_pool_size", "value": "3"},
    {"key": "max_db_connections", "value": "0"},
    {"key": "pool_mode", "value": "session"},
]
LISTS = [{"list": "used_clients", "items": 11}, {"list": "users", "items": 2}]
POOLS = [
    {"database": "app", "user": "a", "sv_active": 4, "sv_idle": 2},
    {"database": "app", "user": "b", "sv_active": 1, "sv_idle": 0},
    {"database": "other", "user": "a", "sv_active": 9, "sv_idle": 0},
]


def told(databases):
    return pooler.read_pooler(
        "PgBouncer 1.23.1", CONFIG, databases, POOLS, LISTS, database="app", ours=1
    )


def test_what_the_console_says_of_the_database_beats_the_defaults():
    here = {"name": "app", "pool_size": 7, "reserve_pool": 0, "pool_mode": "transaction"}
    found = told([{"name": "other", "pool_size": 1}, here | {"max_connections": 6}])
    assert found == Pooler("PgBouncer", "1.23.1", "", "transaction", 7, 100, 6, 10, 5)
    assert found.available == 90  # clients share the pool, so only they are counted


def test_in_session_mode_a_client_keeps_its_place_in_the_pool():
    found = told([])
    assert found.pool_mode == "session"
    assert found.pool_size == 23  # with the reserve
    assert found.available == 23 - 5
    assert "session mode" in found.bound


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("not allowed", "PgBouncer"),
        ("SASL authentication failed", "PgBouncer"),
        ('database "pgbouncer" does not exist', "unknown"),
        ("no such database: pgbouncer", "unknown"),
        ("server closed the connection", "unknown"),
    ],
)
def test_one_that_does_not_answer_is_named_by_how_it_refuses(message, kind):
    found = pooler.read_refusal(message)
    assert found.kind == kind
    assert found.problem
    assert found.available is None


def test_a_real_one_gives_the_budget(url):
    with pgbouncer(url, max_client_conn=40, default_pool_size=5) as through:
        limits = postgres.inspect(through)
        with psycopg.connect(through) as held:
            held.execute("select 1")
            during = postgres.inspect(through)
    assert limits.pooler.kind == "PgBouncer"
    assert limits.pooler.pool_mode == "transaction"
    assert limits.pooler.pool_size == 5
    assert limits.max_connections == 100  # the server's own, asked through it
    assert limits.available == 40
    assert during.available == 39
    assert "max_client_conn 40" in limits.source


def test_a_real_one_in_session_mode_gives_its_pool(url):
    pooled = pgbouncer(url, pool_mode="session", default_pool_size=5)
    with pooled as through, psycopg.connect(through) as held:
        held.execute("select 1")
        assert postgres.inspect(through).available == 4


def test_a_real_one_that_may_not_be_asked_is_still_recognised(url):
    with pgbouncer(url, console=False) as through:
        limits = postgres.inspect(through)
    assert limits.pooler.kind == "PgBouncer"
    assert "stats_users" in limits.pooler.problem
    assert limits.available == 97  # of the server, for want of better


WORKER = textwrap.dedent("""
    import sys, psycopg
    held = [psycopg.connect(sys.argv[1], autocommit=True) for _ in range(3)]
    for connection in held:
        connection.execute("select 1")
    print("ready", flush=True)
    sys.stdin.read()
""")


def test_connections_behind_it_are_the_workers_sockets_and_not_its_own_sessions(url):
    with pgbouncer(url, default_pool_size=2) as through:
        process = subprocess.Popen(
            [sys.executable, "-c", WORKER, through], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        try:
            assert process.stdout.readline() == b"ready\n"
            observer = DatabaseObserver(through)
            listener = sockets.listener(urlsplit(through).port)
            observer.start(lambda: (process.pid,))
            rows = observer.stop()
        finally:
            process.communicate(timeout=10)
        with psycopg.connect(through, autocommit=True) as later:
            (timeout,) = later.execute("show statement_timeout").fetchone()
    assert timeout == "0"  # nothing of ours stayed in a session that others get
    assert observer.pooler_pid is not None
    assert observer.pooler_pid == listener
    assert observer.postmaster_pid is not None
    assert set(rows["unseen"][rows["pid"] == process.pid].tolist()) == {3}
    assert not rows["idle"].any()
    server = observer.server()
    assert (server["pooled"] >= 1).all()
    assert (server["pooled"] <= 2).all()

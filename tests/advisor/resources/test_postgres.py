"""What a real Postgres says of its limits and sessions, and what happens when there is none."""

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest

from pretune.advisor.profiler import sockets
from pretune.advisor.profiler.database import DatabaseObserver
from pretune.advisor.profiler.sampler import Profiler
from pretune.advisor.resources import postgres
from pretune.advisor.resources.postgres_url import PostgresError, is_postgres

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def password(url):
    return urlsplit(url).password


def with_parts(url, **changes):
    """The URL with another user, password, host, port or database."""
    parts = urlsplit(url)
    have = {
        "user": parts.username,
        "password": parts.password,
        "host": parts.hostname,
        "port": parts.port,
    } | changes
    netloc = f"{have['user']}:{have['password']}@{have['host']}:{have['port']}"
    path = f"/{changes['database']}" if "database" in changes else parts.path
    return urlunsplit(("postgresql", netloc, path, "", ""))


def test_limits_are_those_of_the_server(url):
    limits = postgres.inspect(url)
    assert limits.max_connections == 100
    assert limits.reserved_slots == 3
    assert limits.local
    assert limits.pooler is None
    assert limits.role_limit is None
    assert limits.available == 97 - limits.others_in_use


def test_connections_of_others_are_not_available(url):
    before = postgres.inspect(url)
    with psycopg.connect(url), psycopg.connect(url):
        during = postgres.inspect(url)
    assert during.others_in_use == before.others_in_use + 2
    assert during.available == before.available - 2


def test_our_own_connection_counts_for_nobody(url):
    with postgres.connect(url):
        assert postgres.inspect(url).others_in_use == 0


@pytest.mark.parametrize(
    "scheme", ["postgres", "postgresql", "postgresql+psycopg", "postgresql+asyncpg", "postgis"]
)
def test_urls_of_other_libraries_are_understood(url, scheme):
    written = f"{scheme}://{url.partition('://')[2]}?conn_max_age=60&connect_timeout=3"
    assert is_postgres(written)
    assert postgres.inspect(written).max_connections == 100


def test_a_wrong_password_is_named_without_being_shown(url):
    wrong = with_parts(url, password="hunter2secret")
    with pytest.raises(postgres.WrongCredentials) as caught:
        postgres.inspect(wrong)
    assert "hunter2secret" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_missing_database_is_named(url, password):
    with pytest.raises(postgres.NoSuchDatabase, match="nowhere") as caught:
        postgres.inspect(with_parts(url, database="nowhere"))
    assert password not in str(caught.value)


def test_a_closed_port_is_unreachable(url, password):
    with pytest.raises(postgres.Unreachable) as caught:
        postgres.inspect(with_parts(url, port=1))
    assert password not in str(caught.value)


@pytest.mark.parametrize("bad", ["mysql://a:secret@h/d", "postgresql://u:secret@h:port/d"])
def test_what_is_no_postgres_url_is_refused_without_its_password(bad):
    with pytest.raises(PostgresError) as caught:
        postgres.inspect(bad)
    assert "secret" not in str(caught.value)


def test_a_message_of_libpq_shows_no_part_of_a_password_with_an_at_sign():
    with pytest.raises(postgres.Unreachable) as caught:
        postgres.inspect("postgresql://app:s3@cret@127.0.0.1:1/d")
    assert "cret" not in str(caught.value)


# A worker that holds three sessions: one working, one idle, one idle in a transaction.
WORKER = textwrap.dedent("""
    import sys, threading, psycopg
    url = sys.argv[1]
    idle = psycopg.connect(url, autocommit=True); idle.execute("select 1")
    waiting = psycopg.connect(url); waiting.execute("select 1")
    busy = psycopg.connect(url, autocommit=True)
    threading.Thread(target=busy.execute, args=("select pg_sleep(60)",), daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    import os; os._exit(0)
""")


@pytest.fixture
def worker(url):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout.readline().strip() == b"ready"
    yield process.pid
    process.stdin.close()
    process.wait(10)
    process.stdout.close()
    with postgres.connect(url) as connection:  # the server notices at its own pace
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where usename = current_user and pid <> pg_backend_pid()"
        )


def test_sessions_are_joined_to_the_worker_that_holds_them(url, worker):
    observer = DatabaseObserver(url)
    with psycopg.connect(url) as strangers:  # this process is no worker
        strangers.execute("select 1")
        observer.start(lambda: (worker,))
        time.sleep(0.7)
        rows = observer.stop()
    mine = rows[rows["pid"] == worker]
    assert len(mine) >= 2
    assert mine["idle"].tolist() == [1] * len(mine)
    assert mine["idle_in_transaction"].tolist() == [1] * len(mine)
    assert mine["active"].tolist() == [1] * len(mine)
    nobodys = rows[rows["pid"] == 0]
    assert set((nobodys["active"] + nobodys["idle"] + nobodys["idle_in_transaction"]).tolist()) == {
        0
    }


def test_the_server_says_how_long_it_was_in_queries(url, worker):
    observer = DatabaseObserver(url)
    observer.start(lambda: (worker,))
    time.sleep(1.2)
    observer.stop()
    rows = observer.server()
    assert len(rows) >= 2
    assert (np.diff(rows["active_s"]) >= 0).all()
    assert (np.diff(rows["ours_s"]) > 0).all()
    assert (rows["others"] == 0).all()
    assert (rows["pooled"] == 0).all()


def test_the_port_of_a_connection_tells_its_process(url, worker):
    with psycopg.connect(url) as connection:
        owners = sockets.owners([worker, os.getpid()], connection.info.port)
        mine = connection.execute("select inet_client_port()").fetchone()[0]
    assert owners[mine] == os.getpid()
    assert list(owners.values()).count(worker) == 3


def test_postgres_cpu_is_that_of_its_processes(url):
    observer = DatabaseObserver(url)
    assert observer.postmaster_pid
    profiler = Profiler(
        os.getpid(), worker_pids=lambda: (os.getpid(),), telemetry=None, database=observer
    )
    profiler.start()
    with psycopg.connect(url) as connection:
        before = time.monotonic()
        connection.execute("select sum(sqrt(i)) from generate_series(1, 3000000) i")
        took = time.monotonic() - before
        samples = profiler.stop()
    spent = samples.machine["postgres_s"]
    spent = spent[np.isfinite(spent)]
    assert samples.postgres_local
    # Three million square roots take a while anywhere, and one backend has one core; two parallel
    # workers may help it.
    assert 0.02 <= spent[-1] - spent[0] <= 3 * (took + 1)


def test_a_database_that_cannot_be_reached_is_not_watched(url):
    observer = DatabaseObserver(with_parts(url, port=1))
    observer.start(lambda: ())
    assert observer.stop() is None
    assert "cannot be reached" in observer.problem

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
    assert postgres.is_postgres(written)
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
    with pytest.raises(postgres.PostgresError) as caught:
        postgres.inspect(bad)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:p%40ss@h:1/d", "postgresql://u:***@h:1/d"),
        ("postgresql://u:a@b@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("postgresql:///d?user=u&password=x&a=b", "postgresql:///d?user=u&password=***&a=b"),
        ("postgresql://h/d?sslpassword=x", "postgresql://h/d?sslpassword=***"),
        ("postgresql:///d?user=u:v&password=x@y&a=b", "postgresql:///d?user=u:***&a=b"),
        ("postgresql://u:a?password=b@h/d", "postgresql://u:***"),
        ("postgresql://u:p@[bad/d", "postgresql://u:***@[bad/d"),
    ],
)
def test_redact_takes_out_the_password_only(url, shown):
    assert postgres.redact(url) == shown


UNENCODED = [
    f"{scheme}://app:{password}@127.0.0.1:1/db"
    for scheme in ("postgres", "postgresql+psycopg")
    for password in (
        *("S3/cret", "S3?cret", "S3#cret", "S3[cret", "S3]cret", "S3 cret", "S3%cret", "/S3cret"),
        *("S3@x/cret", "S3/c@ret", "S3@1?cret", "12/S3cret", "12?S3cret", "S3\ncret", "S3?c=ret"),
    )
]


@pytest.mark.parametrize("url", UNENCODED)
@pytest.mark.parametrize(
    "ask", [postgres.inspect, postgres.is_local, postgres.addresses, postgres.connect]
)
def test_a_password_that_is_not_encoded_is_named_without_being_shown(ask, url):
    with pytest.raises(postgres.Malformed, match="percent-encoded") as caught:
        ask(url)
    message = str(caught.value)
    assert ":***@127.0.0.1:1/db" in message
    assert "cret" not in message
    assert "S3" not in message
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:s3cret@[bad/d",
        "postgresql://u:s3cret@h:port/d",
        "postgresql://u:s3cret\u2100@h/d",
        "mysql://u:s3cret@h/d",
    ],
)
def test_nothing_is_claimed_of_where_an_unreadable_url_leads(url):
    with pytest.raises(postgres.Malformed) as caught:
        postgres.is_local(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%2Fw@127.0.0.1:1/d",
        "postgresql://u:p@ss@127.0.0.1:1/d",
        "postgresql://u:p@127.0.0.1:1/d?application_name=me@here",
        "postgresql://127.0.0.1:1/d?user=me@corp",
        "postgresql:///d?host=/tmp/proj:region:name&user=me@corp",
        "postgresql://u:p@[::1]:5433/d",
    ],
)
def test_an_at_sign_where_it_may_stand_is_read(url):
    assert postgres.is_local(url)


def test_a_message_of_libpq_shows_no_part_of_a_password_with_an_at_sign():
    with pytest.raises(postgres.Unreachable) as caught:
        postgres.inspect("postgresql://app:s3@cret@127.0.0.1:1/d")
    assert "cret" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "://", "sqlite:///x", "postgres", "http://[", "a:b@c"])
def test_asking_whether_it_is_postgres_never_raises(text):
    assert not postgres.is_postgres(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("no p@ss here", "postgresql://u:p%40ss@h/d"),
        ("no p%40ss here", "postgresql://u:p%40ss@h/d"),
        ("no x7 here", "postgresql://h/d?password=x7"),
    ],
)
def test_messages_lose_the_password_in_every_spelling(text, url):
    assert postgres.without_password(text, url) == "no *** here"


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("postgresql://u@localhost/d", True),
        ("postgresql://u@127.0.0.53/d", True),
        ("postgresql://u@[::1]:5433/d", True),
        ("postgresql://u@[::ffff:127.0.0.1]/d", True),
        ("postgresql:///d?host=/var/run/postgresql", True),
        ("postgresql://%2Fvar%2Frun/d", True),
        ("postgresql+psycopg://u@localhost:6432/d", True),
        ("postgresql://u@192.0.2.7/d", False),
        ("postgresql://u@localhost,192.0.2.7/d", False),
        ("postgresql://u@localhost/d?host=192.0.2.7", False),
        ("postgresql://u@localhost/d?hostaddr=192.0.2.7", False),
        ("postgresql://u@no-such-host.invalid/d", False),
        ("postgresql:///d?service=production", False),
    ],
)
def test_only_this_machine_is_local(url, local, monkeypatch):
    monkeypatch.delenv("PGHOST", raising=False)
    monkeypatch.delenv("PGHOSTADDR", raising=False)
    assert postgres.is_local(url) is local


def test_the_environment_decides_when_the_url_names_no_host(monkeypatch):
    monkeypatch.setenv("PGHOST", "192.0.2.7")
    assert not postgres.is_local("postgresql:///d")
    monkeypatch.setenv("PGHOST", "/tmp")
    assert postgres.is_local("postgresql:///d")


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

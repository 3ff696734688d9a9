"""The reason of errors is recognised in the words of who refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from pretune.advisor.profiler import causes

pytestmark = pytest.mark.fast
# as Postgres, SQLAlchemy, psycopg, SQLite, CPython and others write it
TEXTS = {
    "postgres-full": (
        'connection to server at "127.0.0.1", port 5432 failed: FATAL:  sorry, too many clients '
        "already",
        "FATAL:  remaining connection slots are reserved for roles with the SUPERUSER attribute",
        'FATAL:  too many connections for role "shop"',
        'pymysql.err.OperationalError: (1040, "Too many connections")',
    ),
    "pool-timeout": (
        "sqlalchemy.exc.TimeoutError: QueuePool limit of size 5 overflow 10 reached, connection "
        "timed out, timeout 30.00 (Background on this error at: https://sqlalche.me/e/20/3o7r)",
        "psycopg_pool.PoolTimeout: couldn't get a connection after 30.00 sec",
        "psycopg2.pool.PoolError: connection pool exhausted",
    ),
    "sqlite-locked": ("sqlite3.OperationalError: database is locked",),
    "deadlock": ("psycopg.errors.DeadlockDetected: deadlock detected",),
    "serialization": ("ERROR:  could not serialize access due to concurrent update",),
    "statement-cancelled": ("ERROR:  canceling statement due to statement timeout",),
    "shared-connection": (
        "psycopg2.OperationalError: lost synchronization with server: got message type",
        "asyncpg.exceptions._base.InterfaceError: cannot perform operation: another operation is "
        "in progress",
    ),
    "disk-full": ("OSError: [Errno 28] No space left on device: '/tmp/upload'",),
    "files-exhausted": ("OSError: [Errno 24] Too many open files: 'a.txt'",),
    "memory-exhausted": (
        "    rows = list(cursor)\nMemoryError",
        "OSError: [Errno 12] Cannot allocate memory",
        "numpy: Unable to allocate 7.45 GiB for an array with shape (1000000000,)",
    ),
    "threads-exhausted": ("RuntimeError: can't start new thread",),
    "ports-exhausted": ("OSError: [Errno 99] Cannot assign requested address",),
    "schema-missing": (
        'psycopg.errors.UndefinedTable: relation "shop_product" does not exist',
        "sqlite3.OperationalError: no such table: auth_user",
    ),
    "service-absent": ("redis.exceptions.ConnectionError: Error 111. Connection refused.",),
}


@pytest.mark.parametrize(
    ("kind", "text"), [(kind, text) for kind, texts in TEXTS.items() for text in texts]
)
def test_it_is_named_and_quoted(kind: str, text: str) -> None:
    (found,) = causes.find_causes(["<h1>OperationalError at /</h1>", text, text])
    assert (found.kind, found.times) == (kind, 2)
    assert found.said in text
    assert found.said in causes.explain([found])


def test_every_cause_has_a_text() -> None:
    assert {cause.kind for cause in causes.CAUSES} == set(TEXTS)


@pytest.mark.parametrize(
    "text",
    ["500 on /search", "GET /too-many-clients 200", "no table is locked", "ValueError: pool"],
)
def test_other_errors_have_no_known_cause(text: str) -> None:
    assert causes.find_causes([text]) == ()
    assert causes.explain(()) == ""


def test_what_others_follow_from_comes_first() -> None:
    texts = [TEXTS["service-absent"][0], TEXTS["pool-timeout"][0], TEXTS["postgres-full"][0]]
    kinds = [found.kind for found in causes.find_causes(texts)]
    assert kinds == ["postgres-full", "pool-timeout", "service-absent"]


def test_a_log_is_read_from_where_the_trial_began(tmp_path: Path) -> None:
    log = tmp_path / "demand.log"
    log.write_text("deadlock detected\n")
    start = log.stat().st_size
    with log.open("a") as file:
        file.write("database is locked\n")
    assert causes.read_since(log, start) == "database is locked\n"
    assert causes.read_since(tmp_path / "absent.log", 0) == ""

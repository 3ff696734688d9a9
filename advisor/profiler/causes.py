"""Recognises what lies behind an application's errors, in the words of who refused: in answers, in
the log of app and server, and in what Postgres says to the tool itself. Pure.

An answer of 500 says nothing of its reason; the text beside it does, and the remedy is known. A row
of ``CAUSES`` is one reason. What merely follows from another (a pool that times out because the
database is full) stands below it: of two that are seen both are told, the first row first.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretune.advisor.profiler.measurement import ErrorCause

MOST_READ = 2 << 20  # bytes of a log, from its end
LONGEST = 120  # characters quoted


@dataclass(frozen=True)
class Cause:
    """``means`` ends a sentence that began with the words seen; ``fix`` says what to change."""

    kind: str
    words: str  # an expression
    means: str
    fix: str


CAUSES: tuple[Cause, ...] = (
    Cause(
        "postgres-full",
        r"sorry, too many clients already|remaining connection slots are reserved"
        r"|too many connections for (?:role|database)[^\n]*|\bToo many connections\b"
        r"|no more connections allowed \(max_client_conn\)",
        "the database has no connection left",
        "Open fewer: workers x (pool_size + max_overflow), or workers x threads without a pool, "
        "must stay below max_connections less what is reserved and what others hold. Make the "
        "pool smaller, or put PgBouncer (pool_mode = transaction) before Postgres.",
    ),
    Cause(
        "pool-timeout",
        r"QueuePool limit of size \d+ overflow -?\d+ reached"
        r"|couldn't get a connection after [\d.]+ sec|connection pool exhausted"
        r"|No connection available\.|\bPoolTimeout\b",
        "the application's own pool has fewer connections than requests that want one at once",
        "Give the pool as many connections as a worker serves requests at once (SQLAlchemy: "
        "pool_size + max_overflow; psycopg_pool: max_size; under anyio up to 40 plain def "
        "endpoints), or let fewer requests in; and give a connection back before slow work.",
    ),
    Cause(
        "sqlite-locked",
        r"database (?:table )?is locked",
        "SQLite lets one process write at a time, and the others gave up waiting",
        "PRAGMA journal_mode=WAL, short write transactions (BEGIN IMMEDIATE) and a larger timeout "
        "help a little; for writes from several workers take Postgres.",
    ),
    Cause(
        "deadlock",
        r"deadlock detected|Deadlock found when trying to get lock",
        "transactions wait for each other's rows",
        "Lock rows in one order everywhere (sort the ids, SELECT ... FOR UPDATE before updates), "
        "keep transactions short, and repeat the one that was cancelled.",
    ),
    Cause(
        "serialization",
        r"could not serialize access due to [a-z/ ]+",
        "transactions of a strict isolation level met on the same rows",
        "Repeat a transaction that fails so, or take a lower isolation level.",
    ),
    Cause(
        "statement-cancelled",
        r"canceling statement due to (?:statement|lock|conflict)[a-z ]*|lock timeout exceeded",
        "the database cancelled a statement that took or waited too long",
        "Look for the statement in the log (EXPLAIN ANALYZE, pg_locks), before you raise "
        "statement_timeout or lock_timeout.",
    ),
    Cause(
        "shared-connection",
        r"lost synchronization with server|another (?:operation|command) is (?:already )?in "
        r"progress|SSL error: decryption failed or bad record mac|packet sequence number wrong",
        "one connection is used by two at once: by forks of the process that opened it, or by "
        "several tasks",
        "Open connections after the fork, one for each thread or task, or take them from a pool.",
    ),
    Cause(
        "disk-full",
        r"No space left on device|database or disk is full|could not extend file[^\n]*",
        "a disk is full",
        "Free or add space where it writes (TMPDIR, uploads, the database's directory).",
    ),
    Cause(
        "files-exhausted",
        r"Too many open files",
        "the process may open no more files and sockets",
        "Raise the limit (ulimit -n, LimitNOFILE= in systemd, --ulimit nofile in Docker), and look "
        "for what is opened for each request and never closed.",
    ),
    Cause(
        "memory-exhausted",
        r"\bMemoryError\b|Cannot allocate memory|Unable to allocate [\d.]+ \w+ for an array",
        "memory ran out",
        "Give more RAM or run fewer workers and threads; stream or page what one request needs so "
        "much memory for.",
    ),
    Cause(
        "threads-exhausted",
        r"can't start new thread|Resource temporarily unavailable",
        "no further thread or process may be started",
        "Raise the limit (ulimit -u, TasksMax= in systemd, --pids-limit in Docker), and let one "
        "executor serve all requests instead of one for each.",
    ),
    Cause(
        "ports-exhausted",
        r"Cannot assign requested address",
        "this machine has no free port left for connections to one address",
        "Keep connections open (one client or session per worker) instead of one for each call.",
    ),
    Cause(
        "schema-missing",
        r"relation \"[^\"\n]{1,60}\" does not exist|no such table: \S{1,60}"
        r"|Table '[^'\n]{1,60}' doesn't exist",
        "the database has not this table",
        "Create the schema before the run: put the migrations into the setup command.",
    ),
    Cause(
        "service-absent",
        r"Connection refused|could not translate host name|Name or service not known"
        r"|Temporary failure in name resolution|No route to host",
        "a service that the application calls is not there",
        "Start it for the run (the setup command), or point the application at one that is there.",
    ),
)
BY_KIND = {cause.kind: cause for cause in CAUSES}
_WORDS = re.compile("|".join(f"(?P<c{n}>{each.words})" for n, each in enumerate(CAUSES)))


def find_causes(texts: Iterable[str]) -> tuple[ErrorCause, ...]:
    """The reasons that these texts name, each with its first words, in the order of the rows;
    counted in lines."""
    times, said = [0] * len(CAUSES), [""] * len(CAUSES)
    for line in (line for text in texts for line in text.splitlines()):
        match = _WORDS.search(line)
        if match is not None and match.lastgroup is not None:
            number = int(match.lastgroup[1:])
            times[number] += 1
            said[number] = said[number] or match[0][:LONGEST].strip()
    return tuple(
        ErrorCause(cause.kind, count, words)
        for cause, count, words in zip(CAUSES, times, said, strict=True)
        if count
    )


def explain(found: Sequence[ErrorCause]) -> str:
    """``. They say "database is locked": SQLite lets ...``, to go on with what failed, of the first
    reason and with its fix; "" of none."""
    if not found:
        return ""
    first = found[0]
    cause = BY_KIND[first.kind]
    return f'. They say "{first.said}": {cause.means}. {cause.fix.rstrip(".")}'


def read_since(log: Path, start: int) -> str:
    """Read what has been written to a log since it was ``start`` bytes long; its end, of much."""
    try:
        with log.open("rb") as file:
            end = file.seek(0, 2)
            file.seek(max(start, end - MOST_READ))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""

"""The limits of a Postgres server for this application, asked of the server itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, tuple_row

from pretune.advisor.resources import pooler
from pretune.advisor.resources.pooler import Pooler
from pretune.advisor.resources.postgres_url import (
    PostgresError,
    addresses,
    is_local,
    normalise,
    redact,
    unreadable,
    without_password,
)

CONNECT_S = 5
APPLICATION_NAME = "pretune"


class Unreachable(PostgresError):
    pass


class WrongCredentials(PostgresError):
    pass


class NoSuchDatabase(PostgresError):
    pass


class NoSlotFree(PostgresError):
    pass


# Part of libpq's or the server's message -> what it is. A failed connection has no SQLSTATE.
_FAILURES: tuple[tuple[str, type[PostgresError], str], ...] = (
    (
        r"password authentication failed|no password supplied|role .* does not exist"
        r"|authentication failed|no pg_hba.conf entry",
        WrongCredentials,
        "{where} refuses the login: {detail}",
    ),
    (r"database .* does not exist", NoSuchDatabase, "{where}: {detail}"),
    (
        r"too many clients|connection slots|too many connections",
        NoSlotFree,
        "{where} has no connection left to look at its limits: {detail}",
    ),
    (r"", Unreachable, "{where} cannot be reached: {detail}"),
)


@dataclass(frozen=True)
class PostgresLimits:
    """Connections. ``role_limit`` and ``database_limit`` are None where there is none.

    ``others_in_use`` are client connections now, without ours; ``available`` is what the app's
    instances together can take on top of them: of the pooler, where there is one that tells.
    """

    max_connections: int
    superuser_reserved: int
    reserved: int
    role_limit: int | None
    database_limit: int | None
    others_in_use: int
    available: int
    host: str
    local: bool
    version: str
    pooler: Pooler | None = None  # stands between us and the server

    @property
    def source(self) -> str:
        """The parts that ``available`` was made of, in words."""
        if self.pooler and self.pooler.available is not None:
            return self.pooler.bound
        sentence = (
            f"max_connections {self.max_connections} - reserved {self.reserved_slots}"
            f" - used by others {self.others_in_use}"
        )
        for name, limit in (("role", self.role_limit), ("database", self.database_limit)):
            if limit is not None:
                sentence += f", {name} limit {limit}"
        return sentence

    @property
    def reserved_slots(self) -> int:
        """Kept free for superusers and for roles with pg_use_reserved_connections."""
        return self.superuser_reserved + self.reserved


def connect(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    """The tool's own connection, marked as such. Raises PostgresError."""
    addresses(url)  # libpq would repeat what it takes for a port
    try:
        return psycopg.connect(
            normalise(url),
            autocommit=True,
            connect_timeout=CONNECT_S,
            application_name=APPLICATION_NAME,
            prepare_threshold=None,  # a pooler may give each query another server
            row_factory=tuple_row,
        )
    except psycopg.ProgrammingError:
        raise unreadable(url) from None
    except psycopg.Error as error:
        raise _failure(url, str(error)) from None


def _failure(url: str, message: str) -> PostgresError:
    detail = without_password(" ".join(message.split()), url)
    # libpq names the address before the reason; the user has the URL.
    detail = detail.rpartition("FATAL:")[2].strip() or detail
    for pattern, kind, sentence in _FAILURES:
        if re.search(pattern, detail):
            return kind(sentence.format(where=redact(url), detail=detail))
    raise AssertionError("the last pattern matches everything")


_LIMITS = """
select current_setting('max_connections')::int,
       current_setting('superuser_reserved_connections')::int,
       coalesce(current_setting('reserved_connections', true), '0')::int,
       (select rolconnlimit from pg_roles where rolname = current_user),
       (select datconnlimit from pg_database where datname = current_database()),
       current_setting('server_version'),
       pg_backend_pid()
"""
# Who may not see a session's details sees its database and role all the same.
_IN_USE = """
select count(*),
       count(*) filter (where usename = current_user),
       count(*) filter (where datname = current_database())
from pg_stat_activity
where datid is not null and pid <> pg_backend_pid() and application_name <> %s
  and coalesce(backend_type, 'client backend') = 'client backend'
"""


def inspect(url: str) -> PostgresLimits:
    """Raises PostgresError."""
    with connect(url) as connection:
        try:
            limits = connection.execute(_LIMITS).fetchone()
            used = connection.execute(_IN_USE, [APPLICATION_NAME]).fetchone()
        except psycopg.Error as error:
            detail = without_password(str(error).strip(), url)
            raise PostgresError(f"{redact(url)} does not tell its limits: {detail}") from None
        # A pooler answers the login itself and makes a backend's number up.
        pooled = limits is not None and connection.info.backend_pid != limits[-1]
    asked = _ask_pooler(url) if pooled else None
    through_pooler = asked.available if asked else None
    assert limits is not None
    assert used is not None
    most, superuser, reserved, role, database, version, _ = limits
    by_all, by_role, by_database = used
    room = [most - superuser - reserved - by_all]
    if role >= 0:
        room.append(role - by_role)
    if database >= 0:
        room.append(database - by_database)
    return PostgresLimits(
        max_connections=most,
        superuser_reserved=superuser,
        reserved=reserved,
        role_limit=role if role >= 0 else None,
        database_limit=database if database >= 0 else None,
        others_in_use=by_all,
        available=max(min(room), 0) if through_pooler is None else through_pooler,
        host=addresses(url)[0].host,
        local=is_local(url),
        version=version,
        pooler=asked,
    )


_QUESTIONS = ("config", "databases", "pools", "lists")


def _ask_pooler(url: str) -> Pooler:
    """On its console; never raises."""
    try:
        with psycopg.connect(
            normalise(url), dbname=pooler.CONSOLE, autocommit=True, connect_timeout=CONNECT_S
        ) as console:
            (row,) = console.execute("show version").fetchall()
            answers = []
            for question in _QUESTIONS:
                cursor = console.cursor(row_factory=dict_row)
                answers.append(cursor.execute(f"show {question}".encode()).fetchall())
    except (psycopg.Error, ValueError) as error:
        detail = " ".join(str(error).split()).rpartition("FATAL:")[2].strip()
        return pooler.read_refusal(without_password(detail, url))
    database = conninfo_to_dict(normalise(url)).get("dbname") or ""
    return pooler.read_pooler(str(row[0]), *answers, database=str(database), ours=1)

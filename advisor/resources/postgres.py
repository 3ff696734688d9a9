"""What a Postgres server lets this application use, asked of the server itself.

URLs come as applications write them (``postgres://``, ``postgresql+psycopg://``, with parameters
of their own libraries in the query) and hold passwords. No message of this module repeats one.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psutil
import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import dict_row, tuple_row

from pretune.advisor import confidential
from pretune.advisor.resources import pooler
from pretune.advisor.resources.pooler import Pooler

CONNECT_S = 5
APPLICATION_NAME = "pretune"
DEFAULT_PORT = 5432

_SCHEME = re.compile(r"^(postgres|postgresql|postgis|pgsql)(\+\w+)?://", re.IGNORECASE)

# What a password may not hold as it is (RFC 3986, 3.2.1), and a % that encodes nothing.
_UNENCODED = re.compile(r"[/?#\[\]\s]|%(?![0-9a-fA-F]{2})")
# Before an @ that belongs to a parameter's value: host, database, name=.
_IN_QUERY = re.compile(r"[^/?#]*(/[^@?#]*)?\?[^#/]*=[^#]*")
# The greedy end is the last @ of all: where a password ends cannot be told from within it.
_PASSWORDS = (
    re.compile(r"://[^:@]*:(?P<secret>.*)@", re.DOTALL),
    re.compile(r"(?i)[?&](?:\w*password|passfile)=(?P<secret>[^&]*)"),
)


class PostgresError(Exception):
    """Postgres could not be asked; the message is for the user and holds no password."""


class Malformed(PostgresError):
    """The URL cannot be read, so nothing may be claimed of where it leads."""


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
        """What ``available`` was made of, in words."""
        if self.pooler and self.pooler.available is not None:
            return self.pooler.bound
        said = (
            f"max_connections {self.max_connections} - reserved {self.reserved_slots}"
            f" - used by others {self.others_in_use}"
        )
        for name, limit in (("role", self.role_limit), ("database", self.database_limit)):
            if limit is not None:
                said += f", {name} limit {limit}"
        return said

    @property
    def reserved_slots(self) -> int:
        """Kept free for superusers and for roles with pg_use_reserved_connections."""
        return self.superuser_reserved + self.reserved


def is_postgres(url: str) -> bool:
    return bool(_SCHEME.match(url))


def normalise(url: str) -> str:
    """As libpq reads it: one scheme, and only parameters libpq knows. Raises Malformed."""
    match = _SCHEME.match(url)
    if not match:
        raise Malformed("not a Postgres URL: it must begin with postgresql://")
    rest = url[match.end() :]
    if _UNENCODED.search(_userinfo(rest)):
        raise Malformed(
            f"the database URL {redact(url)} cannot be read: its user or password holds one of"
            " / ? # [ ] % or a space as it is; the password must be percent-encoded (/ as %2F)"
        )
    try:
        parts = urlsplit("postgresql://" + rest)
    except ValueError:  # its message may repeat the URL
        raise _unreadable(url) from None
    known = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    query = [(name, value) for name, value in parse_qsl(parts.query) if name in known]
    user, at, place = parts.netloc.rpartition("@")
    # Many libraries end the password at the last @, libpq at the first.
    netloc = user.replace("@", "%40") + at + place
    # Values may hold slashes (a socket's directory), which libpq wants as they are or quoted.
    return _url(parts.scheme, netloc, parts.path, urlencode(query, quote_via=quote))


def _userinfo(rest: str) -> str:
    """What stands before the host, with all that an unencoded password brings along."""
    before, at, after = rest.rpartition("@")
    if at and _IN_QUERY.fullmatch(before) and ("/" not in after or before.startswith("/")):
        return re.split("[/?#]", before, maxsplit=1)[0].rpartition("@")[0]
    return before


def _unreadable(url: str) -> Malformed:
    return Malformed(f"not a Postgres URL: {redact(url)}")


def _url(scheme: str, netloc: str, path: str, query: str) -> str:
    """Unlike urlunsplit, keeps the slashes of a URL that names no host."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def redact(url: str) -> str:
    """The URL with *** for its password, wherever it stands.

    The password is all from ``scheme://user:`` to the last @: of a URL that is not well formed too
    much is hidden, never too little.
    """
    found = [match.span("secret") for pattern in _PASSWORDS for match in pattern.finditer(url)]
    shown, done = "", 0
    for start, end in sorted(found):
        if start >= done:
            shown += url[done:start] + confidential.HIDDEN
        done = max(done, end)
    return shown + url[done:]


def without_password(text: str, url: str) -> str:
    """``text`` with the password of ``url`` taken out, quoted or not."""
    secrets = {s for found in confidential.passwords(url) for s in confidential.spellings(found)}
    return confidential.hide(text, tuple(secrets))


@dataclass(frozen=True)
class Address:
    """Where a URL leads; ``host`` begins with a slash for a socket's directory."""

    host: str
    port: int

    @property
    def is_socket(self) -> bool:
        return self.host.startswith(("/", "@"))


def addresses(url: str) -> tuple[Address, ...]:
    """All hosts the URL names, libpq's own defaults applied. Raises Malformed."""
    try:
        options: dict[str, Any] = conninfo_to_dict(normalise(url))
    except psycopg.ProgrammingError:  # its message repeats the URL
        raise _unreadable(url) from None
    named = options.get("hostaddr") or options.get("host")
    if not named and not options.get("service"):
        named = os.environ.get("PGHOSTADDR") or os.environ.get("PGHOST") or "/tmp"
    hosts = str(named or "").split(",")
    ports = str(options.get("port") or os.environ.get("PGPORT") or DEFAULT_PORT).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    try:
        return tuple(
            Address(host, int(port or DEFAULT_PORT))
            for host, port in zip(hosts, ports, strict=True)
        )
    except ValueError:
        raise _unreadable(url) from None


def is_local(url: str) -> bool:
    """Whether every host it names is this machine: a socket, loopback, or an interface's address.

    A host that cannot be resolved, or that a service file names, is not. Raises Malformed.
    """
    own = {
        address.address.partition("%")[0]
        for found in psutil.net_if_addrs().values()
        for address in found
    }
    return all(_is_own(address.host, own) for address in addresses(url))


def _is_own(host: str, own: set[str]) -> bool:
    if host.startswith(("/", "@")):
        return True
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host or "\0", None)}
    except (OSError, UnicodeError, ValueError):
        return False
    return bool(found) and all(_is_loopback(text) or text in own for text in found)


def _is_loopback(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


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
        raise _unreadable(url) from None
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
    told = asked.available if asked else None
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
        available=max(min(room), 0) if told is None else told,
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
        return pooler.refused(without_password(detail, url))
    database = conninfo_to_dict(normalise(url)).get("dbname") or ""
    return pooler.told(str(row[0]), *answers, database=str(database), ours=1)

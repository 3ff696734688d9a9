"""Postgres connection strings: read as libpq reads them, shown without passwords, where they lead.

They come as applications write them: URLs (``postgres://``, ``postgresql+psycopg://``, with
parameters of their own libraries in the query) or keywords (``host=db dbname=shop``). What they
leave out comes from the environment (``PGHOST``, ``PGSERVICE`` and its file): libpq itself is asked
for that. They hold passwords, and no message of this module repeats one.
"""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psutil
import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pretune.advisor import confidential

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
    re.compile(r"(?i)(?:^|\s)\w*password\s*=\s*(?P<secret>'(?:[^'\\]|\\.)*'|[^\s&]*)"),
)
_KEYWORDS = re.compile(
    r"\s*(host|hostaddr|port|dbname|user|password|passfile|service|sslmode|application_name"
    r"|connect_timeout|options)\s*=",
)


class PostgresError(Exception):
    """Postgres could not be asked; the message is for the user and holds no password."""


class Malformed(PostgresError):
    """The URL cannot be read, so nothing may be claimed of where it leads."""


def is_postgres(text: str) -> bool:
    """Return whether libraries take it for Postgres: by its scheme or libpq's keywords; never
    raises.
    """
    return bool(_SCHEME.match(text) or _KEYWORDS.match(text))


def normalise(url: str) -> str:
    """Rewrite a URL as libpq reads it: one scheme, and only parameters that libpq knows.

    Keywords (``host=db dbname=shop``) are libpq's own form and stay. Raises Malformed.
    """
    if _KEYWORDS.match(url):
        return url
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
        raise unreadable(url) from None
    keywords = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
    query = [(name, value) for name, value in parse_qsl(parts.query) if name in keywords]
    user, at, place = parts.netloc.rpartition("@")
    # Many libraries end the password at the last @, libpq at the first.
    netloc = user.replace("@", "%40") + at + place
    # Values may hold slashes (a socket's directory), which libpq wants as they are or quoted.
    return _url(parts.scheme, netloc, parts.path, urlencode(query, quote_via=quote))


def _userinfo(rest: str) -> str:
    """Return the text before the host, with all that an unencoded password brings along."""
    before, at, after = rest.rpartition("@")
    if at and _IN_QUERY.fullmatch(before) and ("/" not in after or before.startswith("/")):
        return re.split("[/?#]", before, maxsplit=1)[0].rpartition("@")[0]
    return before


def unreadable(url: str) -> Malformed:
    """The error for a URL of which nothing more can be said, its password hidden."""
    return Malformed(f"not a Postgres URL: {redact(url)}")


def _url(scheme: str, netloc: str, path: str, query: str) -> str:
    """Unlike urlunsplit, keeps the slashes of a URL that names no host."""
    return f"{scheme}://{netloc}{path}" + (f"?{query}" if query else "")


def redact(url: str) -> str:
    """The URL with *** for its password, wherever it stands.

    The password is all from ``scheme://user:`` to the last @: of a URL that is not well formed too
    much is hidden, never too little.
    """
    spans = [match.span("secret") for pattern in _PASSWORDS for match in pattern.finditer(url)]
    shown, done = "", 0
    for start, end in sorted(spans):
        if start >= done:
            shown += url[done:start] + confidential.HIDDEN
        done = max(done, end)
    return shown + url[done:]


def without_password(text: str, url: str) -> str:
    """``text`` with the password of ``url`` taken out, quoted or not."""
    secrets = {
        s for password in confidential.passwords(url) for s in confidential.spellings(password)
    }
    return confidential.hide(text, tuple(secrets))


@dataclass(frozen=True)
class Address:
    """The host and port of a URL; ``host`` begins with a slash for a socket's directory."""

    host: str
    port: int


def addresses(text: str, environ: Mapping[str, str] | None = None) -> tuple[Address, ...]:
    """All hosts that a connection string leads to under ``environ`` (None: this process's own).

    ``environ`` may hold PGHOST, PGSERVICE and their kin. Raises Malformed; also for a service that
    no file names.
    """
    options = _options(text, os.environ if environ is None else environ)
    named = options.get("hostaddr") or options.get("host") or "/tmp"
    hosts = str(named).split(",")
    ports = str(options.get("port") or DEFAULT_PORT).split(",")
    ports = ports * len(hosts) if len(ports) == 1 else ports
    try:
        return tuple(
            Address(host, int(port or DEFAULT_PORT))
            for host, port in zip(hosts, ports, strict=True)
        )
    except ValueError:
        raise unreadable(text) from None


def complete(text: str, environ: Mapping[str, str]) -> str:
    """The connection string with what ``environ`` adds to it, so that it leads there from anywhere.

    One that names its host itself stays as it is written. Raises Malformed.
    """
    explicit = _explicit(text)
    if explicit.get("host") or explicit.get("hostaddr"):
        return text
    options = {name: value for name, value in _options(text, environ).items() if value}
    options.pop("service", None)
    options.pop("servicefile", None)
    return make_conninfo("", **options)


def _explicit(text: str) -> dict[str, Any]:
    """Return what the string itself says, by libpq's names. Raises Malformed."""
    try:
        return conninfo_to_dict(normalise(text))
    except psycopg.ProgrammingError:  # its message repeats the string
        raise unreadable(text) from None


def _options(text: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return libpq's options: the string over the service over the environment."""
    explicit = _explicit(text)
    service = str(explicit.get("service") or environ.get("PGSERVICE") or "")
    with _environment_of(environ, service):
        built_in = pq.Conninfo.get_defaults()
        if service and not _has_service():
            raise Malformed(f"no service file names the Postgres service {service!r}")
    defaults = {
        e.keyword.decode(): e.val.decode() for e in built_in if e.val and e.val != e.compiled
    }
    return defaults | explicit


def _has_service() -> bool:
    """Return whether libpq finds PGSERVICE. It is silent about that in its defaults, and says so
    only when it is to connect: here to a socket that does not exist.
    """
    connection = pq.PGconn.connect_start(b"host=/nonexistent")
    return b"service" not in connection.error_message


@contextmanager
def _environment_of(environ: Mapping[str, str], service: str) -> Iterator[None]:
    """libpq reads the process's environment: for a moment it is the app's."""
    own = {name: value for name, value in os.environ.items() if _is_read_by_libpq(name)}
    given = {name: value for name, value in environ.items() if _is_read_by_libpq(name)}
    if service:
        given["PGSERVICE"] = service
    try:
        for name in own:
            del os.environ[name]
        os.environ.update(given)
        yield
    finally:
        for name in given:
            del os.environ[name]
        os.environ.update(own)


def _is_read_by_libpq(name: str) -> bool:
    return name.startswith("PG") or name == "HOME"


def is_local(text: str, environ: Mapping[str, str] | None = None) -> bool:
    """Return whether every host it leads to is this machine: a socket, loopback, an interface's
    address.

    A host that cannot be resolved is not. Raises Malformed.
    """
    own = own_addresses()
    return all(_is_own(address.host, own) for address in addresses(text, environ))


def own_addresses() -> frozenset[str]:
    """The addresses of this machine's network interfaces, as text."""
    return frozenset(
        address.address.partition("%")[0]
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
    )


def _is_own(host: str, own: frozenset[str]) -> bool:
    if host.startswith(("/", "@")):
        return True
    try:
        addresses = {str(info[4][0]) for info in socket.getaddrinfo(host or "\0", None)}
    except (OSError, UnicodeError, ValueError):
        return False
    return bool(addresses) and all(is_loopback(text) or text in own for text in addresses)


def is_loopback(text: str) -> bool:
    """Return whether an address, as text, never leaves this machine."""
    address = ipaddress.ip_address(text.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback

"""Postgres URLs: read as libpq reads them, shown without their passwords, and where they lead.

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
)


class PostgresError(Exception):
    """Postgres could not be asked; the message is for the user and holds no password."""


class Malformed(PostgresError):
    """The URL cannot be read, so nothing may be claimed of where it leads."""


def is_postgres(url: str) -> bool:
    """Whether its scheme is one that libraries take for Postgres; never raises."""
    return bool(_SCHEME.match(url))


def normalise(url: str) -> str:
    """The URL as libpq reads it: one scheme, and only parameters libpq knows. Raises Malformed."""
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
        raise unreadable(url) from None
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
        raise unreadable(url) from None


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

"""Forwarded fields: what a proxy says about its client, and which proxies are believed.

Whoever wrote the bytes of a request must be trusted, which is the peer of the connection, or, if
the connection began with a PROXY header, the source that header names: a proxy that only passes
bytes on has not looked at them. Fields of others are not acted upon; they stay visible to the app
as ``HTTP_X_FORWARDED_FOR`` and the like, as gunicorn leaves them, because the app may know better.

WSGI gets the scheme only and REMOTE_ADDR stays the peer, as with gunicorn: apps and middlewares
(Werkzeug's ProxyFix, django-ipware) expect the proxy there when they judge the field themselves.
ASGI gets the client, too, as with uvicorn. RFC 7239's Forwarded is left to the app.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping

from pretune.server.http11.refused import Refused

MAX_HOPS = 64  # proxies in a row that are followed back

# How proxies say that TLS ended at them (gunicorn: secure_scheme_headers).
_SECURE = (
    ("HTTP_X_FORWARDED_PROTO", frozenset({"https", "wss"})),
    ("HTTP_X_FORWARDED_PROTOCOL", frozenset({"ssl"})),
    ("HTTP_X_FORWARDED_SSL", frozenset({"on"})),
)
_SAYING = frozenset(key for key, _ in _SECURE)


class Trust:
    """Addresses and networks that are believed. Parse it once, not per request."""

    def __init__(self, allowed: str) -> None:
        """Comma-separated addresses, networks (``10.0.0.0/8``) and ``*`` for everyone.

        Raises ValueError.
        """
        members = [member.strip() for member in allowed.split(",")]
        self.everyone = "*" in members
        # (bytes of the address, how far to shift, what is left then)
        self._networks = tuple(_network(member) for member in members if member not in ("", "*"))
        self._known: dict[str, bool] = {}

    def covers(self, host: str) -> bool:
        """Return whether ``host`` is believed. "" is the peer of a unix socket, and is believed:

        the permissions of the socket's file say who may connect.
        """
        if self.everyone or not host:
            return True
        covered = self._known.get(host)
        if covered is None:
            covered = self._covers(host)
            if len(self._known) >= 256:
                self._known.clear()
            self._known[host] = covered
        return covered

    def _covers(self, host: str) -> bool:
        try:
            size, number = _number(host.partition("%")[0])  # link-local peers name the interface
        except ValueError:
            return False
        return any(size == s and number >> shift == rest for s, shift, rest in self._networks)


def _number(host: str) -> tuple[int, int]:
    """Size in bytes and value. An IPv4 address in IPv6's clothes is an IPv4 address."""
    try:
        packed = socket.inet_pton(socket.AF_INET6 if ":" in host else socket.AF_INET, host)
    except (OSError, ValueError):  # ValueError: a NUL or no ASCII
        raise ValueError(f"{host!r} is no address") from None
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        packed = packed[12:]
    return len(packed), int.from_bytes(packed, "big")


def _network(text: str) -> tuple[int, int, int]:
    host, slash, bits = text.partition("/")
    size, number = _number(host)
    if not slash:
        return size, 0, number
    if not (bits.isascii() and bits.isdigit()) or int(bits) > size * 8:
        raise ValueError(f"{text!r} is no network")
    shift = size * 8 - int(bits)
    if number >> shift << shift != number:
        raise ValueError(f"{text!r} has bits set beyond its prefix")
    return size, shift, number >> shift


def scheme_of(fields: Mapping[str, str], trusted: bool) -> str:
    """``https`` or ``http``. Raises Refused.

    A field that names several schemes says https only if all of them are. Fields that contradict
    each other are refused: the proxy sets one, so the other is the client's, and which is which
    cannot be seen from here. (Taking either would let clients pass as secure on some proxies.)
    """
    if not trusted or _SAYING.isdisjoint(fields):
        return "http"
    schemes = {
        all(member.strip(" \t").lower() in secure for member in fields[key].split(","))
        for key, secure in _SECURE
        if key in fields
    }
    if len(schemes) > 1:
        raise Refused(400, "contradictory scheme fields")
    return "https" if True in schemes else "http"


def client_of(
    fields: Mapping[str, str], peer: tuple[str, int] | None, trust: Trust
) -> tuple[str, int] | None:
    """Return the client of a request: the right-most address of X-Forwarded-For that is not
    trusted.

    Every proxy appends whom it saw, so what stands left of an untrusted address is hearsay. If all
    are trusted it is the left-most. The port is 0 where it is not known. ``peer`` where the field
    says nothing that is an address, or the peer is not trusted; None is a unix socket's.
    """
    addresses = fields.get("HTTP_X_FORWARDED_FOR")
    if not addresses or not trust.covers(peer[0] if peer else ""):
        return peer
    members = addresses.rsplit(",", MAX_HOPS)
    client = None
    for member in reversed(members[:1] if trust.everyone else members):
        client = _address(member.strip(" \t"))
        if client is None or not trust.covers(client[0]):
            break
    return client or peer


def _address(text: str) -> tuple[str, int] | None:
    """An address as proxies write it: bare, with a port, in brackets. None if it is none."""
    port = ""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host = text
    try:
        _number(host)
    except ValueError:
        return None
    return host, int(port) if port.isascii() and port.isdigit() and len(port) < 6 else 0

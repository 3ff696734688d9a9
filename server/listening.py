"""The sockets the server listens on, opened once by the master and inherited by all others."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterable


class BindFailed(Exception):
    """An address cannot be listened on."""


def listen(binds: Iterable[str], backlog: int) -> list[socket.socket]:
    """A non-blocking listening socket per address. Raises BindFailed."""
    opened: list[socket.socket] = []
    try:
        for bind in binds:
            opened.append(_open(bind, backlog))
    except (OSError, ValueError, OverflowError) as error:
        for sock in opened:
            sock.close()
        raise BindFailed(f"cannot listen on {bind}: {error}") from error
    return opened


def _open(bind: str, backlog: int) -> socket.socket:
    if bind.startswith("unix:"):
        path = bind[len("unix:") :]
        # Left behind by a server that was killed; anything but a socket is somebody's file.
        if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
            os.unlink(path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        address: str | tuple[str, int] = path
    else:
        host, port = split(bind)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Inherited by accepted connections: an answer never waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        address = (host, port)
    try:
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def split(bind: str) -> tuple[str, int]:
    """``host:port``, ``[::1]:port``, ``:port`` or ``port``. Raises ValueError."""
    host, _, port = bind.rpartition(":")
    return host.strip("[]") or ("0.0.0.0" if bind.startswith(":") else "127.0.0.1"), int(port)


def name(sock: socket.socket) -> str:
    """``host:port`` or ``unix:path``, as it is really bound."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def close(listeners: Iterable[socket.socket], *, unlink: bool) -> None:
    """Stop listening; ``unlink`` removes the file of a unix socket (its opener does)."""
    for sock in listeners:
        path = sock.getsockname() if sock.family == socket.AF_UNIX and sock.fileno() >= 0 else None
        sock.close()
        if unlink and path and os.path.exists(path):
            os.unlink(path)

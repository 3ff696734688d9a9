"""The sockets the server listens on, opened once by the master and inherited by all others.

They come from the binds, from systemd (sd_listen_fds(3)) or from the master before us, which was
replaced by a newer program. What systemd passes takes the place of the binds, as in gunicorn; of
what a master left, each bind takes its own, so no connection in a queue is lost.

**reuse_port** sets SO_REUSEPORT on the one socket of a bind. It buys that a second server, a newer
version say, can listen on the same port at the same time. It costs that any process of the same
user can do so too and take a part of the connections. It does *not* give each worker a socket of
its own: the kernel then deals connections out by a hash, also to a worker that is busy while
another is idle, and resets those in the queue of a worker that leaves.
"""

from __future__ import annotations

import array
import contextlib
import errno
import json
import os
import re
import select
import socket
import stat
import struct
from collections.abc import Iterable, MutableMapping

from pretune.server.process import path_rights

SYSTEMD_FIRST = 3  # the first descriptor of sd_listen_fds(3)
LEGACY = "PRETUNE_FDS"  # JSON: bind -> descriptor

# A classic BPF program over a TCP segment: no SYN passes, all else does (linux/filter.h).
_SO_ATTACH_FILTER = 26
_NO_SYN = (
    (0x30, 0, 0, 13),  # load the byte with the flags
    (0x45, 0, 1, 0x02),  # SYN?
    (0x06, 0, 0, 0),  # drop it
    (0x06, 0, 0, 0xFFFFFFFF),  # let it through
)


class BindFailed(Exception):
    """An address cannot be listened on."""


class Listener(socket.socket):
    """A listening socket. ``bind`` is what was asked for, ``file`` what must be removed at the end.

    ``file`` is ``(path, device, inode)`` of a unix socket that is ours: whoever put another in its
    place keeps it. None for all others.
    """

    __slots__ = ("bind_", "file")

    bind_: str
    file: tuple[str, int, int] | None


def listen(
    binds: Iterable[str],
    backlog: int,
    *,
    umask: int | None = None,
    owner: tuple[int, int] | None = None,
    reuse_port: bool = False,
    environ: MutableMapping[str, str] | None = None,
) -> list[socket.socket]:
    """A non-blocking listening socket per address. Raises BindFailed.

    ``umask`` and ``owner`` (uid, gid) are for the files of unix sockets; without a umask everybody
    may connect, as with gunicorn. ``environ`` is searched for inherited sockets, and cleared of
    them.
    """
    binds = list(dict.fromkeys(binds))
    if environ is not None:
        given = from_systemd(environ)
        if given:
            environ.pop(LEGACY, None)  # a master before us had the same ones
            return given
    left = from_master(environ) if environ is not None else {}
    opened: list[socket.socket] = []
    bind = ""
    try:
        for bind in binds:
            if bind in left:
                opened.append(left.pop(bind))
            else:
                both = _is_ipv6(bind) and any(_same_port(bind, other) for other in binds)
                opened.append(_open(bind, backlog, umask, owner, reuse_port, only_ipv6=both))
    except (OSError, ValueError, OverflowError) as error:
        close(opened, unlink=True)
        raise BindFailed(f"cannot listen on {bind}: {_reason(error)}") from error
    finally:
        close(left.values(), unlink=False)
    return opened


def _reason(error: Exception) -> str:
    if isinstance(error, socket.gaierror):
        return error.args[1] if len(error.args) > 1 else str(error)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error)


def _open(
    bind: str,
    backlog: int,
    umask: int | None,
    owner: tuple[int, int] | None,
    reuse_port: bool,
    *,
    only_ipv6: bool,
) -> Listener:
    if match := re.fullmatch(r"fd://(\d+)", bind):
        return _adopt(int(match[1]), bind)
    path = unix_path(bind)
    if path is not None:
        return _open_unix(path, bind, backlog, umask, owner)
    host, port = split(bind)
    addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    # A name with both kinds of address means the older one here, as it did before there were two.
    family, kind, _, _, address = min(addresses, key=lambda entry: entry[0] != socket.AF_INET)
    sock = Listener(family, kind)
    try:
        sock.file, sock.bind_ = None, bind
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if only_ipv6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        # Inherited by accepted connections: an answer never waits for an acknowledgement.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(address)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _open_unix(
    path: str, bind: str, backlog: int, umask: int | None, owner: tuple[int, int] | None
) -> Listener:
    sock = Listener(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.file, sock.bind_ = None, bind
    before = os.umask(umask or 0)
    try:
        with path_rights.place_of(path) as place:
            _remove_stale(path, place)
            # By its name, which clients see. Whoever else can move the directories on the way there
            # has a socket's file made elsewhere, and then it is not found at the place.
            sock.bind(path)
            file = path_rights.socket_at(place)
        sock.file = (os.path.abspath(path), *file)
        if owner is not None and os.geteuid() == 0:
            path_rights.give_socket(path, file, owner)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError:
        close([sock], unlink=True)
        raise
    finally:
        os.umask(before)
    return sock


def _remove_stale(path: str, place: path_rights.Place) -> None:
    """Remove what a killed server left. Anything but a socket is somebody's file."""
    at = place.dir_fd
    try:
        if not stat.S_ISSOCK(os.stat(place.name, dir_fd=at, follow_symlinks=False).st_mode):
            raise FileExistsError(errno.EEXIST, "there is a file that is not a socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(place.name, dir_fd=at)
            return
        except BlockingIOError:
            pass  # its queue is full: it lives all the more
    raise OSError(errno.EADDRINUSE, "a running server answers there")


def _adopt(fd: int, bind: str) -> Listener:
    """A listening socket by its descriptor. Raises ValueError."""
    try:
        sock = Listener(fileno=fd)
    except OSError as error:
        raise ValueError(f"descriptor {fd}: {error.strerror}") from error
    listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if sock.type != socket.SOCK_STREAM or not listens:
        sock.detach()
        raise ValueError(f"descriptor {fd} is not a listening stream socket")
    sock.file, sock.bind_ = None, bind
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    sock.set_inheritable(False)
    return sock


# -- sockets of others


def inherited(environ: MutableMapping[str, str]) -> list[socket.socket] | None:
    """Take the sockets that systemd or the master before us passed; None if nobody passed anything.

    The variables are removed: they are meant for this process. Raises BindFailed.
    """
    return from_systemd(environ) or list(from_master(environ).values()) or None


def from_systemd(environ: MutableMapping[str, str]) -> list[socket.socket]:
    """Socket activation. Raises BindFailed if something else than a listener was passed."""
    if environ.get("LISTEN_PID") != str(os.getpid()):
        return []  # meant for a parent of ours
    count = int(environ.get("LISTEN_FDS") or 0)
    for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"):
        environ.pop(name, None)
    try:
        numbers = range(SYSTEMD_FIRST, SYSTEMD_FIRST + count)
        return [_adopt(number, f"fd://{number}") for number in numbers]
    except ValueError as error:
        raise BindFailed(f"systemd passed what cannot be served: {error}") from error


def from_master(environ: MutableMapping[str, str]) -> dict[str, Listener]:
    """By bind, what the master before us left. Raises BindFailed."""
    text = environ.pop(LEGACY, None)
    listeners: dict[str, Listener] = {}
    try:
        for bind, fd in (json.loads(text) if text else {}).items():
            listeners[bind] = sock = _adopt(fd, bind)
            path = sock.getsockname() if sock.family == socket.AF_UNIX else None
            if isinstance(path, str) and os.path.exists(path):
                info = os.lstat(path)
                sock.file = (path, info.st_dev, info.st_ino)
    except (ValueError, TypeError, AttributeError) as error:
        raise BindFailed(f"the master before us left what cannot be served: {error}") from error
    return listeners


def bequeath(listeners: Iterable[socket.socket]) -> tuple[dict[str, str], list[int]]:
    """For the master after us: what to add to its environment, which descriptors to pass."""
    binds = {getattr(s, "bind_", None) or name(s): s.fileno() for s in listeners}
    return {LEGACY: json.dumps(binds)}, list(binds.values())


# -- names


def unix_path(bind: str) -> str | None:
    """The path of ``unix:path`` or ``unix://path``; None for other binds."""
    match = re.fullmatch(r"unix:(?://)?(.+)", bind, re.DOTALL)
    return match[1] if match else None


def split(bind: str) -> tuple[str, int]:
    """``host:port``, ``[::1]:port``, ``:port``, ``port`` or ``host``. Raises ValueError."""
    bind = bind.removeprefix("tcp://")
    if bind.isdigit():
        return "127.0.0.1", int(bind)
    if bind.startswith("[") and bind.endswith("]"):
        return bind[1:-1], 8000
    host, colon, port = bind.rpartition(":")
    if not colon:
        return bind, 8000
    if not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{port!r} is not a port")
    return host.removeprefix("[").removesuffix("]") or "0.0.0.0", int(port)


def _is_ipv6(bind: str) -> bool:
    return not bind.startswith(("unix:", "fd:")) and ":" in split(bind)[0]


def _same_port(bind: str, other: str) -> bool:
    """Return whether ``other`` wants the same port for the older protocol."""
    if other.startswith(("unix:", "fd:")) or _is_ipv6(other):
        return False
    port = split(bind)[1]
    return port != 0 and split(other)[1] == port


def name(sock: socket.socket) -> str:
    """``host:port`` or ``unix:path``, as it is really bound."""
    address = sock.getsockname()
    if sock.family == socket.AF_UNIX:
        if isinstance(address, bytes):  # in the abstract namespace
            address = "@" + address[1:].decode("utf-8", "replace")
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def let_go(listener: socket.socket) -> None:
    """Listen no more in this process, but keep the number of its descriptor taken.

    Once no process holds the socket the kernel refuses connections. Those it took while one did,
    and nobody accepted, would be reset when that one ends, with the requests they brought. The
    number goes to /dev/null, as somebody may still act on an event that was on its way.
    """
    with contextlib.suppress(OSError), open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), listener.fileno(), inheritable=False)


def is_lent(listener: socket.socket) -> bool:
    """Return whether somebody else opened it, and holds it when we are gone (systemd)."""
    return str(getattr(listener, "bind_", None)).startswith("fd://")


def seal(listener: socket.socket) -> bool:
    """Let nobody new into its queue, in any process; False if the kernel cannot do that.

    Whoever is in the queue can still be accepted, so it can be emptied before the socket is closed
    and nobody is reset. A unix socket refuses from now on. To TCP clients nobody seems to be there:
    they ask again after a second, and are refused if the socket is closed by then.
    """
    try:
        if listener.family == socket.AF_UNIX:
            listener.shutdown(socket.SHUT_RD)
        else:
            code = b"".join(struct.pack("HBBI", *line) for line in _NO_SYN)
            program = array.array("B", code)
            pointer = struct.pack("HP", len(_NO_SYN), program.buffer_info()[0])
            listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, pointer)
    except OSError:
        return False
    return True


def readable(sockets: Iterable[socket.socket | int]) -> set[int]:
    """The descriptors of those that have something to read or to accept, an end or an error."""
    poll = select.poll()
    for sock in sockets:
        poll.register(sock, select.POLLIN)
    return {fd for fd, _ in poll.poll(0)}


def close(listeners: Iterable[socket.socket], *, unlink: bool) -> None:
    """Stop listening; ``unlink`` removes the files of unix sockets that are still ours."""
    for sock in listeners:
        file = getattr(sock, "file", None)
        if unlink and file is not None:
            with contextlib.suppress(OSError), path_rights.place_of(file[0]) as place:
                info = os.stat(place.name, dir_fd=place.dir_fd, follow_symlinks=False)
                if (info.st_dev, info.st_ino) == file[1:]:
                    os.unlink(place.name, dir_fd=place.dir_fd)
        sock.close()

"""Lists what the import of an application left open that no fork carries over.

A forked worker has none of its parent's threads, and shares with its siblings each connection,
event loop, SQLite file and locked file of its parent: two of them read one another's answers. An
application that opens such things while it is imported must not be loaded before the fork.

Taken from the process itself: its threads as Python knows them (those of native libraries have
handlers of their own for a fork), its descriptors and the locks on its files as the kernel does.
Nothing is called on the application's objects.
"""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
from types import ModuleType
from typing import Any, NamedTuple

from pretune.server.probes.user_frames import OWN, UserFrames, frames

# What was left open; the sentences of the tool go by these words.
THREAD, CONNECTION, LOOP, DATABASE, LOCK = "thread", "connection", "event loop", "database", "lock"
MOST = 20  # told of one kind
_SQLITE = b"SQLite format 3\0"
_LONGEST = 200


class Before(NamedTuple):
    """The process before the import. ``open``: what each descriptor leads to."""

    threads: frozenset[int]
    open: dict[int, str]
    locks: frozenset[str]


def look() -> Before:
    """Look at this process before the import; ``find`` lists what has come since."""
    return Before(frozenset(t.ident or 0 for t in threading.enumerate()), _open(), _file_locks())


def find(before: Before, root: str) -> list[dict[str, str]]:
    """``{"kind", "name"}`` of each thing, those of one name once. ``root``: the project's."""
    came = {fd: link for fd, link in _open().items() if before.open.get(fd) != link}
    user_frames = UserFrames([root])
    found = [
        *((THREAD, name) for name in _threads(before, user_frames)),
        *((CONNECTION, name) for fd, link in came.items() if (name := _peer(fd, link))),
        *((LOOP, name) for name in _loops()),
        *((DATABASE, came[fd]) for fd in came if _is_sqlite(fd)),
        *((LOCK, name) for name in _held(user_frames)),
        *((LOCK, came.get(int(fd), "a file")) for fd in _file_locks() - before.locks),
    ]
    named = list(dict.fromkeys(found))
    return [
        {"kind": kind, "name": name[:_LONGEST]}
        for each in (THREAD, CONNECTION, LOOP, DATABASE, LOCK)
        for kind, name in [item for item in named if item[0] == each][:MOST]
    ]


def _threads(before: Before, user_frames: UserFrames) -> list[str]:
    """``poller (app.py:12 in wait)`` of each thread that has been started since."""
    stacks, named = sys._current_frames(), []
    for thread in threading.enumerate():
        ident = thread.ident
        if thread is threading.current_thread() or ident is None or ident in before.threads:
            continue
        place = user_frames.find(frames(stacks.get(ident)))
        at = f" ({place.file}:{place.line} in {place.function})" if place else ""
        named.append(thread.name + at)
    return named


def _open() -> dict[int, str]:
    """Map each descriptor of this process to what it leads to; {} where it cannot be told."""
    links = {}
    try:
        names = os.listdir("/proc/self/fd")
    except OSError:
        return {}
    for name in names:
        try:
            links[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:  # the listing's own
            continue
    return links


def _peer(fd: int, link: str) -> str:
    """The other end of a connected stream, "" for anything else.

    A pair of sockets has no name: it is no connection to anybody. Datagrams may be sent by several.
    """
    if not link.startswith("socket:"):
        return ""
    copy = socket.socket(fileno=os.dup(fd))
    try:
        peer: Any = copy.getpeername() if copy.type == socket.SOCK_STREAM else ""
    except OSError:  # it listens, or is connected to nobody
        return ""
    finally:
        copy.close()
    if isinstance(peer, tuple):
        host = f"[{peer[0]}]" if ":" in str(peer[0]) else peer[0]
        return f"{host}:{peer[1]}"
    return os.fsdecode(peer) if peer else ""


def _loops() -> list[str]:
    """The classes of event loops that are not closed; with one, all workers get one epoll."""
    events = sys.modules.get("asyncio.events")
    if not isinstance(events, ModuleType):
        return []
    kind = events.AbstractEventLoop
    return [
        f"{type(each).__module__}.{type(each).__qualname__}"
        for each in gc.get_objects()
        if issubclass(type(each), kind) and not _is_closed(each)
    ]


def _is_closed(loop: Any) -> bool:
    try:
        return bool(loop.is_closed())
    except Exception:  # half made
        return True


def _is_sqlite(fd: int) -> bool:
    """By the file's first bytes. A descriptor of our own would, closed, give up the app's locks."""
    try:
        return os.pread(fd, len(_SQLITE), 0) == _SQLITE
    except OSError:  # no file, or not open for reading
        return False


def _held(user_frames: UserFrames) -> list[str]:
    """Locks of the project's own modules that are held: no worker would ever get them."""
    kind = type(threading.Lock())
    return [
        f"{name}.{variable}"
        for name, module in list(sys.modules.items())
        if (file := getattr(module, "__file__", None)) and user_frames.owner(file)[0] == OWN
        for variable, value in list(vars(module).items())
        if isinstance(value, kind) and value.locked()
    ]


def _file_locks() -> frozenset[str]:
    """Descriptors of locked files: a lock of flock(2) is all forks' together, one of fcntl(2) the
    parent's alone, for ever."""
    locked = set()
    for fd in _open():
        try:
            with open(f"/proc/self/fdinfo/{fd}", encoding="ascii", errors="replace") as file:
                if any(line.startswith("lock:") for line in file):
                    locked.add(str(fd))
        except OSError:
            continue
    return frozenset(locked)

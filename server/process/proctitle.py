"""The title that ps and top show: ``pretune: worker [name]``.

The short name is written to /proc/self/comm. The command line is the memory at
``arg_start .. arg_end`` (proc(5)), which a process may write in itself: not beyond its end, the
environment begins there and others read it. Where the kernel does not allow it the old title
stays; setproctitle, if the app's environment has it, knows more ways.

A process that has given up root does not own its files in /proc any more (it is not dumpable,
prctl(2)), nor do those forked from it: a preloaded worker of another user reaches its own memory
through ctypes instead. Others come here before they change their user, and need no ctypes.
"""

from __future__ import annotations

import importlib.util
import os

# Places in /proc/self/stat after the name, whose two fields are the first (proc(5): 48 and 49).
_ARG_START, _ARG_END = 48 - 3, 49 - 3
_PR_SET_NAME = 15
_COMM = 15  # bytes of a short name


def compose(role: str, name: str) -> str:
    """``pretune: role [name]``. The name must hold no secret: a target or what the user chose."""
    return f"pretune: {role} [{name}]"


def set_title(title: str) -> bool:
    """Give this process a title; whether its command line could be changed. Raises nothing."""
    try:
        if importlib.util.find_spec("setproctitle") is not None:
            import setproctitle  # type: ignore[import-not-found]

            setproctitle.setproctitle(title)
            return True
    except Exception:
        pass  # somebody's broken or half-installed copy
    text = title.encode("utf-8", "replace")
    try:
        start, room = _area()
        padded = text[:room].ljust(room, b"\0")
        try:
            _write("/proc/self/comm", text[:_COMM])
            _write("/proc/self/mem", padded, start)
        except PermissionError:
            _poke(start, padded, text[:_COMM])
    except (OSError, ValueError, IndexError, ImportError):
        return False
    return True


def _area() -> tuple[int, int]:
    """Address and size of what may be written. Raises OSError, ValueError, IndexError."""
    with open("/proc/self/stat", "rb") as file:
        # The second field is a name in parentheses and may hold anything.
        fields = file.read().rpartition(b")")[2].split()
    start, end = int(fields[_ARG_START]), int(fields[_ARG_END])
    # The last byte stays zero, or the kernel reads on into the environment.
    if start <= 0 or end - start < 2:
        raise ValueError("the kernel does not say where the arguments are")
    return start, end - start - 1


def _write(path: str, data: bytes, offset: int = 0) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        if offset:  # comm, for one, knows no offsets
            os.lseek(fd, offset, os.SEEK_SET)
        os.write(fd, data)
    finally:
        os.close(fd)


def _poke(address: int, data: bytes, short: bytes) -> None:
    import ctypes

    ctypes.memmove(address, data, len(data))
    ctypes.CDLL(None).prctl(_PR_SET_NAME, short + b"\0", 0, 0, 0)

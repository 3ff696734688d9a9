"""Before the other work of a shared machine, without taking it all: priority and short turns.

A request that comes to a process waits until that gets a core. Beside others that compute, the
kernel lets it wait for up to some turns of theirs, which no model of the application can know. A
process whose own turns are shorter is let in at once (sched(7), ``sched_runtime``; Linux 6.12).
Both are inherited by all that is started. x86-64 only; elsewhere nothing is known.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct

NICE, SLICE_S = -15, 0.0003
SET, GET = 314, 315  # sched_setattr, sched_getattr of x86-64
# size, policy, flags, nice, priority, runtime ns, deadline, period
ATTRIBUTES = struct.Struct("<IIQiIQQQ")


def raised() -> None:
    """Raises OSError where that is not allowed."""
    values = (ATTRIBUTES.size, 0, 0, NICE, 0, round(SLICE_S * 1e9), 0, 0)
    _call(SET, ctypes.create_string_buffer(ATTRIBUTES.pack(*values)), 0)


def described() -> dict[str, float]:
    """``nice``, and ``slice_s`` where the kernel tells it."""
    buffer = ctypes.create_string_buffer(ATTRIBUTES.size)
    try:
        _call(GET, buffer, ATTRIBUTES.size, 0)
    except OSError:
        return {"nice": os.nice(0)}
    _, _, _, nice, _, runtime, _, _ = ATTRIBUTES.unpack(buffer.raw)
    return {"nice": nice, "slice_s": runtime / 1e9}


def _call(number: int, buffer: ctypes.Array[ctypes.c_char], *rest: int) -> None:
    if platform.machine() != "x86_64":
        raise OSError("sched_setattr is called by number, known for x86-64 only")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(number, 0, buffer, *rest) != 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))

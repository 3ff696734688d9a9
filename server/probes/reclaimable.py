"""The memory of a worker that nobody holds: asked after the load, by a signal, answered in a file.

Growth that the collector or the allocator gives back when it is told to is no leak: garbage in
cycles that was not collected yet, and pages that hold nothing but were not returned to the kernel
(fragmentation). ``malloc_trim`` is glibc's; elsewhere only the collector is asked.

The signal has its meaning only where telemetry is on, that is: under our own tool. It costs what a
full collection costs, so it is for the end of a trial. The handler runs in the main thread, between
two steps of its Python code; all worker classes keep that thread free.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

# Real-time, next to dump_signal.DUMP_SIGNAL: the ordinary ones are the app's to use.
SIGNAL = signal.SIGRTMIN + 4
_PAGE = os.sysconf("SC_PAGE_SIZE")


def path(directory: str, pid: int) -> str:
    """Return the path of the answer: "blocks_at_boot" and what ``reclaim`` says, written whole."""
    return os.path.join(directory, f"{pid}.reclaimable")


def answer_on_signal(directory: str) -> None:
    """Call it in the main thread, when the app is loaded."""
    at_boot = blocks()

    def handle(number: int, frame: FrameType | None) -> None:
        answer = {**reclaim(), "blocks_at_boot": at_boot}
        goal = path(directory, os.getpid())
        try:
            with open(goal + ".new", "w", encoding="utf-8") as file:
                json.dump(answer, file)
            os.replace(goal + ".new", goal)
        except OSError:
            pass  # who asked has gone, and the directory with it

    signal.signal(SIGNAL, handle)


def reclaim() -> dict[str, int | bool]:
    """Collect and trim; what it brought.

    ``before``, ``collected`` and ``trimmed`` are bytes that no file backs: before, after the
    collector, after the trim. ``blocks`` and ``blocks_collected`` count Python's small objects
    before and after the collector: freed ones leave holes in arenas that stay, so bytes alone would
    not show them.
    """
    trim = _trimmer()
    before, objects = anonymous_bytes(), blocks()
    gc.collect()
    collected = anonymous_bytes()
    trim(0)
    return {
        "before": before,
        "collected": collected,
        "trimmed": anonymous_bytes(),
        "gc_enabled": gc.isenabled(),
        "blocks": objects,
        "blocks_collected": blocks(),
    }


def blocks() -> int:
    """Small objects that Python's allocator holds; 0 where it does not count them."""
    count = getattr(sys, "getallocatedblocks", None)
    return int(count()) if count else 0


def anonymous_bytes() -> int:
    """Resident memory of this process that no file and no shared memory backs."""
    with open("/proc/self/statm", "rb", buffering=0) as file:
        fields = file.read().split()
    return (int(fields[1]) - int(fields[2])) * _PAGE


def _trimmer() -> Callable[[int], object]:
    # Late: until it is asked a worker is not made larger by this.
    try:
        import ctypes

        trim: Callable[[int], object] = ctypes.CDLL(None).malloc_trim
    except (ImportError, OSError, AttributeError):
        return lambda pad: None  # not glibc
    return trim

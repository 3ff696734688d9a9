"""Which source lines hold the memory that grows: tracemalloc in the app's process, on demand.

Only in a trial of its own, under telemetry, with ``VARIABLE`` in the environment: every allocation
is then remembered with its stack, which makes requests several times as dear. Allocations before
``begin`` are not seen, so what is told is what came since the app was loaded.

Each signal takes a snapshot. Sizes are summed by line of the user's own code: of a stack, the
innermost frame below the app's directory that belongs to no library; else the innermost that is
not ours. What Python's allocators do not know (native libraries) is in none.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import sysconfig
from collections.abc import Callable, Iterable, Iterator
from types import FrameType

from pretune.server.clock import Clock

VARIABLE = "PRETUNE_ALLOCATION_SITES"
# Real-time, next to reclaimable.SIGNAL.
SIGNAL = signal.SIGRTMIN + 5
FRAMES = 25  # of each allocation's stack
SMALLEST = 1024  # bytes; a line that never held so much is left out
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def path(directory: str, pid: int) -> str:
    """Return the path where the answer appears, whole, after each snapshot.

    ``{"times": [CLOCK_MONOTONIC s], "lines": {"file:line": {"bytes": [one for each time], "via":
    "file:line" of the innermost frame, or ""}}}``
    """
    return os.path.join(directory, f"{pid}.allocations")


def begin(directory: str, chdir: str) -> None:
    """Remember allocations from now on and answer the signal; in the main thread."""
    import tracemalloc

    find_site = site_finder(chdir)
    times: list[float] = []
    lines: dict[str, dict[str, object]] = {}
    tracemalloc.start(FRAMES)

    def handle(number: int, frame: FrameType | None) -> None:
        if gc.isenabled():
            gc.collect()  # garbage is held by nobody
        now = Clock.monotonic()
        sizes: dict[str, int] = {}
        via: dict[str, tuple[int, str]] = {}
        for size, stack in _by_stack():
            site = find_site(stack)
            if site is None:
                continue
            outer, inner = site
            sizes[outer] = sizes.get(outer, 0) + size
            if size > via.get(outer, (0, ""))[0]:
                via[outer] = (size, inner)
        before = [0] * len(times)
        times.append(now)
        for line in sizes.keys() | lines.keys():
            row = lines.setdefault(line, {"bytes": list(before), "via": ""})
            row["bytes"].append(sizes.get(line, 0))  # type: ignore[attr-defined]
            row["via"] = via.get(line, (0, row["via"]))[1]
        _write(directory, times, lines)

    signal.signal(SIGNAL, handle)


def _by_stack() -> Iterator[tuple[int, list[tuple[str, int]]]]:
    """Bytes held now, and the stack they were allotted by, outermost frame first.

    What ``take_snapshot().statistics("traceback")`` gives, without an object for each allocation
    and frame: the app stands still meanwhile. Allocations of one stack share its tuple.
    """
    import _tracemalloc

    sizes: dict[int, int] = {}
    traces = _tracemalloc._get_traces()  # (domain, size, frames innermost first, depth)
    stacks = {id(trace[2]): trace[2] for trace in traces}
    for trace in traces:
        key = id(trace[2])
        sizes[key] = sizes.get(key, 0) + trace[1]
    for key, frames in stacks.items():
        yield sizes[key], list(reversed(frames))


def site_finder(
    chdir: str,
) -> Callable[[Iterable[tuple[str, int]]], tuple[str, str] | None]:
    """A function from a stack, outermost first, to ``file:line`` that holds, and that allotted."""
    root = os.path.join(os.path.abspath(chdir), "")
    libraries = tuple(
        os.path.join(directory, "")
        for directory in {sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}
        | {sys.prefix, sys.base_prefix}
        if directory and not root.startswith(os.path.join(directory, ""))
    )

    def is_users(name: str) -> bool:
        return name.startswith(root) and not name.startswith(libraries)

    def shown(name: str, line: int) -> str:
        return f"{name[len(root) :] if name.startswith(root) else name}:{line}"

    def find_site(stack: Iterable[tuple[str, int]]) -> tuple[str, str] | None:
        frames = [f for f in stack if not f[0].startswith(_OURS) and not f[0].startswith("<")]
        if not frames:
            return None
        site = next((f for f in reversed(frames) if is_users(f[0])), frames[-1])
        inner = frames[-1]
        return shown(*site), shown(*inner) if inner != site else ""

    return find_site


def _write(directory: str, times: list[float], lines: dict[str, dict[str, object]]) -> None:
    goal = path(directory, os.getpid())
    large = {
        name: row
        for name, row in lines.items()
        if max(row["bytes"], default=0) >= SMALLEST  # type: ignore[call-overload]
    }
    try:
        with open(goal + ".new", "w", encoding="utf-8") as file:
            json.dump({"times": times, "lines": large}, file)
        os.replace(goal + ".new", goal)
    except OSError:
        pass  # who asked has gone, and the directory with it

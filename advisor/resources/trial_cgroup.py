"""A control group around one trial: the kernel keeps its memory in bounds and its account.

Under version 1 the group is made inside our own. Under version 2 a group that holds processes may
not hand controllers down, so it is made beside us when our own cannot take it; that works where
the parent is delegated to us (a systemd user session, a container that delegates). Where neither
can be written there is no group, and nothing is said: limits then come from elsewhere.

Version 1 keeps CPU in hierarchies of its own; there the group has namesakes, where they may be
made, so that the trial has one account of everything.
"""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pretune.advisor.resources import cgroups
from pretune.advisor.resources.kernel import parse_cpu_stat, read_pressure

# A trial may use this part of what is free now; the kernel ends it there, not the machine.
MEMORY_FRACTION = 0.8
_REMOVE_S = 2.0


class CgroupUsage(NamedTuple):
    """Bytes now. ``kernel_bytes`` is what is charged beyond the processes' own pages: kernel
    memory and sockets. ``cache_bytes``, pages of files, go when somebody needs the memory."""

    total_bytes: int
    kernel_bytes: int
    cache_bytes: int
    peak_bytes: int
    oom_kills: int


class CgroupAccount(NamedTuple):
    """Counters since the group was made; zero where the kernel does not say.

    ``high``: its processes were slowed to reclaim memory (version 2); ``max``: the limit was hit
    and memory reclaimed; ``oom``: that was not enough (version 2); ``oom_kills``: processes ended
    for it. CPU is of every process that ever was in it, those that ended too.
    """

    cpu_s: float
    throttled_s: float
    throttled_periods: int
    high: int
    max: int
    oom: int
    oom_kills: int
    cpu_pressure_s: float  # version 2
    memory_pressure_s: float
    io_pressure_s: float


class TrialCgroup:
    """Made by ``create``. After the group is gone its readings are zero; nothing here raises."""

    def __init__(
        self,
        version: int,
        path: Path,
        limit_bytes: int,
        root: Path = Path("/"),
        before_making: Callable[[Path], None] = lambda path: None,
    ) -> None:
        self.version = version
        self.path = path
        self.limit_bytes = limit_bytes
        self._root = root
        self._before_making = before_making
        self._namesakes: dict[str, Path] = {}  # controller -> directory

    @classmethod
    def create(
        cls,
        name: str,
        fraction: float = 0.8,
        *,
        limit_bytes: int | None = None,
        root: Path = Path("/"),
        before_making: Callable[[Path], None] = lambda path: None,
    ) -> TrialCgroup | None:
        """Limited to ``limit_bytes``, else to ``fraction`` of what is available now. None when
        this process may not make a memory group. ``before_making`` learns each path that is tried,
        so that a clean-up knows it before it exists."""
        own = cgroups.find_group("memory", root)
        if own is None:
            return None
        if limit_bytes is None:
            limit_bytes = int(cgroups.available_ram(root) * fraction)
        for parent in _parents(own):
            path = parent / name
            before_making(path)
            try:
                path.mkdir()
            except OSError:
                continue
            group = cls(own.version, path, limit_bytes, root, before_making)
            if group._limit() and group._takes_processes():
                group.add_namesake("cpuacct")
                return group
            group.remove()
        return None

    def _limit(self) -> bool:
        ram, swap = _LIMITS[self.version]
        try:
            (self.path / ram).write_text(str(self.limit_bytes))
        except OSError:
            return False
        # Without swap accounting these files do not exist. Version 1 counts RAM and swap together,
        # and with both limits alike it does not count how often they were hit.
        with contextlib.suppress(OSError):
            if cgroups.meminfo(self._root, "SwapTotal") and (self.path / swap).exists():
                (self.path / swap).write_text(str(self.limit_bytes if self.version == 1 else 0))
        return True

    def add_namesake(self, controller: str) -> None:
        """Under version 1, in the controller's own hierarchy."""
        own = cgroups.find_group(controller, self._root)
        if self.version == 2 or own is None or own.version != 1 or controller in self._namesakes:
            return
        path = own.path / self.path.name
        if path not in self.paths():
            self._before_making(path)
            try:
                path.mkdir()
            except OSError:
                return
        self._namesakes[controller] = path

    def directory_of(self, controller: str) -> Path:
        """Return the directory of that controller's files of the group."""
        return self._namesakes.get(controller, self.path)

    def paths(self) -> list[Path]:
        """Its own directory, then those of its namesakes."""
        return list(dict.fromkeys((self.path, *self._namesakes.values())))

    def _takes_processes(self) -> bool:
        try:
            with (self.path / "cgroup.procs").open("a"):
                return True
        except OSError:
            return False

    def add(self, pid: int) -> bool:
        """Move a process in; its later children are born inside. False when it could not be."""
        try:
            (self.path / "cgroup.procs").write_text(str(pid))
        except OSError:
            return False
        for path in self.paths()[1:]:
            with contextlib.suppress(OSError):  # only the account is poorer for it
                (path / "cgroup.procs").write_text(str(pid))
        return True

    def pids(self) -> tuple[int, ...]:
        return tuple(int(line) for line in cgroups.read(self.path / "cgroup.procs").split())

    def usage(self) -> CgroupUsage:
        return _READERS[self.version](self.path)

    def account(self) -> CgroupAccount:
        """About ten small files."""
        cpu = cgroups.read(self.directory_of("cpu") / "cpu.stat")
        throttled = parse_cpu_stat(cpu)
        events = cgroups.stat(self.path / "memory.events")
        if self.version == 1:
            used_s = _number(self.directory_of("cpuacct") / "cpuacct.usage") * 1e-9
            hit = _number(self.path / "memory.failcnt")
            kills = cgroups.stat(self.path / "memory.oom_control").get("oom_kill", 0)
        else:
            used_s = cgroups.stat(self.directory_of("cpu") / "cpu.stat").get("usage_usec", 0) * 1e-6
            hit, kills = events.get("max", 0), events.get("oom_kill", 0)
        return CgroupAccount(
            used_s,
            throttled.seconds,
            throttled.periods,
            events.get("high", 0),
            hit,
            events.get("oom", 0),
            kills,
            *read_pressure(lambda name: self.path / f"{name}.pressure"),
        )

    def remove(self) -> bool:
        """Wait shortly for the last process to be reaped, then remove the group."""
        deadline = time.monotonic() + _REMOVE_S
        gone = [_remove(path, deadline) for path in self.paths()]
        return all(gone)


def _remove(path: Path, deadline: float) -> bool:
    while True:
        try:
            path.rmdir()
        except FileNotFoundError:
            return True
        except OSError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


_LIMITS = {
    1: ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
    2: ("memory.max", "memory.swap.max"),
}


def _parents(own: cgroups.Group) -> list[Path]:
    if own.version == 1:
        return [own.path]
    near = [own.path] if own.path == own.mount else [own.path, own.path.parent]
    return [
        path for path in near if "memory" in cgroups.read(path / "cgroup.subtree_control").split()
    ]


def _usage_v1(path: Path) -> CgroupUsage:
    stat = cgroups.stat(path / "memory.stat")
    tcp = _number(path / "memory.kmem.tcp.usage_in_bytes")
    return CgroupUsage(
        # Version 1 accounts for TCP buffers apart from everything else.
        total_bytes=_number(path / "memory.usage_in_bytes") + tcp,
        kernel_bytes=_number(path / "memory.kmem.usage_in_bytes") + tcp,
        cache_bytes=stat.get("total_cache", 0),
        peak_bytes=_number(path / "memory.max_usage_in_bytes"),
        oom_kills=cgroups.stat(path / "memory.oom_control").get("oom_kill", 0),
    )


def _usage_v2(path: Path) -> CgroupUsage:
    stat = cgroups.stat(path / "memory.stat")
    # "kernel" came with Linux 5.18; its parts are older.
    parts = ("slab", "kernel_stack", "pagetables", "percpu")
    kernel = stat.get("kernel", sum(stat.get(part, 0) for part in parts))
    return CgroupUsage(
        total_bytes=_number(path / "memory.current"),
        kernel_bytes=kernel + stat.get("sock", 0),
        cache_bytes=stat.get("file", 0),
        peak_bytes=_number(path / "memory.peak"),
        oom_kills=cgroups.stat(path / "memory.events").get("oom_kill", 0),
    )


_READERS = {1: _usage_v1, 2: _usage_v2}


def _number(path: Path) -> int:
    text = cgroups.read(path)
    return int(text) if text.isdigit() else 0


def bound_memory(pid: int, workers: int) -> None:
    """Bounds one process where no control group can be made: to its part of what is free now.

    RLIMIT_DATA counts private writable memory, is inherited over fork, and fails allocations with
    MemoryError in the one worker that asks too much.
    """
    part = int(cgroups.available_ram() * MEMORY_FRACTION) // max(1, workers)
    with contextlib.suppress(OSError):
        resource.prlimit(pid, resource.RLIMIT_DATA, (part, part))

"""Usage of each process in the server's tree, read from /proc at two rates.

Fast (10 Hz): ``statm`` over a file kept open, and the process's CPU clock, which any process may
read and which counts ns where /proc counts ticks of 10 ms. An open file of /proc belongs to the
process, not to the number, so a pid the kernel hands out again cannot be mistaken for the old one.
Slow: ``stat``, descriptors, the switches of every thread, and ``smaps_rollup``, which walks the
page tables (about 2 ms for 100 MB), so its reader decides how often it can afford one.

The tree is found by parents: /proc/<pid>/task/<tid>/children is a kernel option that many machines
lack. Only pids never seen before are opened, so a scan costs one directory listing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import NamedTuple

from pretune.advisor.workspace.reaper import MARK

PAGE = os.sysconf("SC_PAGE_SIZE")
TICK_S = 1 / os.sysconf("SC_CLK_TCK")

# MAKE_PROCESS_CPUCLOCK of linux/posix-timers.h, what clock_getcpuclockid(3) gives.
_CPUCLOCK_SCHED = 2

_MARK = f"{MARK}=".encode()

ROLES = ("master", "zygote", "worker")


class Usage(NamedTuple):
    """One process at one moment; s of CPU since its start, bytes."""

    cpu_s: float
    rss_bytes: int
    private_bytes: int  # resident and not backed by a file or shared memory
    threads: int


class Activity(NamedTuple):
    """Scheduling of all threads of one process since the first look; counts, s.

    A thread that ended keeps what it had when it was last looked at.
    """

    voluntary: int  # it had to wait for something
    forced: int  # somebody else was given its core
    run_delay_s: float  # it could have run and did not: other processes, a quota, the hypervisor


class Footprint(NamedTuple):
    """From smaps_rollup; bytes. PSS adds up over processes, USS is what its end would give back.

    ``anon_bytes`` is the PSS of what no file and no shared memory backs.
    """

    pss_bytes: int
    uss_bytes: int
    rss_bytes: int
    anon_bytes: int


class Stat(NamedTuple):
    parent: int
    session: int
    cpu_s: float
    children_cpu_s: float  # of descendants that ended and were waited for
    threads: int


def parse_stat(text: bytes) -> Stat:
    """The name may hold spaces and brackets, so everything up to its last bracket is cut off."""
    fields = text[text.rindex(b")") + 2 :].split(None, 18)
    user, system, children_user, children_system = (int(ticks) for ticks in fields[11:15])
    return Stat(
        parent=int(fields[1]),
        session=int(fields[3]),
        cpu_s=(user + system) * TICK_S,
        children_cpu_s=(children_user + children_system) * TICK_S,
        threads=int(fields[17]),
    )


def parse_statm(text: bytes) -> tuple[int, int]:
    """``(resident, private)`` bytes."""
    fields = text.split()
    resident, shared = int(fields[1]), int(fields[2])
    return resident * PAGE, max(resident - shared, 0) * PAGE


_VOLUNTARY, _FORCED = b"\nvoluntary_ctxt_switches:", b"\nnonvoluntary_ctxt_switches:"


def parse_switches(text: bytes) -> tuple[int, int]:
    """``(voluntary, forced)`` of one thread, from its status."""
    return _after(text, _VOLUNTARY), _after(text, _FORCED)


def _after(text: bytes, name: bytes) -> int:
    return int(text[text.index(name) + len(name) :].split(None, 1)[0])


_FOOTPRINT_LINES = {
    b"Pss": 0,
    b"Private_Clean": 1,
    b"Private_Dirty": 1,
    b"Private_Hugetlb": 1,
    b"Rss": 2,
    b"Pss_File": 3,
    b"Pss_Shmem": 3,
}


def parse_smaps_rollup(text: bytes) -> Footprint:
    totals = [0, 0, 0, 0]
    for line in text.splitlines()[1:]:
        name, _, rest = line.partition(b":")
        place = _FOOTPRINT_LINES.get(name)
        if place is not None:
            totals[place] += int(rest.split()[0]) * 1024
    pss, uss, rss, backed = totals
    return Footprint(pss, uss, rss, pss - backed)


class Process:
    """One process of the tree, with its files of /proc open. Methods give None once it is gone."""

    def __init__(self, pid: int) -> None:
        """Raises OSError when there is no such process or it may not be read."""
        self.pid = pid
        self.total_cpu_s = 0.0  # as last read, with children that ended
        self._children_cpu_s = 0.0
        self._threads = 1
        self._clock = (~pid << 3) | _CPUCLOCK_SCHED
        self._tasks: dict[str, Activity] = {}
        self.activity = Activity(0, 0, 0.0)
        self._stat = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._statm = os.open(f"/proc/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(self._stat)
            raise
        self.refresh()

    def refresh(self) -> None:
        """Read what changes seldom: threads, and the CPU of children that ended."""
        try:
            stat = parse_stat(os.pread(self._stat, 1024, 0))
        except (OSError, ValueError):
            return
        self._children_cpu_s, self._threads = stat.children_cpu_s, stat.threads

    def usage(self) -> Usage | None:
        try:
            rss, private = parse_statm(os.pread(self._statm, 256, 0))
            cpu_s = time.clock_gettime(self._clock)
        except (OSError, ValueError):
            return None
        # A zombie has given its memory back but not its number.
        if not rss:
            return None
        self.total_cpu_s = cpu_s + self._children_cpu_s
        return Usage(cpu_s, rss, private, self._threads)

    def look_at_threads(self) -> None:
        """Bring ``activity`` up to date; about 25 us a thread."""
        try:
            names = os.listdir(f"/proc/{self.pid}/task")
        except OSError:
            return
        first = not self._tasks
        living: dict[str, Activity] = {}
        more = [0.0, 0.0, 0.0]
        for name in names:
            try:
                now = Activity(
                    *parse_switches(_content(f"/proc/{self.pid}/task/{name}/status")),
                    _run_delay_s(_content(f"/proc/{self.pid}/task/{name}/schedstat")),
                )
            except (OSError, ValueError):
                continue
            living[name] = now
            # what a thread did before it was first seen counts when the process was known
            before = self._tasks.get(name, now if first else Activity(0, 0, 0.0))
            for place, (new, old) in enumerate(zip(now, before, strict=True)):
                more[place] += max(new - old, 0)
        self._tasks = living
        had = self.activity
        self.activity = Activity(
            had.voluntary + int(more[0]), had.forced + int(more[1]), had.run_delay_s + more[2]
        )

    def footprint(self) -> Footprint | None:
        try:
            with open(f"/proc/{self.pid}/smaps_rollup", "rb", buffering=0) as file:
                footprint = parse_smaps_rollup(file.read())
        except (OSError, ValueError):
            return None
        return footprint if footprint.rss_bytes else None

    def fds(self) -> int | None:
        try:
            # Since Linux 6.2 the size of the directory is the number of descriptors.
            return os.stat(f"/proc/{self.pid}/fd").st_size or len(
                os.listdir(f"/proc/{self.pid}/fd")
            )
        except OSError:
            return None

    def close(self) -> None:
        os.close(self._stat)
        os.close(self._statm)


def _content(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 4096)
    finally:
        os.close(fd)


def _run_delay_s(schedstat: bytes) -> float:
    """The second of its numbers is ns; 0 where the kernel does not account for it."""
    numbers = schedstat.split()
    return int(numbers[1]) * 1e-9 if len(numbers) > 1 else 0.0


class RunDelay:
    """Run-queue delay of processes with one thread each, s in all; it never falls.

    What a process had before it was first asked for is not in it, unless it is ``new``.
    """

    def __init__(self) -> None:
        self.total_s = 0.0
        self._last: dict[int, float] = {}

    def add_up(self, pids: Iterable[int], *, new: bool) -> float:
        seen = {}
        for pid in pids:
            try:
                now = _run_delay_s(_content(f"/proc/{pid}/schedstat"))
            except (OSError, ValueError):
                continue
            self.total_s += max(now - self._last.get(pid, 0.0 if new else now), 0.0)
            seen[pid] = now
        self._last = seen
        return self.total_s


def run_mark(pid: int) -> bytes:
    """``NAME=id`` of the run, from the process's environment; b"" without one."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return b""
    return next((item for item in variables if item.startswith(_MARK)), b"")


def marked(mark: bytes) -> list[int]:
    """Pids of all processes that carry the mark, ascending."""
    pids = sorted(int(name) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid in pids if run_mark(pid) == mark]


class ProcessTree:
    """The living descendants of ``root``, itself included, and orphans left in its session."""

    def __init__(self, root: int) -> None:
        self.root = root
        self.members: dict[int, Process] = {}
        self.last_cpu_s = 0.0
        self._strangers: set[int] = set()
        self._leads_session = False
        try:
            self._leads_session = os.getsid(root) == root
        except OSError:
            return
        self.add(root)

    def add(self, pid: int) -> None:
        """Take in a process told by somebody who knows (a worker in the server's events)."""
        if pid not in self.members:
            try:
                self.members[pid] = Process(pid)
            except OSError:
                return
            self._strangers.discard(pid)

    def scan(self) -> None:
        """Find processes that were not there before, refresh the others."""
        for process in self.members.values():
            process.refresh()
        try:
            alive = {int(name) for name in os.listdir("/proc") if name.isdigit()}
        except OSError:
            return
        self._strangers &= alive  # a number may come back as one of ours
        kin: dict[int, Stat] = {}
        for pid in alive - self._strangers - self.members.keys():
            try:
                with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
                    kin[pid] = parse_stat(file.read())
            except (OSError, ValueError):
                continue
        # Ascending pids see parents before children except after the numbers wrapped; a second
        # pass settles that.
        for _ in range(2):
            for pid in sorted(kin):
                member_session = self._leads_session and kin[pid].session == self.root
                if member_session or kin[pid].parent in self.members:
                    self.add(pid)
        self._strangers |= kin.keys() - self.members.keys()

    def usages(self) -> dict[int, Usage]:
        """Return the usage of every member still alive; those that ended are forgotten."""
        usages = {}
        for pid, process in list(self.members.items()):
            usage = process.usage()
            if usage is None:
                process.close()
                del self.members[pid]
                continue
            usages[pid] = usage
        # A child that ended moved its CPU into its parent's account when it was waited for, also
        # one too short-lived to be seen. Between its end and that the sum dips; it may not.
        total = sum(process.total_cpu_s for process in self.members.values())
        self.last_cpu_s = max(self.last_cpu_s, total)
        return usages

    def cpu_s(self) -> float:
        """CPU of the whole tree so far, members that ended included; it never falls."""
        self.usages()
        return self.last_cpu_s

    def pss_bytes(self) -> float | None:
        """PSS of all members now; None when one that lives may not be looked into."""
        total = 0
        for pid in self.usages():
            footprint = self.members[pid].footprint()
            if footprint is None:
                if self.members[pid].usage() is not None:
                    return None
                continue
            total += footprint.pss_bytes
        return float(total) if total else None

    def close(self) -> None:
        for process in self.members.values():
            process.close()
        self.members.clear()

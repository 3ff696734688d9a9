"""What the kernel says about the machine and about a tree of processes."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Clock:
    """Ticks of one core so far: all of them, stolen by the host, and spent in idle."""

    total: int
    steal: int
    idle: int


def clock(core: int) -> Clock:
    with open("/proc/stat") as file:
        for line in file:
            name, *values = line.split()
            if name == f"cpu{core}":
                ticks = [int(value) for value in values[:8]]
                return Clock(sum(ticks), ticks[7], ticks[3] + ticks[4])
    raise LookupError(f"no core {core}")


def steal_share(before: Clock, after: Clock) -> float:
    """The part of the time in which the host ran somebody else, 0 to 1."""
    return (after.steal - before.steal) / max(1, after.total - before.total)


def cores() -> list[int]:
    return sorted(os.sched_getaffinity(0))


def session(leader: int) -> list[int]:
    """Processes of the session that ``leader`` started, without zombies."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields and int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(entry))
    return sorted(found)


def children(parent: int) -> list[int]:
    """Direct children, oldest first."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            fields = _stat(int(entry))
            if fields and int(fields[1]) == parent and fields[0] != "Z":
                found.append((int(fields[19]), int(entry)))
    return [pid for _, pid in sorted(found)]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat from the state on; empty if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_ticks(pids: list[int]) -> float:
    """CPU seconds of these processes so far; the kernel's ticks are 10 ms."""
    total = 0
    for pid in pids:
        fields = _stat(pid)
        if fields:
            total += int(fields[11]) + int(fields[12])
    return total / _TICK


def cpu_exact(pid: int) -> float:
    """CPU seconds of one process's living threads, to the nanosecond."""
    total = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            total += int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0])
    except OSError:
        pass
    return total / 1e9


def memory(pid: int) -> dict[str, int]:
    """Bytes of a process: rss, pss, uss (private)."""
    values = {"Rss": 0, "Pss": 0, "Private_Clean": 0, "Private_Dirty": 0}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in values:
                values[name] = int(rest.split()[0]) * 1024
    return {
        "rss": values["Rss"],
        "pss": values["Pss"],
        "uss": values["Private_Clean"] + values["Private_Dirty"],
    }


def description() -> dict[str, object]:
    """What the machine is, for whoever reads the result."""
    model = ""
    with open("/proc/cpuinfo") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "cores": len(cores()),
        "cpu": model,
        "kernel": platform.release(),
        "date": time.strftime("%Y-%m-%d %H:%M %z"),
        "load": os.getloadavg()[0],
    }

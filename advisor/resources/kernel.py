"""The kernel's counters of the whole machine: steal, throttling, pressure, everybody's CPU."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

_COUNTERS = 8  # of a line of /proc/stat, up to steal
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def parse_cores(text: str) -> list[tuple[float, float, float]]:
    """Parses /proc/stat: ``(busy, steal, total)`` s since boot of each core.

    Busy is what processes used: interrupts, network packets over loopback among them, belong to
    no process and would look like somebody else's work. Guest time is already inside user time.
    """
    rows = []
    for line in text.splitlines()[1:]:
        if not line.startswith("cpu"):
            break
        # Linux has added counters over the years; some that stand in for it have fewer.
        values = [*map(int, line.split()[1:9]), *[0] * _COUNTERS][:_COUNTERS]
        user, nice, system, idle, iowait, irq, softirq, steal = values
        busy = user + nice + system
        total = busy + steal + idle + iowait + irq + softirq
        rows.append((busy * _TICK_S, steal * _TICK_S, total * _TICK_S))
    return rows


def parse_pressure(text: str) -> float:
    """Seconds since boot in which some task waited for the resource."""
    for line in text.splitlines():
        if line.startswith("some"):
            return int(line.rsplit("total=", 1)[1]) * 1e-6
    return 0.0


class Throttled(NamedTuple):
    """The throttling by a cgroup's CPU quota: s summed over its CPUs, and periods."""

    seconds: float
    periods: int


def parse_cpu_stat(text: str) -> Throttled:
    """cpu.stat of cgroup v1 (``throttled_time`` ns) or v2 (``throttled_usec``)."""
    values = dict(line.split(None, 1) for line in text.splitlines() if " " in line)
    seconds = int(values.get("throttled_usec", 0)) * 1e-6
    seconds += int(values.get("throttled_time", 0)) * 1e-9
    return Throttled(seconds, int(values.get("nr_throttled", 0)))


class Pressure(NamedTuple):
    """Seconds in which some task waited for the resource (pressure stall information)."""

    cpu_s: float
    memory_s: float
    io_s: float


RESOURCES = ("cpu", "memory", "io")  # in the order of Pressure


def read_pressure(path: Callable[[str], Path]) -> Pressure:
    """``path`` gives the file of a resource; one that this kernel does not have reads as zero."""
    return Pressure(*(_pressure(path(name)) for name in RESOURCES))


def _pressure(path: Path) -> float:
    try:
        return parse_pressure(path.read_text())
    except (OSError, ValueError, IndexError):
        return 0.0


class Machine:
    """Reads the counters; a file that this kernel does not have reads as zero for ever."""

    def __init__(self, cpu_stat: Path | None, proc: Path = Path("/proc")) -> None:
        """``cpu_stat`` is the cpu.stat of the cgroup this process runs in, None when unlimited."""
        self._proc = proc
        self._cpu_stat = cpu_stat

    def cores(self) -> list[tuple[float, float, float]]:
        return parse_cores((self._proc / "stat").read_text())

    def pressure(self) -> Pressure:
        return read_pressure(lambda name: self._proc / "pressure" / name)

    def throttled_s(self) -> float:
        if self._cpu_stat is None:
            return 0.0
        try:
            return parse_cpu_stat(self._cpu_stat.read_text()).seconds
        except (OSError, ValueError):
            return 0.0

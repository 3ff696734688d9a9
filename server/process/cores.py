"""Counts the cores this process may really use: the number of workers if nobody says another.

The number of processors of the machine is not it: a container has an affinity and, in a control
group of its own or of one above, a quota of CPU time per period. The tightest of all wins, rounded
up: a worker cannot be had by half.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator


def count_usable(root: str = "/") -> int:
    """At least 1. ``root`` is where /proc and /sys are found."""
    cores = len(os.sched_getaffinity(0))
    quota = min(_quotas(root), default=math.inf)
    return max(1, min(cores, math.ceil(quota) if quota < cores else cores))


def _quotas(root: str) -> Iterator[float]:
    """Cores' worth of CPU time that each group above this process allows."""
    for line in _read(root, "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, group = rest.partition(":")
        if number == "0" and not controllers:
            yield from _upwards(root, "cgroup2", None, group, _quota_v2)
        elif "cpu" in controllers.split(","):
            yield from _upwards(root, "cgroup", "cpu", group, _quota_v1)


def _upwards(
    root: str,
    kind: str,
    controller: str | None,
    group: str,
    quota: Callable[[str], float | None],
) -> Iterator[float]:
    for point, top in _mounts(root, kind, controller):
        # The mount may show only a part of the tree, from ``top`` on; a group outside of it, or
        # of our namespace ("/../.."), cannot be looked at: then the mount's own root is.
        inner = os.path.relpath(group, top)
        steps = [] if inner == "." or inner.startswith("..") else inner.split("/")
        for depth in range(len(steps), -1, -1):
            cores = quota(os.path.join(root, point.lstrip("/"), *steps[:depth]))
            if cores is not None:
                yield cores


def _mounts(root: str, kind: str, controller: str | None) -> Iterator[tuple[str, str]]:
    """``(mount point, what of the tree is mounted)`` of a hierarchy, proc_pid_mountinfo(5)."""
    for line in _read(root, "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, rest = before.split(), after.split()
        if len(fields) < 5 or len(rest) < 3 or rest[0] != kind:
            continue
        if controller is None or controller in rest[2].split(","):
            yield fields[4], fields[3]


def _quota_v2(directory: str) -> float | None:
    quota, _, period = _read(directory, "cpu.max").partition(" ")
    return _ratio(quota, period)


def _quota_v1(directory: str) -> float | None:
    return _ratio(_read(directory, "cpu.cfs_quota_us"), _read(directory, "cpu.cfs_period_us"))


def _ratio(quota: str, period: str) -> float | None:
    """None for no limit: ``max`` in version 2, -1 in version 1."""
    if not (quota.isdigit() and period.isdigit()) or int(period) == 0:
        return None
    return int(quota) / int(period)


def _read(*path: str) -> str:
    try:
        with open(os.path.join(*path), encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""

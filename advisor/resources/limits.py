"""Limits of this machine or container: RAM, cores, descriptors, each with where it was read."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pretune.advisor.resources import cgroups

_ROOT = Path("/")


@dataclass(frozen=True)
class Limits:
    """``cores`` may be fractional. ``sources``: the names of the other fields -> words."""

    ram_bytes: int
    cores: float
    fds: int
    sources: Mapping[str, str]


def detect(root: Path = _ROOT, *, affinity: int | None = None, fds: int | None = None) -> Limits:
    """``root`` holds proc/ and the mounts; ``affinity`` (CPUs) and ``fds`` are asked of the
    kernel unless given."""
    ram_bytes, ram_source = _ram(root)
    cores, cores_source = _cores(
        root, len(os.sched_getaffinity(0)) if affinity is None else affinity
    )
    fds = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if fds is None else fds
    if fds == resource.RLIM_INFINITY:
        fds = int(cgroups.read(root / "proc/sys/fs/nr_open") or 1 << 20)
    sources = {"ram_bytes": ram_source, "cores": cores_source, "fds": "ulimit -n"}
    return Limits(ram_bytes, cores, fds, sources)


def _ram(root: Path) -> tuple[int, str]:
    total = cgroups.meminfo(root, "MemTotal")
    group = cgroups.find_group("memory", root)
    limit = cgroups.memory_limit(group) if group else None
    if group and limit and (not total or limit[0] < total):
        return limit[0], f"cgroup v{group.version} memory limit"
    return total, "this machine's memory"


def _cores(root: Path, affinity: int) -> tuple[float, str]:
    """The tightest of the machine's cores, affinity, cpuset and quota."""
    listed = cgroups.read(root / "proc/stat").splitlines()[1:]
    online = sum(1 for line in listed if line.startswith("cpu"))
    bounds: list[tuple[float, str]] = []
    if online:
        bounds.append((float(online), "this machine's cores"))
    bounds.append((float(affinity), "CPU affinity"))
    sets = cgroups.find_group("cpuset", root)
    allowed = cgroups.cpuset(sets) if sets else None
    if sets and allowed:
        bounds.append((float(allowed), f"cgroup v{sets.version} cpuset"))
    group = cgroups.find_group("cpu", root)
    quota = cgroups.cpu_quota(group) if group else None
    if group and quota:
        bounds.append((quota[0], f"cgroup v{group.version} CPU quota"))
    return min(bounds, key=lambda bound: bound[0])  # of equal ones the first, the plainest


def cpu_stat(root: Path = _ROOT) -> Path | None:
    """cpu.stat of the group whose quota holds this process; None without a quota."""
    group = cgroups.find_group("cpu", root)
    quota = cgroups.cpu_quota(group) if group else None
    return quota[1] / "cpu.stat" if quota else None

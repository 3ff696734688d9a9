"""The place of this process in the control groups, versions 1 and 2, and what holds it there.

Version 1 has one hierarchy per controller, version 2 one for all; both may be mounted at once. A
limit holds for a whole subtree, so the tightest on the path from our group up to the mount counts.
In a container the mount usually shows only the container's own subtree while /proc/self/cgroup
still names the path seen from the host; then the mount itself is our group.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Version 1 writes "no limit" as the largest multiple of the page size below 2**63.
_UNLIMITED = 1 << 60


@dataclass(frozen=True)
class Group:
    """``path`` from the controller's mount; ``version`` 1 or 2."""

    version: int
    mount: Path
    path: Path

    def upwards(self) -> list[Path]:
        """This group and those above it, up to the mount."""
        steps = [self.path]
        while steps[-1] != self.mount:
            steps.append(steps[-1].parent)
        return steps


def find_group(controller: str, root: Path = Path("/")) -> Group | None:
    """The group that ``controller`` (memory, cpu, cpuset) is limited by; None without one."""
    try:
        memberships = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:
        return None
    named: dict[str, str] = {}  # controller, or "" for version 2 -> path
    for line in memberships:
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            named[name] = path
    places = [_mount(line) for line in mounts]
    for version, kind, key in ((1, "cgroup", controller), (2, "cgroup2", "")):
        for place in places:
            if place is None or place.kind != kind or key not in named:
                continue
            if version == 1 and controller not in place.options:
                continue
            mount = root / place.point.lstrip("/")
            group = _below(mount, place.top, named[key])
            if version == 2 and not _has(group, controller):
                continue
            return Group(version, mount, group)
    return None


@dataclass(frozen=True)
class _Mount:
    kind: str
    top: str  # what of the hierarchy is mounted
    point: str
    options: frozenset[str]


def _mount(line: str) -> _Mount | None:
    """A line of mountinfo: optional fields end with a dash, then type, source, options."""
    before, dash, after = line.partition(" - ")
    fields, rest = before.split(), after.split()
    if not dash or len(fields) < 5 or len(rest) < 3 or not rest[0].startswith("cgroup"):
        return None
    return _Mount(rest[0], fields[3], fields[4], frozenset(rest[2].split(",")))


def _below(mount: Path, top: str, path: str) -> Path:
    inner = path.removeprefix(top) if top != "/" and path.startswith(top) else path
    # "/../.." is a group outside of our cgroup namespace.
    directory = mount / inner.strip("/") if ".." not in inner else mount
    return directory if directory.is_dir() else mount


def _has(group: Path, controller: str) -> bool:
    return controller in read(group / "cgroup.controllers").split()


def memory_limit(group: Group) -> tuple[int, Path] | None:
    """``(bytes, group that says so)``, the tightest on the way up; None when there is none."""
    name = "memory.limit_in_bytes" if group.version == 1 else "memory.max"
    limits = [
        (int(text), step)
        for step in group.upwards()
        if (text := read(step / name)) and text != "max" and int(text) < _UNLIMITED
    ]
    return min(limits, default=None, key=lambda pair: pair[0])


def cpu_quota(group: Group) -> tuple[float, Path] | None:
    """``(cores, group that says so)``, the tightest quota on the way up; None without one."""
    quotas = []
    for step in group.upwards():
        if group.version == 1:
            quota, period = read(step / "cpu.cfs_quota_us"), read(step / "cpu.cfs_period_us")
        else:
            quota, _, period = read(step / "cpu.max").partition(" ")
        if quota and period and quota not in ("max", "-1"):
            quotas.append((int(quota) / int(period), step))
    return min(quotas, default=None, key=lambda pair: pair[0])


def cpuset(group: Group) -> int | None:
    """Return how many CPUs the group may use; None when it does not say."""
    names = (
        ("cpuset.effective_cpus", "cpuset.cpus")
        if group.version == 1
        else ("cpuset.cpus.effective",)
    )
    for name in names:
        text = read(group.path / name)
        if text:
            return count_cpus(text)
    return None


def count_cpus(text: str) -> int:
    """Count the CPUs of a list as the kernel writes it: ``0-3,8``."""
    total = 0
    for part in text.split(","):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def read(path: Path) -> str:
    """The stripped content, "" when it cannot be read."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def stat(path: Path) -> dict[str, int]:
    """A file of ``name number`` lines; empty when it cannot be read."""
    pairs = (line.split() for line in read(path).splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}


def available_ram(root: Path = Path("/")) -> int:
    """Bytes that could be taken now without swapping or breaking a limit."""
    free = meminfo(root, "MemAvailable") or meminfo(root, "MemFree")
    group = find_group("memory", root)
    limit = memory_limit(group) if group else None
    if group and limit:
        name = "memory.usage_in_bytes" if group.version == 1 else "memory.current"
        used = int(read(limit[1] / name) or 0)
        counts = stat(limit[1] / "memory.stat")
        cache = counts.get("total_inactive_file", counts.get("inactive_file", 0))
        free = min(free, max(limit[0] - used + cache, 0))
    return free


def meminfo(root: Path, field: str) -> int:
    """Bytes; 0 when there is no such field."""
    for line in read(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        if name == field:
            return int(rest.split()[0]) * 1024
    return 0

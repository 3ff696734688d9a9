"""Counts kills for want of memory: the kernel tells them to the control group, not to parents.

The group is the one this process is in, in cgroup v2 or v1; its workers are in the same.
"""

from __future__ import annotations


class Counter:
    """``oom_kill`` of our control group; ``root`` and ``proc`` are for tests."""

    def __init__(self, root: str = "/sys/fs/cgroup", proc: str = "/proc/self/cgroup") -> None:
        self._files = _files(root, proc)
        self._last = self._read()

    def grew(self) -> bool:
        """Return whether it killed since the last time we asked."""
        before, self._last = self._last, self._read()
        return self._last > before

    def _read(self) -> int:
        for path in self._files:
            try:
                with open(path, "rb") as file:
                    for line in file:
                        if line.startswith(b"oom_kill "):
                            return int(line.split()[1])
            except (OSError, ValueError):
                continue
        return 0


def _files(root: str, proc: str) -> list[str]:
    """List the paths where the counter may be; in a container the path we are told may not be the
    one we see.
    """
    paths = []
    try:
        with open(proc, encoding="utf-8", errors="surrogateescape") as file:
            for line in file:
                _, controllers, path = line.rstrip("\n").split(":", 2)
                if not controllers:
                    paths += [f"{root}{path}/memory.events", f"{root}/memory.events"]
                elif "memory" in controllers.split(","):
                    paths.append(f"{root}/memory{path}/memory.oom_control")
                    paths.append(f"{root}/memory/memory.oom_control")
    except (OSError, ValueError):
        pass
    return paths

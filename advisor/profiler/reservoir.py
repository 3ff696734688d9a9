"""Samples of one trial while it runs, in memory that does not grow with its length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pretune.advisor.profiler.downsampling import Requests, Rows
from pretune.advisor.profiler.samples import CGROUP, MACHINE, MEMORY, PROCESS
from pretune.advisor.profiler.telemetry import RECORD

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Kept:
    """Rows of the types of ``samples``, but the machine's, whose ``cores`` stand in its rows.

    ``cores``: shape of what ``Machine.cores`` gives, (cores, 3).
    """

    def __init__(self, cores: tuple[int, ...]) -> None:
        with_cores = np.dtype([*MACHINE.descr, ("cores", "<f8", cores)])
        self.processes = Rows(PROCESS, 300_000, ("private_bytes", "rss_bytes", "fds"), "pid")
        self.memory = Rows(MEMORY, 60_000, ("pss_bytes", "uss_bytes"), "pid")
        self.machine = Rows(with_cores, 10_000, ("busy_s",))
        self.cgroup = Rows(CGROUP, 20_000, ("kernel_bytes", "usage_bytes"))
        self.requests = Requests(RECORD, 400_000)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By the names of the fields of ``Samples``."""
        machine = self.machine.array()
        return {
            "processes": self.processes.array(),
            "memory": self.memory.array(),
            "machine": machine[list(MACHINE.names or ())].astype(MACHINE),
            "cores": machine["cores"],
            "cgroup": self.cgroup.array(),
            "telemetry": self.requests.array(),
        }

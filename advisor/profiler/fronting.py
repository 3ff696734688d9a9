"""Profile of the reverse proxy: the CPU and memory of its processes, all together.

They are few and small (an nginx has two of 3 MB), so an exact reading of their memory once a second
costs next to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pretune.advisor.profiler.downsampling import Rows
from pretune.advisor.profiler.processes import ProcessTree
from pretune.advisor.profiler.samples import FRONT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class FrontWatch:
    """``weigh`` now and then, ``look`` at every tick; between two weighings PSS moves as private
    memory does."""

    def __init__(self, pid: int) -> None:
        self.tree = ProcessTree(pid)
        self._offset = 0.0
        self._rows = Rows(FRONT, 60_000, ("pss_bytes",))

    def weigh(self) -> None:
        exact = self.tree.pss_bytes()
        self._offset = 0.0 if exact is None else exact - self._private()

    def sample(self, now: float) -> None:
        private = self._private()
        self._rows.append((now, self.tree.last_cpu_s, private + self._offset))
        self._rows.end_tick()

    def _private(self) -> float:
        return float(sum(usage.private_bytes for usage in self.tree.usages().values()))

    def array(self) -> NDArray[np.void]:
        """Rows of FRONT."""
        return self._rows.array()

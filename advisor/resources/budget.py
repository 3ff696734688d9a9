"""The budget that the user has, and the SLO that must hold."""

from __future__ import annotations

from dataclasses import dataclass

# Kept free of the app: the larger of the two. The kernel, the shell that looks at the machine at
# 3 am and the deploy that copies files need room too.
RESERVE_FRACTION = 0.05
RESERVE_BYTES = 64 * 1024**2
P95_FACTOR = 3.0  # of the unloaded p95, where the user gave no p95
UNLOADED_SOURCE = f"{P95_FACTOR:g} x the unloaded p95"


def reserve(ram_bytes: int) -> int:
    return max(RESERVE_BYTES, int(ram_bytes * RESERVE_FRACTION))


@dataclass(frozen=True)
class Budget:
    """Limits for one instance. ``cores`` may be fractional: a CFS quota of quota/period."""

    ram_bytes: int
    cores: float
    pg_connections: int | None  # available to all instances together; None: no Postgres
    fds: int  # per process (ulimit -n)
    instances: int = 1
    any_number: bool = False  # nobody said how many instances: as many as a rate takes
    cpu_factor: float | None = None  # speed of its cores over this machine's; None: these cores
    reserve_bytes: int = 0  # RAM left to the system and to what else runs in it
    # where each number came from: {"ram_bytes": "--ram", "cores": "cgroup quota", ...}
    sources: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Slo:
    """``p95_s`` None until the demand trial gave the unloaded p95 (then 3 x that)."""

    p95_s: float | None
    error_rate: float = 0.001
    rps: float | None = None  # the objective: carry this with the smallest configuration

    def p95_of(self, unloaded_p95_s: float) -> float:
        """Seconds: ``P95_FACTOR`` times the unloaded p95 unless the user gave one."""
        return self.p95_s if self.p95_s is not None else P95_FACTOR * unloaded_p95_s

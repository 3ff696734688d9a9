"""Other events while a trial ran: on the machine, and to its control group."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from pretune.advisor.profiler.counters import Blocks, per_second
from pretune.advisor.profiler.measurement import MemoryEvents, PressureShares, Surroundings
from pretune.advisor.quantity import UNKNOWN, Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from pretune.advisor.profiler.samples import Samples

OURS = ("server_s", "generator_s", "postgres_s", "services_s", "tool_s")


class Disturbance(NamedTuple):
    """A share that, above its threshold, makes a trial one to repeat."""

    threshold: float
    sentence: str


# of: time on all cores; cores; time in the window
DISTURBANCES = {
    "steal": Disturbance(0.02, "the hypervisor stole {:.1%} of the CPU time"),
    "others": Disturbance(0.3, "other processes used {:.1f} cores"),
    "throttled": Disturbance(0.02, "the CPU quota held the processes back {:.1%} of the time"),
}


def observe_surroundings(samples: Samples, blocks: Blocks) -> Surroundings:
    machine, cgroup = samples.machine, samples.cgroup
    shares = dict.fromkeys(("steal", "others", "throttled"), UNKNOWN)
    if len(machine) >= 2 and blocks.window.length_s > 0:
        total = (machine["total_s"][-1] - machine["total_s"][0]) / np.ptp(machine["time"])
        others = machine["busy_s"] - sum(machine[name] for name in OURS)
        steal = per_second(machine, machine["steal_s"], blocks)
        shares = {
            "steal": steal.scaled(1 / total) if total > 0 else UNKNOWN,
            "others": per_second(machine, others, blocks),
            "throttled": _throttled(samples, blocks),
        }
    return Surroundings(
        steal=shares["steal"],
        others_cores=shares["others"],
        throttled=shares["throttled"],
        throttled_periods=_grown(cgroup, "throttled_periods"),
        pressure=_pressure(machine, blocks),
        cgroup_pressure=_pressure(cgroup, blocks) if _counts_pressure(cgroup) else None,
        memory_events=_events(cgroup) if len(cgroup) else None,
    )


def disturbed(surroundings: Surroundings) -> str:
    """Name what was beyond its threshold, in words; "" for a quiet trial."""
    shares = {
        "steal": surroundings.steal.value,
        "others": surroundings.others_cores.value,
        "throttled": surroundings.throttled.value,
    }
    sentences = [
        disturbance.sentence.format(shares[name])
        for name, disturbance in DISTURBANCES.items()
        if shares[name] > disturbance.threshold
    ]
    return "; ".join(sentences)


def _throttled(samples: Samples, blocks: Blocks) -> Interval:
    """By our own group's quota or the trial's, whichever held back more."""
    own = per_second(samples.machine, samples.machine["throttled_s"], blocks)
    if not len(samples.cgroup):
        return own
    of_trial = per_second(samples.cgroup, samples.cgroup["throttled_s"], blocks)
    return of_trial if of_trial.value > own.value or np.isnan(own.value) else own


def _pressure(rows: NDArray[np.void], blocks: Blocks) -> PressureShares:
    return PressureShares(
        *(per_second(rows, rows[f"{name}_pressure_s"], blocks) for name in ("cpu", "memory", "io"))
    )


def _counts_pressure(cgroup: NDArray[np.void]) -> bool:
    """Only version 2 keeps pressure for each group."""
    return bool(len(cgroup)) and any(
        cgroup[f"{name}_pressure_s"][-1] > 0 for name in ("cpu", "memory", "io")
    )


def _events(cgroup: NDArray[np.void]) -> MemoryEvents:
    return MemoryEvents(
        *(_grown(cgroup, name) for name in ("memory_high", "memory_max", "memory_oom", "oom_kills"))
    )


def _grown(rows: NDArray[np.void], field: str) -> int:
    """Over the whole trial: each one matters, also outside the window."""
    return int(rows[field][-1] - rows[field][0]) if len(rows) else 0

"""Asks workers, after the load, to give back what nobody holds (server/probes/reclaimable)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pretune.advisor.profiler.samples import SETTLED
from pretune.server.probes import reclaimable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# in the order of SETTLED
_SAID = (
    "before", "collected", "trimmed", "gc_enabled", "blocks_at_boot", "blocks", "blocks_collected",
)  # fmt: skip
PATIENCE_S = 3.0  # a full collection of a heap of gigabytes takes a second or two


def ask(pids: Iterable[int], telemetry: Path, patience_s: float = PATIENCE_S) -> NDArray[np.void]:
    """Rows of SETTLED, of the workers that answered. Only those are asked that know the signal:
    it ends a process that does not, and under some servers nobody can listen for it."""
    asked = []
    for pid in pids:
        if (telemetry / f"{pid}.ring").exists() and knows(pid, reclaimable.SIGNAL):
            with contextlib.suppress(OSError):
                os.kill(pid, reclaimable.SIGNAL)
                asked.append(pid)
    answers: dict[int, tuple[float, ...]] = {}
    deadline = time.monotonic() + patience_s
    while len(answers) < len(asked) and time.monotonic() < deadline:
        for pid in asked:
            if pid not in answers and (row := _read(telemetry, pid)) is not None:
                answers[pid] = row
        time.sleep(0.01)
    return np.array(sorted(answers.values()), SETTLED)


def knows(pid: int, number: int) -> bool:
    """Return whether a process has a handler for a signal (proc(5), SigCgt)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        caught = next(line for line in lines if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _read(telemetry: Path, pid: int) -> tuple[float, ...] | None:
    try:
        answer = json.loads(Path(reclaimable.path(str(telemetry), pid)).read_text())
    except (OSError, ValueError):
        return None
    return (pid, *(answer[name] for name in _SAID))

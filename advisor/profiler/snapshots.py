"""Have a worker take snapshots of what holds its memory (server/probes/allocation_sites)."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pretune.server.probes import allocation_sites

ENVIRON = {allocation_sites.VARIABLE: "1"}
# Parts of the load at which a snapshot is due: the first after warm-up.
MOMENTS = (0.34, 0.67, 1.0)
PATIENCE_S = 10.0  # a snapshot of a million allocations takes some seconds


@dataclass(frozen=True)
class Held:
    """``lines``: ``file:line`` -> bytes it held at each of ``times`` (CLOCK_MONOTONIC s)."""

    pid: int
    times: tuple[float, ...]
    lines: Mapping[str, Sequence[float]]
    via: Mapping[str, str]


class Snapshots:
    """Called with the part of the load that is over; ``held`` afterwards, None without an answer.

    Of one worker: they run the same code.
    """

    def __init__(self) -> None:
        self.held: Held | None = None
        self._taken = 0
        self._pid = 0

    def __call__(self, pids: Sequence[int], telemetry: Path, part: float) -> None:
        if self._taken >= len(MOMENTS) or part < MOMENTS[self._taken] or not pids:
            return
        self._pid = self._pid or pids[0]
        if self._pid not in pids or not (telemetry / f"{self._pid}.ring").exists():
            return
        self._taken += 1
        with contextlib.suppress(OSError):
            os.kill(self._pid, allocation_sites.SIGNAL)
        self._wait(telemetry)

    def _wait(self, telemetry: Path) -> None:
        file = Path(allocation_sites.path(str(telemetry), self._pid))
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError, ValueError):
                snapshot = json.loads(file.read_text())
                if len(snapshot["times"]) >= self._taken:
                    self.held = _held(self._pid, snapshot)
                    return
            time.sleep(0.02)


def _held(pid: int, snapshot: Mapping[str, object]) -> Held:
    lines: Mapping[str, Mapping[str, object]] = snapshot["lines"]  # type: ignore[assignment]
    return Held(
        pid,
        tuple(snapshot["times"]),  # type: ignore[arg-type]
        {name: row["bytes"] for name, row in lines.items()},  # type: ignore[misc]
        {name: str(row["via"]) for name, row in lines.items()},
    )

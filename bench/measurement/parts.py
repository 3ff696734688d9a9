"""The parts, in the order of the report: name -> module with ``run(*, quick: bool) -> Result``.

A part is imported only when it runs: a missing dependency of one harms no other.
"""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from bench.measurement.result import Result

PARTS = {
    "intervals": "bench.measurement.intervals",
    "coverage": "bench.measurement.coverage",
    "gil": "bench.measurement.gil",
    "leaks": "bench.measurement.leaks",
    "probes": "bench.measurement.probes",
    "sampling": "bench.measurement.sampling",
    "disturbance": "bench.measurement.disturbance",
}


class Part(Protocol):
    """``quick``: the same in a fifth of the time, with wider intervals; less than a minute."""

    def run(self, *, quick: bool) -> Result: ...


def load(name: str) -> Part:
    return cast(Part, importlib.import_module(PARTS[name]))

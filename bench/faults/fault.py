"""One fault: an application or a circumstance, and what a run of `tune` must make of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.faults.sandbox import Running, Sandbox

# What happens while the run goes on. Returns when it has happened; the run is then waited for.
Act = Callable[[Running], None]
# Before the run: files, services, limits. What it needs and cannot have it says by Unavailable.
Prepare = Callable[[Sandbox], None]


class Unavailable(Exception):
    """The fault cannot be brought about on this machine. The message says what is missing."""


def nothing(_: object) -> None: ...


@dataclass(frozen=True)
class Fault:
    """``says`` must be in what the run prints or reports; ``codes`` are the right exit codes.

    ``quick``: decided before any load, in a few seconds; the test suite runs these.
    """

    name: str
    says: str
    codes: tuple[int, ...]
    app: str
    target: str = "app.py:app"
    flags: tuple[str, ...] = ()
    prepare: Prepare = nothing
    act: Act = nothing
    quick: bool = False

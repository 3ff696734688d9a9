"""Which servers take part: installed in the app's environment, and able to carry its interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pretune.advisor.failure import Refused
from pretune.advisor.preflight.servers import NAMES, Servers, choose

ALL = "all"


@dataclass(frozen=True)
class Absent:
    """A server that does not take part; ``reason`` says what would have to be done, if anything."""

    name: str
    reason: str


def parse(text: str | None) -> tuple[str, ...] | None:
    """Names of ``gunicorn,uvicorn`` or ``all``; None: those that are there. Raises ValueError."""
    if text is None:
        return None
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    for name in names:
        if name not in (*NAMES, ALL):
            raise ValueError(f"{name!r} is not a server; there are {', '.join(NAMES)}, or {ALL}")
    if not names:
        raise ValueError(f"names no server; there are {', '.join(NAMES)}, or {ALL}")
    return NAMES if ALL in names else names


def find(
    asked: Sequence[str] | None, interface: str, python: Path
) -> tuple[tuple[Servers, ...], tuple[Absent, ...]]:
    """Find who takes part of those asked for, and who does not; without a wish, all installed."""
    here, absent = [], []
    for name in asked or NAMES:
        try:
            here.append(choose(name, interface, python))
        except Refused as refused:
            if asked is not None:
                absent.append(Absent(name, str(refused)))
    return tuple(here), tuple(absent)

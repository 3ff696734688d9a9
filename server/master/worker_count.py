"""Decides how many workers there should be, and which of them leave.

There is one rule for replacing, be it a reload or a recycling: at most one worker more than wanted,
the new one ready before the one it replaces leaves, and the next not before that one has gone. So
memory for one more worker is enough, always, which is what the advisor counts with.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

GONE_SOON = 10.0  # s for which a reload waits for one that leaves; it may take graceful_timeout


@dataclass(frozen=True)
class Post:
    """A worker, as far as it matters here."""

    ticket: int  # the order of births
    current: bool = True  # of the newest generation
    ready: bool = True
    leaving: float | None = None  # s since it was told to
    asks: float | None = None  # since when (monotonic s) it is due for recycling


@dataclass(frozen=True)
class Plan:
    """The number of workers to fork; the tickets of those too many, and of the one that has a
    successor.
    """

    spawn: int = 0
    surplus: tuple[int, ...] = ()
    replaced: int | None = None
    complete: bool = False  # as many as wanted, of the newest generation, all ready


def plan(posts: Sequence[Post], wanted: int, *, proven: bool = True) -> Plan:
    """Plan which workers to fork and to end. ``proven``: a worker of the newest generation has been
    ready before.
    """
    live = [p for p in posts if p.leaving is None]
    scouting = not proven and any(not p.current for p in live)
    due = _due(live, proven)
    # The scout has its place beside as many old ones as wanted.
    counted = [p for p in live if not p.current] if scouting and wanted else live
    allowed = wanted + 1 if wanted and due and not scouting else wanted
    surplus = _surplus(counted, allowed, proven)
    live = [p for p in live if p.ticket not in surplus]
    due = _due(live, proven)
    ready = sum(p.ready for p in live)
    replaced = due[0].ticket if due and ready > wanted else None
    if scouting:
        # New code has to show that it boots before more of it is forked, or old ones leave.
        spawn = 0 if any(p.current for p in live) or _crowded(posts, reload=True) else 1
    else:
        reload = any(not p.current for p in live)
        beside = bool(due) and replaced is None and not _crowded(posts, reload=reload)
        spawn = max(0, wanted + beside - len(live))
    mine = [p for p in live if p.current]
    complete = proven and len(mine) == len(live) and sum(p.ready for p in mine) >= wanted > 0
    return Plan(spawn if wanted else 0, surplus, replaced, complete)


def _due(live: Sequence[Post], proven: bool) -> list[Post]:
    """Those to be replaced, the next one first: old code before old age."""
    due = [p for p in live if p.ready and ((proven and not p.current) or p.asks is not None)]
    return sorted(due, key=lambda p: (p.current, math.inf if p.asks is None else p.asks, p.ticket))


def _surplus(live: Sequence[Post], allowed: int, proven: bool) -> tuple[int, ...]:
    """Too many: first those that serve nobody yet, the youngest of them; then the oldest."""
    # What old code still boots is not wanted any more, once the new code has shown itself.
    unborn = [p for p in live if proven and not p.current and not p.ready]
    rest = [p for p in live if p not in unborn]
    excess = max(0, len(rest) - allowed)
    rest.sort(key=lambda p: (1, p.current, p.ticket) if p.ready else (0, False, -p.ticket))
    return tuple(p.ticket for p in unborn + rest[:excess])


def _crowded(posts: Sequence[Post], *, reload: bool) -> bool:
    """Return whether one that leaves still takes the room of the next."""
    longest = GONE_SOON if reload else math.inf
    return any(p.leaving is not None and p.leaving < longest for p in posts)

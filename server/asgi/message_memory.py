"""The memory that WebSocket clients make one worker hold: messages unfinished, or not yet taken.

A kilobyte may inflate to a megabyte, so what counts is what is held, not what was sent. Beyond the
bound whoever holds most must give it up: one client that holds much costs no other its connection.
"""

from __future__ import annotations

from typing import Protocol


class Holder(Protocol):
    """A WebSocket connection."""

    def shed(self) -> None:
        """Give up all it holds; it is taken out of the sum."""


class MessageMemory:
    """Bytes held by each connection that holds more than a little."""

    def __init__(self, most: int) -> None:
        """``most`` bytes in all; 0: any number."""
        self.held = 0
        self._most = most
        self._sizes: dict[Holder, int] = {}

    def hold(self, holder: Holder, size: int) -> None:
        """``holder`` holds ``size`` bytes now."""
        self.held += size - self._sizes.pop(holder, 0)
        if size:
            self._sizes[holder] = size
        while self._most and self.held > self._most:
            largest = max(self._sizes, key=self._sizes.__getitem__)
            largest.shed()
            self.held -= self._sizes.pop(largest, 0)

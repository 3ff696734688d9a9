"""The scoreboard shared by master and workers."""

from __future__ import annotations

import math

from pretune.server.process.scoreboard import NOT_SERVING, Scoreboard


def test_rows_are_used_again():
    scoreboard = Scoreboard(threads=2)
    first, second = scoreboard.allot(), scoreboard.allot()
    assert first != second
    scoreboard.cells(first)[1] = 5.0
    scoreboard.release(first)
    assert scoreboard.allot() == first
    assert list(scoreboard.cells(first)) == [0.0, 0.0]


def test_the_fewest_connections_among_those_that_serve():
    scoreboard = Scoreboard(threads=2)
    slots = [scoreboard.allot() for _ in range(3)]
    assert scoreboard.fewest_connections() == math.inf
    for slot, count in zip(slots, (4, 2, 1), strict=True):
        scoreboard.set_connections(slot, count)
    assert scoreboard.fewest_connections() == 1
    scoreboard.set_connections(slots[2], NOT_SERVING)
    assert scoreboard.fewest_connections() == 2
    for n in range(2):
        scoreboard.cells(slots[1])[n] = 10.0  # busy
    assert scoreboard.fewest_connections(idle=True) == 4

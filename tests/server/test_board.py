"""The board shared by master and workers."""

from __future__ import annotations

import math

from pretune.server.process.scoreboard import NOT_SERVING, Scoreboard


def test_rows_are_used_again():
    board = Scoreboard(threads=2)
    first, second = board.allot(), board.allot()
    assert first != second
    board.cells(first)[1] = 5.0
    board.release(first)
    assert board.allot() == first
    assert list(board.cells(first)) == [0.0, 0.0]


def test_the_fewest_connections_among_those_that_serve():
    board = Scoreboard(threads=2)
    rows = [board.allot() for _ in range(3)]
    assert board.fewest_connections() == math.inf
    for row, count in zip(rows, (4, 2, 1), strict=True):
        board.set_connections(row, count)
    assert board.fewest_connections() == 1
    board.set_connections(rows[2], NOT_SERVING)
    assert board.fewest_connections() == 2
    for n in range(2):
        board.cells(rows[1])[n] = 10.0  # busy
    assert board.fewest_connections(idle=True) == 4

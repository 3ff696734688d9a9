"""Deadlines of clients that must keep up a rate, and failures to accept."""

import errno
import os

import pytest

from pretune.server.workers import limits
from pretune.server.workers.shortage import CALM, Shortage


@pytest.mark.parametrize(
    ("extend", "patience", "rate"),
    [
        (limits.extend_body, limits.BODY_PATIENCE, limits.BODY_RATE),
        (limits.extend_sending, limits.SEND_PATIENCE, limits.SEND_RATE),
    ],
)
def test_a_client_lives_as_long_as_it_keeps_up_the_rate(extend, patience, rate):
    def ends(size: int, pause: float) -> float:
        """When a client that moves ``size`` bytes every ``pause`` s is given up."""
        now, deadline = 0.0, patience
        while now < deadline and now < 100 * patience:
            now += pause
            deadline = extend(deadline, size, now) if now < deadline else deadline
        return now

    assert ends(2 * rate, 1.0) >= 100 * patience
    assert ends(rate // 2, 1.0) == pytest.approx(2 * patience, abs=2)
    assert ends(1, 1.0) == pytest.approx(patience, abs=2)
    assert ends(1 << 30, patience + 1) == pytest.approx(patience, abs=2)  # no credit for ever


class Log:
    def __init__(self):
        self.errors = []

    def error(self, text):
        self.errors.append(text)


def failure(number: int) -> OSError:
    return OSError(number, os.strerror(number))


def test_a_shortage_is_said_once_with_the_remedy():
    log = Log()
    shortage = Shortage(log)
    assert all(shortage.note(failure(errno.EMFILE), 7, n * 0.1) for n in range(10 * int(CALM)))
    assert len(log.errors) == 1
    assert "cannot accept: Too many open files (7 connections); this process " in log.errors[0]
    assert "ulimit -n" in log.errors[0]
    assert shortage.note(failure(errno.EMFILE), 7, 3 * CALM)
    assert len(log.errors) == 2


def test_a_client_that_has_gone_is_no_shortage():
    log = Log()
    assert not Shortage(log).note(failure(errno.ECONNABORTED), 0, 0.0)
    assert not Shortage(log).note(BlockingIOError(errno.EAGAIN, ""), 0, 0.0)
    assert log.errors == []

"""Streams whose readers are slower than the app: kept, sent on, or given up."""

from __future__ import annotations

import select
import socket
import time

import pytest

from pretune.server.process.log import Log
from pretune.server.workers import limits
from pretune.server.wsgi.buffers import Rest, Room
from pretune.server.wsgi.pump import Backlog, Gone, Pump


class Stream:
    """A backlog, its client, and how often its thread had to wait."""

    def __init__(self, memory: int = 1 << 30, files: int = 1 << 30, on_wait=None) -> None:
        self.room = Room(memory, files, None, Log())
        self.room.complain = lambda text: None  # type: ignore[method-assign]
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.theirs.setblocking(False)
        self.pump = Pump()
        self.waits = 0
        self.on_wait = on_wait
        self.rest = Rest(self.room, self.ours)
        self.backlog = Backlog(self.pump, self.ours, self.rest, self.wait)

    def wait(self, seconds: float) -> None:
        self.waits += 1
        assert self.waits < 1000
        if self.on_wait is not None:
            self.on_wait(self)
        poll = select.poll()
        poll.register(self.ours, select.POLLOUT)
        poll.poll(max(0.0, seconds) * 1000 + 1)

    def read(self) -> bytes:
        data = b""
        try:
            while part := self.theirs.recv(1 << 20):
                data += part
        except BlockingIOError:
            return data
        return data

    def send(self, size: int, times: int) -> None:
        for _ in range(times):
            self.backlog.add(bytes(size))

    def close(self) -> None:
        self.rest.close()
        self.ours.close()
        self.theirs.close()
        self.pump.epoll.close()


@pytest.fixture
def stream():
    streams: list[Stream] = []

    def make(*arguments, **options) -> Stream:
        streams.append(Stream(*arguments, **options))
        return streams[-1]

    yield make
    for each in streams:
        each.close()


def test_what_the_socket_does_not_take_is_kept_and_sent_on(stream):
    one = stream()
    said = b"".join(b"%07d\n" % n for n in range(500_000))  # 4 MB
    for at in range(0, len(said), 50_000):
        one.backlog.add(said[at : at + 50_000])
    assert one.waits == 0
    got = b""
    while len(got) < len(said):
        one.pump.run()
        got += one.read()
    assert got == said
    assert not one.backlog.close()


def test_without_room_the_thread_waits_and_nothing_is_lost(stream):
    got = bytearray()
    one = stream(memory=0, files=0, on_wait=lambda s: got.extend(s.read()))
    said = bytes(range(256)) * 20_000  # 5 MB
    for at in range(0, len(said), 300_000):
        one.backlog.add(said[at : at + 300_000])
    assert one.waits > 0
    assert bytes(got + one.read()) == said


@pytest.mark.parametrize("room", [0, 100_000])
def test_a_reader_that_takes_nothing_is_given_up_also_without_room(stream, monkeypatch, room):
    """A thread that waits must not wait for ever."""
    monkeypatch.setattr(limits, "SEND_PATIENCE", 0.2)
    one = stream(memory=room, files=0)
    with pytest.raises(Gone):
        one.send(65536, times=1000)
    with pytest.raises(Gone):
        one.backlog.close()
    assert one.room.memory.taken == 0


def test_a_reader_that_takes_nothing_is_given_up_also_while_the_app_is_silent(stream):
    one = stream()
    one.backlog.add(bytes(1 << 20))
    now = time.monotonic()
    one.pump.sweep(now)
    one.backlog.add(b"it is still there")
    one.pump.sweep(now + limits.SEND_PATIENCE + 3600)
    with pytest.raises(Gone):
        one.backlog.add(b"it is not")
    assert one.room.memory.taken == 0


def test_a_reader_that_was_up_to_date_starts_anew(stream, monkeypatch):
    monkeypatch.setattr(limits, "SEND_PATIENCE", 0.2)
    one = stream(memory=0, files=1 << 20)
    for _ in range(3):
        one.backlog.add(bytes(500_000))
        while one.read():
            one.pump.run()
        time.sleep(0.3)  # the app has nothing to say
    one.backlog.add(bytes(500_000))
    one.pump.sweep(time.monotonic())
    assert not one.backlog.close() or one.read()


@pytest.mark.parametrize("late", ["flush", "sweep"])
def test_a_pump_that_comes_late_leaves_the_rest_to_whom_it_was_handed(stream, late):
    """It had found the backlog when the app's thread closed it: nothing is sent twice."""
    one = stream()
    while not one.rest:
        one.send(100_000, 1)
    one.backlog.close()
    one.read()
    if late == "flush":
        one.backlog.flush()
    else:
        one.backlog.sweep(time.monotonic() + 2 * limits.SEND_PATIENCE + 3600)
    assert one.read() == b""
    assert one.rest
    one.ours.send(b"x")  # it was not shut down, either

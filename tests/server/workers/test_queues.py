"""Queues of listening sockets: sealed, emptied, left."""

from __future__ import annotations

import socket

import pytest

from pretune.server.process.listening import Listener
from pretune.server.workers.queues import Queues


@pytest.fixture
def listener():
    with Listener(socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.bind_ = "127.0.0.1:0"
        sock.bind(("127.0.0.1", 0))
        sock.listen(10)
        sock.setblocking(False)
        yield sock


def test_who_waits_is_seen_and_a_shut_queue_is_gone(listener):
    unwatched: list[int] = []
    queues = Queues([listener], unwatched.append)
    fd = listener.fileno()
    assert queues.waiting() == {fd: False}
    with socket.create_connection(listener.getsockname()):
        assert queues.waiting() == {fd: True}
        queues.shut(fd)
        queues.shut(fd)
    assert (queues.waiting(), unwatched) == ({}, [fd])


def test_ours_are_sealed_once_and_stay_open_until_they_are_empty(listener):
    queues = Queues([listener])
    queues.seal()
    queues.seal()
    fd = listener.fileno()
    assert (queues.sealed, list(queues.open)) == ({fd}, [fd])
    queues.note_empty(fd)  # a handshake may still be on its way
    assert list(queues.open) == [fd]


def test_what_was_lent_to_us_is_left_as_it_is(listener):
    listener.bind_ = "fd://3"
    lender = listener.dup()
    with lender, socket.create_connection(listener.getsockname()) as waiting:
        queues = Queues([listener])
        queues.seal()
        assert (queues.sealed, queues.open) == (set(), {})
        accepted, _ = lender.accept()  # by whoever comes next
        accepted.close()
        with socket.create_connection(waiting.getpeername(), timeout=20):
            pass


def test_an_empty_unix_queue_that_is_sealed_is_shut(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
        listener.listen(10)
        listener.setblocking(False)
        queues = Queues([listener])
        queues.note_empty(listener.fileno())
        assert queues.open
        queues.seal()
        queues.note_empty(listener.fileno())
        assert not queues.open

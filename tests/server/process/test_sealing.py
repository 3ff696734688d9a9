"""Queues of listening sockets that are emptied before the socket is closed."""

from __future__ import annotations

import socket
import threading

import pytest

from pretune.server.process import listening


@pytest.fixture(params=["127.0.0.1", "::1", "unix"])
def listener(request, tmp_path):
    family = {"127.0.0.1": socket.AF_INET, "::1": socket.AF_INET6}.get(request.param)
    try:
        if family is None:
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(str(tmp_path / "sock"))
            sock.listen(100)
        else:
            sock = socket.create_server((request.param, 0), family=family, backlog=100)
    except OSError:
        pytest.skip("the machine has no such addresses")
    with sock:
        sock.setblocking(False)
        yield sock


def connect(listener: socket.socket) -> socket.socket:
    sock = socket.socket(listener.family)
    sock.settimeout(20)
    try:
        sock.connect(listener.getsockname())
    except OSError:
        sock.close()
        raise
    return sock


def test_whoever_is_in_a_sealed_queue_is_answered_and_nobody_else_comes(listener):
    clients = [connect(listener) for _ in range(5)]
    assert listening.seal(listener)
    assert listening.seal(listener)  # each worker does so
    refused = threading.Event()

    def late():
        with pytest.raises(ConnectionRefusedError):
            connect(listener)
        refused.set()

    thread = threading.Thread(target=late)
    thread.start()
    thread.join(0.3)
    for client in clients:
        accepted, _ = listener.accept()
        with client, accepted:
            client.sendall(b"asked")
            accepted.settimeout(20)
            assert accepted.recv(10) == b"asked"
            accepted.sendall(b"answered")
            assert client.recv(10) == b"answered"
    with pytest.raises(BlockingIOError):  # some kernels say EINVAL of a unix socket
        listener.accept()
    listener.close()
    thread.join(20)
    assert refused.is_set()


def test_a_socket_that_was_passed_to_us_is_somebody_elses():
    with listening.Listener() as sock:
        sock.bind_ = "fd://3"
        assert listening.is_lent(sock)
        sock.bind_ = "127.0.0.1:80"
        assert not listening.is_lent(sock)

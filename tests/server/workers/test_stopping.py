"""TERM while clients go on opening connections: it ends, and whoever was let in is answered."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
from collections import Counter
from pathlib import Path

import pytest

GET = b"GET /hello HTTP/1.1\r\nHost: x\r\n%b\r\n"
APPS = Path(__file__).parents[1] / "apps"
CLASSES = ["sync", "gthread", "gevent", "asgi"]


class Crowd:
    """Clients that open a connection for each request, as fast as they are answered."""

    def __init__(self, connect, clients: int) -> None:
        self.connect = connect
        self.counts: Counter[str] = Counter()
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self) -> None:
        while not self.over.is_set():
            try:
                sock = self.connect()
            except (ConnectionRefusedError, FileNotFoundError):
                self.counts["refused"] += 1
                self.over.wait(0.01)
                continue
            with sock:
                try:
                    sock.sendall(GET % b"Connection: close\r\n")
                    self.counts["answered" if sock.recv(1000) else "closed"] += 1
                except OSError as error:
                    self.counts[type(error).__name__] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def app(kind: str) -> str:
    return "asynchronous" if kind == "asgi" else "held"


@pytest.mark.parametrize("kind", CLASSES)
def test_it_ends_although_clients_keep_coming_and_loses_nobody(serve, kind):
    if kind == "gevent":
        pytest.importorskip("gevent")
    served = serve(app(kind), workers=2, worker_class=kind, graceful_timeout=60)
    with Crowd(served.connect, 8) as crowd:
        served.wait_for(lambda: crowd.counts["answered"] > 100)
        served.signal(signal.SIGTERM)
        served.wait_for(lambda: served.events("stopped"))
        served.wait_for(lambda: crowd.counts["refused"])
    assert set(crowd.counts) == {"answered", "refused"}, crowd.counts


@pytest.mark.parametrize("kind", CLASSES)
def test_the_same_at_a_unix_socket(tune, tmp_path, kind):
    if kind == "gevent":
        pytest.importorskip("gevent")
    (tmp_path / f"{app(kind)}.py").write_text((APPS / f"{app(kind)}.py").read_text())
    path = str(tmp_path / "sock")
    flags = ("-b", f"unix:{path}", "-w", "2", "-k", kind, "--graceful-timeout", "60")
    served = tune(app(kind), *flags).ready()

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return sock

    with Crowd(connect, 8) as crowd:
        served.wait_for(lambda: crowd.counts["answered"] > 100)
        served.process.send_signal(signal.SIGTERM)
        served.wait_for(lambda: served.process.poll() is not None, 30)
        served.wait_for(lambda: crowd.counts["refused"])
    assert set(crowd.counts) == {"answered", "refused"}, crowd.counts


@pytest.mark.parametrize("kind", ["gthread", "gevent"])
def test_idle_connections_do_not_delay_it(serve, kind):
    if kind == "gevent":
        pytest.importorskip("gevent")
    served = serve("held", worker_class=kind, keepalive=120, graceful_timeout=60)
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(served.connect())
        kept = stack.enter_context(served.connect())
        kept.sendall(GET % b"")
        assert kept.recv(1000).endswith(b"hello")
        served.signal(signal.SIGTERM)
        assert kept.recv(1000) == b""
        assert silent.recv(1000) == b""
        served.wait_for(lambda: served.events("stopped"))


@pytest.mark.parametrize("kind", CLASSES)
def test_term_to_one_worker_replaces_it_and_the_server_goes_on(serve, kind):
    """It must not seal the queue that its siblings share."""
    if kind == "gevent":
        pytest.importorskip("gevent")
    served = serve(app(kind), workers=2, worker_class=kind)
    first = served.running.worker_pids()[0]
    os.kill(first, signal.SIGTERM)
    served.wait_for(lambda: served.events("worker_exit"))
    served.wait_for(lambda: len(set(served.running.worker_pids()) - {first}) == 2)
    for _ in range(20):
        assert served.text("/hello") == "hello"


@pytest.mark.parametrize("kind", CLASSES)
def test_term_to_every_worker_leaves_none_without_a_successor(serve, kind):
    """Though they have uploads to finish, somebody takes from the queue all the time."""
    if kind == "gevent":
        pytest.importorskip("gevent")
    served = serve(app(kind), workers=2, worker_class=kind, graceful_timeout=60)
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            upload = stack.enter_context(served.connect())
            upload.sendall(b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
        workers = served.running.worker_pids()
        for pid in workers:
            os.kill(pid, signal.SIGTERM)
        for _ in range(20):
            assert served.text("/hello") == "hello"
        served.wait_for(lambda: len(set(served.running.worker_pids()) - set(workers)) >= 1)
        for _ in range(20):
            assert served.text("/hello") == "hello"

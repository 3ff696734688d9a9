"""No request is lost when ASGI workers are recycled, reloaded, scaled or stopped."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading

import pytest

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"


class Traffic:
    """Clients with connections kept as long as the server lets them; counts what goes wrong.

    A connection that ends between two answers is used no more; one that ends within an answer, or
    after a request on a connection the server had promised to keep, is a failure.
    """

    def __init__(self, served, clients: int, pipeline: int = 1) -> None:
        self.served = served
        self.pipeline = pipeline
        self.answered = 0
        self.failures: list[str] = []
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self.run) for _ in range(clients)]

    def run(self) -> None:
        while not self.over.is_set():
            try:
                with self.served.connect() as sock:
                    self.use(sock)
            except OSError as error:
                if not self.over.is_set():
                    self.failures.append(repr(error))

    def use(self, sock: socket.socket) -> None:
        file = sock.makefile("rb")
        while not self.over.is_set():
            sock.sendall(GET % b"/pid" * self.pipeline)
            for n in range(self.pipeline):
                close, size, line = False, 0, file.readline()
                if not line:
                    # Pipelined after an answer that said `close`: RFC 9112 section 9.6.
                    if n == 0:
                        self.failures.append("no answer")
                    return
                while line != b"\r\n":
                    close = close or line == b"Connection: close\r\n"
                    size = int(line[15:]) if line.startswith(b"Content-Length:") else size
                    line = file.readline()
                if len(file.read(size)) < size:
                    self.failures.append("half an answer")
                    return
                self.answered += 1
                if close:
                    return

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        self.served.wait_for(lambda: self.answered > 20)
        return self

    def __exit__(self, *_) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()
        assert self.failures == []


@pytest.fixture
def app(serve):
    def start(**options):
        return serve("exchanges", worker_class="asgi", **options)

    return start


@pytest.mark.parametrize("pipeline", [1, 5])
def test_recycling_reloading_and_scaling_lose_nothing(app, pipeline):
    served = app(workers=2, max_requests=150, max_requests_jitter=50)
    with Traffic(served, clients=4, pipeline=pipeline) as traffic:
        exits = lambda: len(served.events("worker_exit"))  # noqa: E731
        served.wait_for(lambda: exits() >= 2, 60)
        for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGHUP):
            before, answered = exits(), traffic.answered
            served.signal(number)
            wanted = {signal.SIGHUP: 2, signal.SIGTTIN: 0, signal.SIGTTOU: 1}[number]
            served.wait_for(lambda b=before, w=wanted: exits() >= b + w, 60)
            served.wait_for(lambda a=answered: traffic.answered > a + 50, 60)
    assert {event["reason"] for event in served.events("worker_exit")} <= {"stop", "max_requests"}


def test_term_answers_what_is_queued_and_what_was_begun(app):
    served = app(workers=1, worker_connections=2)
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(6):
            socks.append(stack.enter_context(served.connect()))
            socks[-1].sendall(GET % b"/sleep/0.3" * 2)
        served.signal(signal.SIGTERM)
        for sock in socks:
            data = b""
            while part := sock.recv(1000):
                data += part
            # The second was pipelined behind an answer that says `close`, or came before the order.
            assert data.count(b"slept") in (1, 2)
            assert data.rpartition(b"HTTP/1.1 200 OK")[2].count(b"Connection: close") == 1
    served.wait_for(lambda: "stopped" in served.log())


def test_a_request_that_does_not_finish_is_cancelled_and_the_lifespan_still_ends(serve):
    served = serve("asynchronous", worker_class="asgi", graceful_timeout=4.0)
    with served.connect() as sock:
        sock.sendall(GET % b"/sleep/60")
        served.wait_for(lambda: served.text("/hello") == "hello")
        served.signal(signal.SIGTERM)
        data = b""
        while part := sock.recv(1000):
            data += part
    assert data.startswith(b"HTTP/1.1 500 ")
    served.wait_for(lambda: "stopped" in served.log())
    assert "not finished within the graceful timeout" in served.log()
    assert "the lifespan ended" in served.log()


def test_background_work_is_waited_for(app):
    served = app()
    assert served.text("/background/1") == "done"
    served.signal(signal.SIGTERM)
    served.wait_for(lambda: "stopped" in served.log())
    assert "background over" in served.log()


def test_new_connections_go_where_there_are_fewer(app):
    served = app(workers=2)
    with contextlib.ExitStack() as stack:
        counts: dict[bytes, int] = {}
        while len(counts) < 2 or min(counts.values()) < 15:
            sock = stack.enter_context(served.connect())
            sock.sendall(GET % b"/pid")
            data = b""
            while b"\r\n\r\n" not in data or not data.rpartition(b"\r\n\r\n")[2]:
                data += sock.recv(1000)
            pid = data.rpartition(b"\r\n\r\n")[2]
            counts[pid] = counts.get(pid, 0) + 1
            assert sum(counts.values()) < 300

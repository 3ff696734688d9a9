"""A decision about a waiting connection that is carried out later: what its client has said by then
counts, and a worker that was busy all the time does not blame its clients.
"""

from __future__ import annotations

import asyncio
import socket
import time

import pytest
from hosted import connect, new_worker
from support.worker_script import run

from pretune.server.asgi.protocol import HttpProtocol
from pretune.server.workers import draining

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n"
LIMITS = {"LIMIT_SWEEP": "0.1", "LIMIT_HEAD_PATIENCE": "1", "LIMIT_BODY_PATIENCE": "1"}
LIMITS |= {"LIMIT_BODY_RATE": "100000"}


# What has come before the worker is busy -> the rest.
REQUESTS = {
    "idle": (b"", GET % b"/spin/0"),
    "head": (b"GET /sp", b"in/0 HTTP/1.1\r\nHost: x\r\n\r\n"),
    "body": (b"POST /spin/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n", b"body"),
}


@pytest.mark.parametrize("request_", REQUESTS)
@pytest.mark.parametrize("kind", ["gthread", "gevent", "asgi"])
def test_what_came_in_time_is_answered_however_late_the_worker_is(serve, kind, request_):
    """It comes while the only thread, or the loop, is busy for longer than the client has."""
    if kind == "gevent":
        pytest.importorskip("gevent")
    app = "spinning:asynchronous" if kind == "asgi" else "spinning"
    served = serve(app, worker_class=kind, threads=1, keepalive=1, timeout=60, env=LIMITS)
    begun, rest = REQUESTS[request_]
    with served.connect() as kept, served.connect() as other:
        kept.sendall(GET % b"/spin/0")
        assert kept.recv(1000).endswith(b"spun")
        kept.sendall(begun)
        time.sleep(0.2)  # so that what has begun is read
        other.sendall(GET % b"/spin/3")
        time.sleep(0.3)
        kept.sendall(rest)
        assert kept.recv(1000).endswith(b"spun")
        assert other.recv(1000).endswith(b"spun")


GREENLETS = """
import gevent, gevent.monkey; gevent.monkey.patch_all()
from pretune.server.clock import Clock
from pretune.server.wsgi.greenlets import GreenletWorker
made, master = context("gevent", app)
worker = GreenletWorker(made)
GET = b"GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n"

def kept():
    client = socket.create_connection(made.listeners[0].getsockname())
    client.sendall(GET)
    client.settimeout(20)
    assert client.recv(1000).endswith(b"answered")
    gevent.sleep(0.05)  # parked again
    assert len(worker.parked) == 1
    return client

def by_the_end_of_all():
    client = kept()
    worker._close_idle(Clock.monotonic())
    return client

def by_the_sweep():
    client = kept()
    (conn,) = worker.parked
    conn.deadline = 0.0
    assert conn.given_up(Clock.monotonic())
    worker._dismiss(conn, greenlets._LATE)
    return client

def by_a_newcomer():
    client = kept()
    (conn,) = worker.parked
    conn.ended = conn.welcomed = 0.0
    # before the greenlet that is to make room is told
    gevent.get_hub().loop.run_callback(os.write, client.fileno(), GET)
    assert not worker._evict()
    return None

def look():
    for decided in (by_the_end_of_all, by_the_sweep):
        with decided() as client:
            client.sendall(GET)
            assert client.recv(1000).endswith(b"answered")
        with decided() as client:
            assert client.recv(1000) == b""
    by_a_newcomer()
    assert len(worker.connections) == 1
    os._exit(0)

from pretune.server.wsgi import greenlets
worker.run(lambda: gevent.spawn(look))
"""


def test_a_greenlet_that_is_told_to_end_looks_whether_its_client_has_spoken():
    pytest.importorskip("gevent")
    run(GREENLETS)


# A connection comes back from a sibling that looks idle, and takes nothing any more.
HANDED = """
from pretune.server.wsgi.threaded import ThreadedWorker
from pretune.server.workers import inheritance
from dataclasses import replace

held, release = threading.Event(), threading.Event()

def app(environ, start_response):
    if environ["PATH_INFO"] == "/held":
        held.set()
        release.wait(20)
    start_response("200 OK", [("Content-Length", "8")])
    return [b"answered"]

made, master = context("gthread", app)
board = made.scoreboard
sibling = board.allot()
made = replace(made, exchange=inheritance.exchange())
worker = ThreadedWorker(made)
answers = []

def get(client, path):
    client.sendall(b"GET %b HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n" % path)

def clients():
    first, second = (socket.create_connection(made.listeners[0].getsockname()) for _ in range(2))
    for client in (first, second):
        client.settimeout(20)
        get(client, b"/")
        client.recv(1000)
    get(first, b"/held")
    held.wait(20)
    board.set_connections(sibling, NOT_SERVING)
    get(second, b"/")  # nobody takes it: the only thread is busy
    master.send({"leave": HOW})
    time.sleep(0.8)  # its own entrance is shut by then
    board.set_connections(sibling, 0)
    time.sleep(0.2)
    release.set()
    for client in (first, second):
        answers.append(client.recv(1000))

from pretune.server.process.scoreboard import NOT_SERVING
talk = threading.Thread(target=clients)
worker.run(talk.start)
made.exchange[0].close()
made.exchange[1].close()
talk.join()
assert len(answers) == 2 and all(each.endswith(b"answered") for each in answers), answers
os._exit(0)
"""


@pytest.mark.parametrize("how", [draining.STOP, draining.YIELD])
def test_a_leaving_worker_gives_nothing_that_could_not_come_back(how):
    run(HANDED.replace("HOW", repr(how)))


@pytest.mark.fast
def test_a_client_sees_at_once_that_its_connection_is_closed_for_another():
    """Before the loop comes round, which may take as long as the app likes."""

    async def main() -> bytes:
        worker = new_worker(answer)
        ours, theirs = socket.socketpair()
        with theirs:
            theirs.setblocking(False)
            ours.setblocking(False)
            made = lambda: HttpProtocol(worker, ours, ("127.0.0.1", 80))  # noqa: E731
            _, protocol = await worker.loop.connect_accepted_socket(made, ours)
            protocol.quiet -= 10
            assert worker._evict()
            return theirs.recv(10)

    assert asyncio.run(main()) == b""


async def answer(scope, receive, send):
    raise AssertionError("nobody asks")


@pytest.mark.fast
def test_a_loop_that_is_late_does_not_close_on_a_request_that_has_come():
    """As when the app holds up the loop, and the sweep is due before its sockets are looked at."""

    async def main() -> list[bool]:
        worker = new_worker(answer)
        transport = connect(worker)
        protocol = transport.protocol
        protocol.sock, theirs = socket.socketpair()
        closed = []
        with protocol.sock, theirs:
            theirs.send(b"G")
            for heard in (True, False):
                protocol.expire(protocol.deadline + 1)
                closed.append(transport.closing)
                if heard:
                    protocol.sock.recv(1)
        return closed

    assert asyncio.run(main()) == [False, True]

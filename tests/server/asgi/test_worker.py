"""One ASGI worker: responses, bodies, refusals, timeout, limits. More in test_asgi_*.py."""

from __future__ import annotations

import signal
import sys
import time

import psutil
import pytest

from pretune.server.adapters.launch import BootFailed


@pytest.fixture
def app(serve):
    def start(**options):
        return serve("asynchronous", worker_class="asgi", **options)

    return start


def test_responses(app):
    served = app()
    assert served.text("/hello") == "hello"
    assert served.text("/state") == "from the lifespan"
    assert served.text("/stream/3") == "part 0\npart 1\npart 2\n"
    assert served.get("/hello", method="HEAD").text == ""
    assert served.get("/headers", X_A="1").text.split("\n")[-1] == "x-a"


def test_keep_alive_pipelining_and_1_0(app):
    served = app()
    one = b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert served.raw(one * 5 + last).count(b"hello") == 6
    assert served.raw(b"GET /stream/2 HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\npart 0\npart 1\n")


def test_bodies(app):
    served = app()
    body = b"y" * 1_000_000
    assert served.get("/echo", "POST", body).text == f"1000000 {'y' * 100}"
    chunked = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n"
    )
    assert served.raw(chunked).endswith(b"9 Wikipedia")


def test_expect_continue(app):
    served = app()
    with served.connect() as sock:
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert sock.recv(1000).endswith(b"2 ok")


def test_an_unread_body_ends_the_connection(app):
    served = app()
    head = b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n"
    assert served.raw(head + bytes(1 << 20)).endswith(b"hello")


def test_malformed_requests_are_refused(app):
    served = app()
    assert served.raw(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    bad_chunk = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n"
    assert served.raw(bad_chunk).startswith(b"HTTP/1.1 400 ")


def test_errors_are_500_with_a_traceback_in_the_log(app):
    served = app()
    assert served.get("/broken").status == 500
    assert "RuntimeError: the app is broken here" in served.log()
    assert "exchange.py" not in served.log()


def test_lifespan_ends_with_the_worker_and_its_failure_is_a_boot_failure(app):
    served = app()
    served.running.stop(10)
    assert "the lifespan ended" in served.log()
    failing = app(env={"APP_STARTUP": "fails"}, ready=False)
    with pytest.raises(BootFailed, match="startup failed: the last line") as failure:
        failing.running.wait_ready(120)
    assert "no database" in failure.value.traceback


def test_scheme_from_trusted_peers_only(app):
    assert app().get("/scheme", X_Forwarded_Proto="https").text == "https"
    distrusting = app(forwarded_allow_ips="10.0.0.1")
    assert distrusting.get("/scheme", X_Forwarded_Proto="https").text == "http"


def test_a_loop_that_stands_still_is_killed_but_a_long_request_is_not(app):
    served = app(timeout=1.0, workers=1)
    assert served.text("/sleep/2.5") == "slept"
    assert served.events("worker_exit") == []
    with served.connect() as sock:
        sock.sendall(b"GET /stall/60 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert sock.recv(100) == b""
    served.wait_for(lambda: served.events("worker_exit"))
    assert served.events("worker_exit")[0]["reason"] == "timeout"
    assert " in stall" in served.log()


def test_worker_connections_bounds_what_is_open(app):
    served = app(worker_connections=3)
    held = [served.connect() for _ in range(3)]
    for sock in held:
        sock.sendall(b"GET /sleep/0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
    time.sleep(0.2)
    assert served.text("/hello") == "hello"  # once one of the three has gone
    for sock in held:
        sock.close()


def test_term_finishes_what_was_begun(app):
    served = app()
    with served.connect() as sock:
        sock.sendall(b"GET /sleep/0.5 HTTP/1.1\r\nHost: x\r\n\r\n")
        time.sleep(0.2)
        served.signal(signal.SIGTERM)
        assert sock.recv(1000).endswith(b"slept")
    served.wait_for(lambda: "stopped" in served.log())


def test_recycling(app):
    served = app(workers=1, max_requests=5)
    for _ in range(30):
        assert served.text("/hello") == "hello"
    served.wait_for(lambda: served.events("worker_exit"))
    assert served.events("worker_exit")[0]["reason"] == "max_requests"


@pytest.mark.parametrize("preload_app", [False, True])
def test_asyncio_is_shared_by_workers_that_need_it(serve, preload_app):
    served = serve("early:asynchronous", worker_class="asgi", preload_app=preload_app)
    process = psutil.Process(served.running.worker_pids()[0])
    maps = [each.path for each in process.parent().memory_maps()]  # of who forked it
    assert any("_asyncio" in path for path in maps) or "_asyncio" in sys.builtin_module_names
    assert served.text("/") == str(not preload_app)
    assert serve("early:synchronous", worker_class="gthread").text("/") == "False"

"""One WSGI worker: what a client sees."""

from __future__ import annotations

import hashlib

import pytest


def request(path: str, close: bool = True) -> bytes:
    end = "Connection: close\r\n" if close else ""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n{end}\r\n".encode()


def test_it_serves_in_every_python(serve, python):
    served = serve(python=python, threads=2, workers=2, preload_app=True)
    assert served.text("/hello") == "hello"
    assert len(served.running.worker_pids()) == 2
    asynchronous = serve("asynchronous", python=python, worker_class="asgi")
    assert asynchronous.text("/hello") == "hello"


@pytest.mark.parametrize("worker_class", ["sync", "gthread"])
def test_every_kind_of_response(serve, worker_class):
    served = serve(worker_class=worker_class)
    cases = {
        "/stream/3": "part 0\npart 1\npart 2\n",
        "/large/300000": "x" * 300000,
        "/nothing": "not found",
        "/empty": "",
    }
    for path, text in cases.items():
        assert served.text(path) == text
    assert served.get("/empty").status == 204
    assert served.get("/empty").getheader("Content-Length") is None
    assert "A WSGI app with a route" in served.text("/file")
    head = served.get("/large/10", method="HEAD")
    assert (head.status, head.text) == (200, "")


def test_keep_alive_and_pipelining(serve):
    served = serve()
    answer = served.raw(request("/hello", close=False) * 3 + request("/version"))
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.count(b"Connection: close") == 1
    assert answer.endswith(b"\r\n\r\n1")


def test_sync_closes_each_connection(serve):
    served = serve(worker_class="sync")
    assert b"Connection: close" in served.raw(request("/hello", close=False))


def test_http_1_0_is_closed_unless_asked(serve):
    served = serve()
    answer = served.raw(b"GET /stream/2 HTTP/1.0\r\n\r\n")
    assert b"chunked" not in answer
    assert answer.endswith(b"part 0\npart 1\n")
    kept = b"GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
    assert served.raw(kept + b"GET /hello HTTP/1.0\r\n\r\n").count(b"hello") == 2


def test_bodies_by_length_and_by_chunks(serve):
    served = serve()
    assert served.get("/echo", "POST", b"some body").text == "some body"
    chunked = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"4;ext=1\r\nWiki\r\n5\r\npedia\r\n0\r\nTrailer: 1\r\n\r\n"
    )
    assert served.raw(chunked + request("/hello")).endswith(b"hello")
    assert b"Wikipedia" in served.raw(chunked + request("/hello"))


@pytest.mark.parametrize("size", [70_000, 1 << 20, 17 << 16, (2 << 20) + 1, 4 << 20])
def test_a_body_of_any_length_comes_whole(serve, size):
    served = serve()
    body = (bytes(range(256)) * (size // 256 + 1))[:size]
    expected = f"{len(body)} {hashlib.sha256(body).hexdigest()}"
    assert served.get("/measure", "POST", body).text == expected


def test_a_body_that_nobody_reads_is_taken_all_the_same(serve):
    served = serve()
    head = b"POST /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 4194304\r\n\r\n"
    answer = served.raw(head + bytes(4 << 20) + request("/hello"))
    assert answer.count(b"HTTP/1.1 200 OK") == 2


def test_expect_continue(serve):
    served = serve()
    with served.connect() as sock:
        sock.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"
        )
        assert sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        sock.sendall(b"ok")
        assert sock.recv(1000).endswith(b"ok")


def test_malformed_requests_are_refused_and_closed(serve):
    served = serve()
    assert served.raw(b"GET / HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert served.raw(b"GET / HTTP/2.0\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 505 ")
    assert served.raw(b"GET /" + b"a" * 9000).startswith(b"HTTP/1.1 414 ")


def test_an_error_of_the_app_is_a_500_with_its_traceback_in_the_log(serve):
    served = serve()
    assert served.get("/broken").status == 500
    assert "RuntimeError: the app is broken here" in served.log()
    assert "plain.py" in served.log()
    assert "threaded.py" not in served.log()
    assert served.text("/hello") == "hello"


def test_a_response_that_breaks_half_way_is_cut_off(serve):
    answer = serve().raw(request("/half"))
    assert b"Content-Length: 100" in answer
    assert answer.endswith(b"only this")


def test_an_app_cannot_be_made_to_split_responses(serve):
    answer = serve().raw(request("/split"))
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"Set-Cookie" not in answer


def test_silent_connections_hold_no_thread(serve):
    served = serve(threads=1)
    silent = [served.connect() for _ in range(20)]
    slow = served.connect()
    slow.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n12")
    assert served.text("/hello") == "hello"
    slow.sendall(b"345")
    assert slow.recv(1000).endswith(b"12345")
    for sock in (*silent, slow):
        sock.close()


def test_more_connections_than_allowed_push_out_the_idle(serve):
    served = serve(worker_connections=10)
    silent = [served.connect() for _ in range(30)]
    assert served.text("/hello") == "hello"
    for sock in silent:
        sock.close()


def test_idle_connections_are_closed_after_keepalive(serve):
    served = serve(keepalive=0.2)
    with served.connect() as sock:
        sock.sendall(request("/hello", close=False))
        assert sock.recv(1000).endswith(b"hello")
        assert sock.recv(1000) == b""


def test_a_worker_with_all_threads_busy_leaves_connections_to_the_others(serve, tmp_path):
    served = serve("held", workers=2, threads=1, timeout=120, env={"STATE": str(tmp_path)})
    for n in range(6):
        with served.connect() as slow:
            slow.sendall(request(f"/held/{n}"))
            served.wait_for(lambda n=n: (tmp_path / f"{n}.begun").exists())
            assert served.text("/hello") == "hello"
            (tmp_path / f"{n}.release").touch()
            assert b"200 OK" in slow.recv(1000)


def test_connections_spread_over_idle_workers(serve):
    served = serve(workers=2, threads=2)
    socks = [served.connect() for _ in range(10)]
    pids = []
    for sock in socks:
        sock.sendall(request("/pid", close=False))
        pids.append(sock.recv(1000).rpartition(b"\r\n")[2].split()[0])
    for sock in socks:
        sock.close()
    # Without the board the worker that was woken first takes all ten.
    assert min(pids.count(str(pid).encode()) for pid in served.running.worker_pids()) >= 3


def test_forwarded_proto_counts_from_trusted_peers_only(serve):
    trusted = serve()
    path = "/variable/wsgi.url_scheme"
    assert trusted.get(path, X_Forwarded_Proto="https").text == "'https'"
    distrusting = serve(forwarded_allow_ips="10.0.0.1")
    assert distrusting.get(path, X_Forwarded_Proto="https").text == "'http'"


def test_the_endpoint_header_is_taken_out_only_with_telemetry(serve, tmp_path):
    path = "/variable/HTTP_X_PRETUNE_ENDPOINT"
    assert serve().get(path, X_Pretune_Endpoint="1").text == "'1'"
    measured = serve(telemetry=tmp_path)
    assert measured.get(path, X_Pretune_Endpoint="1").text == "None"


def test_environ(serve):
    served = serve(threads=4)
    assert served.text("/variable/PATH_INFO") == "'/variable/PATH_INFO'"
    assert served.text("/variable/QUERY_STRING?a=b%20c") == "'a=b%20c'"
    assert served.text("/variable/wsgi.multithread") == "True"
    assert served.text("/variable/SERVER_PORT") == repr(str(served.address[1]))
    assert served.get("/variable/HTTP_X_A", X_A="1").text == "'1'"
    forged = b"GET /variable/HTTP_X_A HTTP/1.1\r\nHost: x\r\nX_A: 1\r\nConnection: close\r\n\r\n"
    assert served.raw(forged).endswith(b"None")


def test_requests_with_the_same_fields_share_no_environ(serve):
    served = serve()
    one = request("/mark/one?a", close=False)
    answer = served.raw(one * 3 + request("/mark/two"))
    assert answer.count(b"unmarked GET /mark/one a x") == 3
    assert answer.endswith(b"unmarked GET /mark/two  x")


def test_the_endpoint_header_is_taken_out_of_every_request(serve, tmp_path):
    served = serve(telemetry=tmp_path)
    head = b"GET /variable/HTTP_X_PRETUNE_ENDPOINT HTTP/1.1\r\nHost: x\r\nX-Pretune-Endpoint: 7\r\n"
    answer = served.raw((head + b"\r\n") * 3 + head + b"Connection: close\r\n\r\n")
    assert answer.count(b"\r\n\r\nNone") == 4

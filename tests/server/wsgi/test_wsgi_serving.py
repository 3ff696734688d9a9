"""PEP 3333 through real servers, every shape of response under every WSGI class."""

from __future__ import annotations

import contextlib
import math
import signal
import socket
import threading
from pathlib import Path

import pytest
from support.rings import records

CLASSES = ["sync", "gthread", "gevent"]

SHAPES = {
    "list": "a list",
    "one": "one",
    "tuple": "?",
    "generator": "a generator",
    "late": "late",
    "written": "written and returned",
    "replaced": "replaced",
    "empty": "",
    "none": "",
}


@pytest.fixture(params=CLASSES)
def held(request, serve, tmp_path):
    """The held app behind wsgiref's validator."""

    def start(target: str = "held:validated", **options):
        if request.param == "gevent":
            pytest.importorskip("gevent")
        options = {"env": {"STATE": str(tmp_path)}, "worker_class": request.param, **options}
        return serve(target, **options)

    return start


def test_every_shape_of_response_is_valid_and_closed(held, tmp_path):
    served = held()
    for shape, text in SHAPES.items():
        answer = served.get(f"/shape/{shape}")
        expected = {"none": 204, "replaced": 500}.get(shape, 200)
        assert (answer.status, answer.text) == (expected, text), shape
        if shape not in ("written", "none"):
            head = served.get(f"/shape/{shape}", method="HEAD")
            assert (head.status, head.text) == (expected, "")
    assert served.get("/shape/broken").status == 500
    closed = (tmp_path / "closed").read_text().split()
    for shape in ("list", "one", "written", "replaced", "empty", "none", "broken"):
        assert shape in closed
    assert "AssertionError" not in served.log()
    assert "ZeroDivisionError" in served.log()


def test_bodies_reach_the_app(held):
    served = held()
    for length in (0, 10, 70_000, 3 << 20):
        assert served.get("/count", "POST", bytes(length)).text == str(length)
    chunks = b"".join(b"%x\r\n%b\r\n" % (n, bytes(n)) for n in (1, 1000, 70_000)) + b"0\r\n\r\n"
    head = b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    assert b"71001" in served.raw(head + b"Connection: close\r\n\r\n" + chunks)


@pytest.mark.parametrize("worker_class", CLASSES)
def test_what_is_wrong_with_a_body_the_app_is_reading_is_said(serve, worker_class):
    served = serve("held", worker_class=worker_class)
    long = b"100000\r\n" + bytes(1 << 20) + b"\r\n"  # more than is read before the app is called
    head = b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert served.raw(head + long + b"no size\r\n").startswith(b"HTTP/1.1 400 ")
    assert served.raw(head + b"no size\r\n").startswith(b"HTTP/1.1 400 ")
    assert "error" not in served.log().lower()


def test_files_go_by_the_kernel_whole_and_cut(held):
    served = held("held:application")
    for size in (0, 1, 5 << 20):
        assert len(served.text(f"/file/{size}")) == size


def test_hints_come_before_the_response(held):
    served = held("held:application")
    answer = served.raw(b"GET /hints HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    hints, _, rest = answer.partition(b"\r\n\r\n")
    assert hints.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload")
    assert b"Content-Length" not in hints
    assert rest.startswith(b"HTTP/1.1 200 OK")
    old = served.raw(b"GET /hints HTTP/1.0\r\n\r\n")
    assert b"103" not in old


def test_who_is_behind_a_proxy(tune, tmp_path):
    (tmp_path / "held.py").write_text((Path(__file__).parents[1] / "apps" / "held.py").read_text())
    served = tune("held", "-b", "127.0.0.1:0", "-w", "1", "--proxy-protocol").ready()
    host, port = served.addresses()[0].split(":")

    def ask(data: bytes) -> bytes:
        with socket.create_connection((host, int(port)), 30) as sock:
            sock.sendall(data)
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                while part := sock.recv(1000):
                    answer += part
            return answer

    request = b"GET /scheme HTTP/1.1\r\nHost: x\r\nX-Forwarded-Proto: https\r\n"
    request += b"Connection: close\r\n\r\n"
    # The proxy only passed bytes on: what they claim is the client's word.
    proxied = ask(b"PROXY TCP4 10.1.2.3 10.0.0.1 4321 80\r\n" + request)
    assert proxied.endswith(b"10.1.2.3 4321 http")
    assert ask(b"PROXY UNKNOWN\r\n" + request).endswith(b"https")
    assert ask(request).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("worker_class", CLASSES)
def test_several_addresses_of_several_kinds(tune, tmp_path, worker_class):
    (tmp_path / "held.py").write_text((Path(__file__).parents[1] / "apps" / "held.py").read_text())
    binds = ["-b", "127.0.0.1:0", "-b", f"unix:{tmp_path}/s", "-b", "127.0.0.2:0"]
    served = tune("held", *binds, "-w", "2", "-k", worker_class, "--reuse-port").ready()
    addresses = served.addresses()
    assert len(set(addresses)) == 3
    for address in addresses * 3:
        assert served.get("/hello", address) == "hello"
        who = served.get("/scheme", address, X_Forwarded_Proto="https")
        assert who.split(" ")[0] == ("" if address.startswith("unix:") else "127.0.0.1")
        assert who.endswith(" https")  # both are trusted


def test_who_is_idle_or_slow_for_too_long_is_closed(serve):
    pytest.importorskip("gevent")
    with contextlib.ExitStack() as stack:
        slow = []
        for worker_class in ("gthread", "gevent"):
            served = serve("held", worker_class=worker_class, keepalive=0.5)
            slow.append(stack.enter_context(served.connect()))
            slow[-1].settimeout(60)
            slow[-1].sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n")
            idle = stack.enter_context(served.connect())
            idle.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
            assert idle.recv(1000).endswith(b"hello")
            assert idle.recv(1000) == b""
        for sock in slow:
            assert sock.recv(1000).startswith(b"HTTP/1.1 408 ")


HOOKS = """
import held
def note(text):
    with (held.STATE / "noted").open("a") as file:
        file.write(text + "\\n")
def pre_request(worker, req):
    note(f"before {req.method} {req.path}")
    if req.path == "/hello":
        return
    if req.path == "/pid":
        raise RuntimeError("not this one")
def post_request(worker, req, environ, resp):
    note(f"after {environ['PATH_INFO']} {resp.status}")
"""


@pytest.mark.parametrize("worker_class", CLASSES)
def test_hooks_before_and_after_each_request(tune, tmp_path, worker_class):
    (tmp_path / "held.py").write_text((Path(__file__).parents[1] / "apps" / "held.py").read_text())
    (tmp_path / "gunicorn.conf.py").write_text(HOOKS)
    served = tune("held", "-b", "127.0.0.1:0", "-w", "1", "-k", worker_class).ready()
    assert served.get("/hello") == "hello"
    assert "500" in served.get("/pid")
    served.wait_for(lambda: (tmp_path / "noted").read_text().count("after") == 2)
    assert (tmp_path / "noted").read_text().split("\n")[:4] == [
        "before GET /hello", "after /hello 200", "before GET /pid", "after /pid 500",
    ]  # fmt: skip


# -- gevent


@pytest.fixture
def green(serve, tmp_path):
    pytest.importorskip("gevent")

    def start(target: str = "held", **options):
        options = {"env": {"STATE": str(tmp_path)}, "worker_class": "gevent", **options}
        return serve(target, **options)

    return start


def test_greenlets_wait_side_by_side(green, tmp_path):
    served = green()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(served.connect()) for _ in range(50)]
        for n, sock in enumerate(socks):
            sock.sendall(f"GET /held/{n} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        served.wait_for(lambda: len(list(tmp_path.glob("*.begun"))) == 50)
        for n, sock in enumerate(socks):
            (tmp_path / f"{n}.release").touch()
            assert b"200 OK" in sock.recv(1000)


def test_a_gevent_worker_takes_as_many_connections_as_it_may(green):
    served = green(worker_connections=10)
    with contextlib.ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(served.connect())
        assert served.text("/hello") == "hello"


@pytest.mark.parametrize("preload_app", [False, True])
def test_a_gevent_worker_leaves_when_its_requests_are_answered(green, tmp_path, preload_app):
    served = green(graceful_timeout=60, preload_app=preload_app)
    with served.connect() as busy, served.connect() as idle:
        idle.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n")
        assert idle.recv(1000).endswith(b"hello")
        busy.sendall(b"GET /held/it HTTP/1.1\r\nHost: x\r\n\r\n")
        served.wait_for(lambda: (tmp_path / "it.begun").exists())
        served.signal(signal.SIGTERM)
        assert idle.recv(1000) == b""
        (tmp_path / "it.release").touch()
        assert b"Connection: close" in busy.recv(1000)
    served.wait_for(lambda: served.events("stopped"))
    assert [e["reason"] for e in served.events("worker_exit")] == ["stop"]


def test_a_hub_that_stands_still_is_killed(green):
    served = green("plain", timeout=1)
    before = served.running.worker_pids()
    with served.connect() as sock:
        sock.sendall(b"GET /catastrophe HTTP/1.1\r\nHost: x\r\n\r\n")
        served.wait_for(lambda: served.events("worker_exit"))
    assert served.events("worker_exit")[0]["reason"] == "timeout"
    served.wait_for(lambda: served.running.worker_pids() not in ([], before))


def test_the_cpu_of_greenlets_is_their_own(green, tmp_path):
    served = green("plain", telemetry=tmp_path)
    threads = [
        threading.Thread(target=lambda p=path: served.text(p))
        for path in ["/burn/0.05"] * 4 + ["/sleep/0.5"] * 8
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    served.wait_for(lambda: len(records(tmp_path)) == 12)
    found = sorted(record["cpu"] for record in records(tmp_path))
    assert all(cpu < 0.03 for cpu in found[:8])
    assert all(cpu >= 0.049 for cpu in found[8:])
    assert sum(found) < 4 * 0.05 + 12 * 0.01
    assert all(math.isnan(record["runq"]) for record in records(tmp_path))


def test_without_gevent_the_error_says_what_is_missing(serve, tmp_path):
    (tmp_path / "gevent.py").write_text("raise ImportError('not here')\n")
    served = serve("held", worker_class="gevent", ready=False, env={"PYTHONPATH": str(tmp_path)})
    served.wait_for(lambda: served.events("boot_failed"), 30)
    assert "needs gevent" in served.events("boot_failed")[0]["message"]

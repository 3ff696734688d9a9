"""HTTP through an ASGI worker: what the app is told, and clients that are slow, odd or gone."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import socket
import sys

import pytest

GET = b"GET %b HTTP/1.1\r\nHost: x\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


@pytest.fixture
def app(serve):
    def start(patience: dict[str, float] | None = None, **options):
        values = {"workers.limits.SWEEP": 0.1, **(patience or {})}
        env = {f"PATIENCE_{name}": str(value) for name, value in values.items()}
        env.update(options.pop("env", {}))
        return serve("exchanges", worker_class="asgi", env=env, **options)

    return start


def until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        part = sock.recv(65536)
        assert part, data
        data += part
    return data


def rest(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            data += part
    return data


def test_the_scope(app):
    served = app()
    head = (
        b"GET /scope/%C3%A9%2Fx?a=%20&b HTTP/1.1\r\nHost: x\r\nX-A: 1\r\nX-B: 2\r\nx-a:  3 \r\n"
        b"Cookie: a=1\r\nCookie: b=2\r\nConnection: close\r\n\r\n"
    )
    answer = served.raw(head + b"\r\n")
    scope = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert scope["path"] == "/scope/é/x"
    assert scope["raw_path"] == "/scope/%C3%A9%2Fx"
    assert scope["query_string"] == "a=%20&b"
    assert scope["root_path"] == ""
    assert scope["http_version"] == "1.1"
    assert scope["scheme"] == "http"
    assert scope["server"] == list(served.address)
    assert scope["client"][0] == "127.0.0.1"
    assert scope["headers"][1:6] == [
        ["x-a", "1"], ["x-b", "2"], ["x-a", "3"], ["cookie", "a=1"], ["cookie", "b=2"],
    ]  # fmt: skip
    # Each request has its own copy of the state.
    assert [json.loads(served.text("/scope"))["state"]["mine"] for _ in range(2)] == [1, 1]
    old = served.raw(b"GET /scope HTTP/1.0\r\n\r\n")
    assert json.loads(old.partition(b"\r\n\r\n")[2])["http_version"] == "1.0"
    assert served.raw(GET % (b"/cookies", CLOSE)).count(b"set-cookie: ") == 2


def test_early_hints(app):
    served = app()
    first, _, rest_ = served.raw(GET % (b"/hints", CLOSE)).partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload")
    assert rest_.startswith(b"HTTP/1.1 200 OK\r\n")
    assert served.raw(b"GET /hints HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 OK\r\n")


def test_on_every_python(app, python, tmp_path):
    if python == sys.executable:
        pytest.skip("tested above and below")
    served = app(python=python, telemetry=tmp_path, max_requests=50)
    assert served.raw(GET % (b"/stream/3/0.01", CLOSE)).endswith(b"part 2\n\r\n0\r\n\r\n")
    assert served.raw(GET % (b"/hello", b"") * 100 + GET % (b"/pid", CLOSE)).count(b"hello") == 100
    assert served.get("/count/0.2", "POST", bytes(3_000_000)).text.startswith("3000000 ")
    assert served.raw(GET % (b"/bad/nothing", b"")).startswith(b"HTTP/1.1 500 ")
    with served.connect() as sock:
        sock.sendall(GET % (b"/sleep/0.1", b""))
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock).endswith(b"slept")
    served.wait_for(lambda: served.events("worker_exit"))


def test_forwarded_fields_and_the_proxy_protocol(app):
    fields = b"X-Forwarded-For: 198.51.100.7, 127.0.0.1\r\nX-Forwarded-Proto: https\r\n" + CLOSE
    scope = json.loads(app().raw(GET % (b"/scope", fields)).partition(b"\r\n\r\n")[2])
    assert (scope["client"], scope["scheme"]) == (["198.51.100.7", 0], "https")
    contradiction = fields + b"X-Forwarded-Ssl: off\r\n"
    assert app().raw(GET % (b"/scope", contradiction)).startswith(b"HTTP/1.1 400 ")
    distrusting = app(forwarded_allow_ips="10.0.0.1")
    scope = json.loads(distrusting.raw(GET % (b"/scope", fields)).partition(b"\r\n\r\n")[2])
    assert (scope["client"][0], scope["scheme"]) == ("127.0.0.1", "http")


def test_a_client_that_has_said_all_is_answered(app):
    served = app({"asgi.protocol.HALF_CLOSED": 4})
    requests = {
        GET % (b"/hello", b""): 1,
        GET % (b"/sleep/0.2", b""): 1,
        (GET % (b"/hello", b"")) * 20: 20,
        b"POST /count/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc": 1,
        # Longer than the patience: it takes what is sent, so it lives.
        GET % (b"/stream/8/0.15", CLOSE): 1,
    }
    for request, answers in requests.items():
        with served.connect() as sock:
            sock.sendall(request)
            sock.shutdown(socket.SHUT_WR)
            answer = rest(sock)
        assert answer.count(b"HTTP/1.1 200 OK\r\n") == answers
    assert answer.endswith(b"part 7\n\r\n0\r\n\r\n")


def test_what_the_app_hears_of_a_client_that_is_gone(app):
    served = app({"asgi.protocol.HALF_CLOSED": 4})
    with served.connect() as sock:
        sock.sendall(GET % (b"/watch", b""))
    served.wait_for(lambda: "http.disconnect after 0" in served.log())
    with served.connect() as sock:  # within its body: nothing to answer any more
        sock.sendall(b"POST /watch HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
        sock.shutdown(socket.SHUT_WR)
        assert rest(sock) == b""
    served.wait_for(lambda: "http.disconnect after 3" in served.log())
    with served.connect() as sock:
        sock.sendall(GET % (b"/endless", b""))
        sock.recv(1000)
    served.wait_for(lambda: "the stream ended" in served.log())
    with served.connect() as sock:  # an app that answers nobody does no harm
        sock.sendall(GET % (b"/watch/on", b""))
    served.wait_for(lambda: served.log().count("http.disconnect after 0") == 2)
    assert served.text("/hello") == "hello"
    assert "ERROR" not in served.log()


def test_an_upload_waits_for_the_app(app):
    served = app()
    size = 30_000_000
    with served.connect() as sock:
        sock.sendall(
            b"POST /count/released HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" % size
            + CLOSE
            + b"\r\n"
        )
        sock.setblocking(False)
        poll, sent = select.poll(), 0
        poll.register(sock, select.POLLOUT)
        while sent < size and poll.poll(300):
            sent += sock.send(bytes(min(1 << 20, size - sent)))
        assert sent < size  # it was not all taken into memory
        assert served.text("/release") == "released"
        sock.settimeout(20)
        while sent < size:
            sent += sock.send(bytes(min(1 << 20, size - sent)))
        total, parts, largest = map(int, rest(sock).split()[-3:])
    assert (total, parts > 10, largest < 2_000_000) == (size, True, True)


def test_a_slow_uploader_is_refused_and_the_app_hears_of_it(app):
    served = app({"workers.limits.BODY_PATIENCE": 0.6, "workers.limits.BODY_RATE": 100_000})
    with served.connect() as sock:
        sock.sendall(b"POST /watch HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        answer = b""
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        while not poll.poll(50):
            sock.sendall(b"x")  # a drip does not buy time
        answer = rest(sock)
    assert answer.startswith(b"HTTP/1.1 408 ")
    served.wait_for(lambda: "http.disconnect after" in served.log())


def test_a_client_is_not_blamed_for_an_app_that_does_not_read(app):
    served = app({"workers.limits.BODY_PATIENCE": 3.0})
    with served.connect() as sock, served.connect() as asking:
        head = b"POST /count/3.5 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n" + CLOSE
        sock.sendall(head % 200_000 + b"\r\n" + bytes(200_000))
        asking.sendall(head % 2 + b"Expect: 100-continue\r\n\r\n")
        assert b"\r\n\r\n200000 " in rest(sock)
        until(asking, b"HTTP/1.1 100 Continue\r\n\r\n")
        asking.sendall(b"ok")
        assert b"\r\n\r\n2 1 2" in rest(asking)


def test_a_client_that_takes_nothing_is_given_up(app):
    served = app({"workers.limits.SEND_PATIENCE": 0.6})
    with served.connect() as sock:
        sock.sendall(GET % (b"/endless", b""))
        served.wait_for(lambda: "the stream ended" in served.log())
        # Bounded by the kernel's buffers and one of ours, not by what the app would send.
        assert served.log().count("sent ") < 200


def test_a_response_frees_its_connection_whatever_the_app_does_afterwards(app):
    served = app()
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    with contextlib.closing(connection):
        for path, text in (
            ("/background/released", b"done"),
            ("/hello", b"hello"),
            ("/release", b"released"),
        ):
            connection.request("GET", path)
            assert connection.getresponse().read() == text
        served.wait_for(lambda: "background over" in served.log())


def test_a_short_body_nobody_wants_does_not_cost_the_connection(app):
    served = app()
    with served.connect() as sock:
        for _ in range(3):
            sock.sendall(b"POST /ignore HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
            until(sock, b"ignored")
            sock.sendall(b"01234" + GET % (b"/hello", b""))
            until(sock, b"hello")


BAD = {
    # path: status the client sees, words in the log
    "header": (500, "malformed response header"),
    "name": (500, "malformed response header"),
    "status": (500, "malformed status"),
    "nothing": (500, "without a whole response"),
    "half": (200, "without a whole response"),
    "raise-late": (200, "too late for a 500"),
    "body-first": (500, "came before http.response.start"),
    "exit": (500, "SystemExit: 3"),
    "cancel": (500, "CancelledError"),
    "less": (200, ""),
}


def test_apps_that_misbehave(app):
    served = app()
    for path, (status, words) in BAD.items():
        answer = served.raw(GET % (b"/bad/" + path.encode(), b""))
        assert answer.startswith(b"HTTP/1.1 %d " % status), path
        assert b"x-injected" not in answer
        assert not answer.endswith(b"0\r\n\r\n"), path  # never passed off as whole
        served.wait_for(lambda words=words: words in served.log())
    answer = served.raw(GET % (b"/bad/more", b"") + GET % (b"/hello", CLOSE))
    assert answer.count(b"HTTP/1.1 200 OK") == 2
    assert b"\r\n\r\nmoreHTTP/1.1" in answer
    assert "exchange.py" not in served.log()
    assert served.events("worker_exit") == []


LIFESPANS = {
    "unknown": "INFO] the application has no lifespan (KeyError: 'path')",
    "raises": "ValueError: half-way through the startup",
    "returns": "",
    "dies": "ValueError: while it serves",
    "shutdown fails": "could not say goodbye",
}


@pytest.mark.parametrize("how", LIFESPANS)
def test_lifespans(app, how):
    served = app(env={"APP_LIFESPAN": how})
    assert served.text("/hello") == "hello"
    served.running.stop(10)
    assert LIFESPANS[how] in served.log()
    assert ("ERROR" in served.log()) == (how not in ("unknown", "returns"))


def test_an_app_that_exits_in_its_startup_does_not_boot(app):
    from pretune.server.adapters.launch import BootFailed

    served = app(env={"APP_LIFESPAN": "exits"}, ready=False)
    with pytest.raises(BootFailed, match="exited"):
        served.running.wait_ready(120)


def test_many_silent_connections_hurt_nobody(app):
    """One thousand, over the bound on connections: the silent ones make room."""
    served = app(worker_connections=500)
    with contextlib.ExitStack() as stack:
        for n in range(1000):
            sock = stack.enter_context(served.connect())
            if n % 2:
                sock.sendall(b"GET / HTTP/1.1\r\n")
        for _ in range(20):
            assert served.text("/hello") == "hello"


def test_running_out_of_descriptors_is_recovered_from(app):
    served = app()
    # The connection that does it stays open, and one more than fit waits.
    connection = http.client.HTTPConnection(*served.address, timeout=20)
    with contextlib.closing(connection), contextlib.ExitStack() as stack:
        connection.request("GET", "/hoard/2")
        assert int(connection.getresponse().read()) > 100
        busy = [stack.enter_context(served.connect()) for _ in range(4)]
        for sock in busy:
            sock.sendall(GET % (b"/sleep/1", b""))
        served.wait_for(lambda: "cannot accept: Too many open files" in served.log())
        for sock in busy:
            until(sock, b"slept")
        assert served.log().count("cannot accept") == 1
        assert "ulimit -n" in served.log()
    assert served.get("/hoard").text == "0"


def test_what_hooks_are_called_with_and_the_access_log_says(app, tmp_path):
    (tmp_path / "conf.py").write_text(
        "def pre_request(worker, request):\n"
        "    worker.log.info('before %s %s', request.method, request.path)\n"
        "    if request.path == '/hello/never': raise ValueError('not you')\n"
        "def post_request(worker, request, environ, response):\n"
        "    worker.log.info('after %s %s', environ['path'], response.status)\n"
        "    raise ValueError('too late')\n"
        "accesslog = '-'\n"
        "access_log_format = 'said %(m)s %(U)s %(s)s %({x-a}i)s %({content-length}o)s'\n"
    )
    served = app(config=tmp_path / "conf.py")
    assert served.get("/hello", X_A="1").text == "hello"
    assert served.get("/hello/never").status == 500
    lines = ("before GET /hello", "after /hello 200", "too late", "said GET /hello 200 1 -",
             "ValueError: not you")  # fmt: skip
    for line in lines:
        served.wait_for(lambda line=line: line in served.log())

"""Slow, silent, greedy and rude clients: none of them holds a thread, let alone a worker."""

from __future__ import annotations

import contextlib
import resource
import signal
import socket
import struct
import time
from pathlib import Path

import psutil
import pytest

MIB = 1 << 20
HELD = Path(__file__).parents[1] / "apps" / "held.py"
FAR = 60_000  # more connections than any limit here


def head(path: str, *fields: str) -> bytes:
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *fields, "", ""]).encode()


def read_response(sock: socket.socket) -> bytes:
    """The body of a response that ends with its connection, chunked or not."""
    data = bytearray()
    while part := sock.recv(MIB):
        data += part
    start, _, text = bytes(data).partition(b"\r\n\r\n")
    if b"transfer-encoding: chunked" not in start.lower():
        return text
    body = b""
    while text:
        size, _, text = text.partition(b"\r\n")
        length = int(size, 16)
        body, text = body + text[:length], text[length + 2 :]
    return body


def slow_reader(served, path: str) -> socket.socket:
    """A client whose kernel takes very little, and who reads nothing by itself."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.settimeout(30)
    sock.connect(served.address)
    sock.sendall(head(path, "Connection: close"))
    return sock


@pytest.fixture
def many_descriptors():
    """Both this process and the server it starts may have this many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if hard != resource.RLIM_INFINITY else FAR
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, FAR), hard))
    yield min(most, FAR)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("worker_class", ["gthread", "sync"])
def test_a_thousand_silent_and_slow_connections_do_not_matter(
    serve, many_descriptors, worker_class
):
    count = min(1000, many_descriptors // 2 - 100)
    limit = count - 200
    served = serve("held", worker_class=worker_class, worker_connections=limit)
    with contextlib.ExitStack() as stack:
        for n in range(count):
            sock = stack.enter_context(served.connect())
            if n % 10 == 0:
                sock.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        assert served.text("/hello") == "hello"
        worker = psutil.Process(served.running.worker_pids()[0])
        # The longest idle made room for the newest.
        served.wait_for(lambda: worker.num_fds() < limit + 50)
        assert served.text("/hello") == "hello"


@pytest.mark.parametrize(
    ("path", "size"),
    [("/whole/%d", 8 * MIB), ("/file/%d", 8 * MIB), ("/streamed/%d", 10 * MIB)],
    ids=["whole", "file", "streamed"],
)
def test_slow_readers_hold_no_thread(serve, tmp_path, path, size):
    served = serve("held", threads=1, env={"STATE": str(tmp_path)})
    slow = [slow_reader(served, path % size) for _ in range(5)]
    assert served.text("/hello") == "hello"
    for sock in slow:
        with sock:
            assert read_response(sock) == b"x" * size


def test_what_a_stream_has_said_does_not_wait_for_what_it_says_next(serve, tmp_path):
    served = serve("held", threads=1, env={"STATE": str(tmp_path)}, timeout=60)
    with slow_reader(served, f"/paused/{MIB}/later") as sock:
        served.wait_for(lambda: (tmp_path / "later.begun").exists())
        data = bytearray()
        while data.count(b"x") < MIB:
            part = sock.recv(MIB)
            assert part
            data += part
        (tmp_path / "later.release").touch()
        assert b"end" in sock.recv(MIB)


def upload(size: int, chunked: bool = False) -> bytes:
    framing = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
    return f"POST /count HTTP/1.1\r\nHost: x\r\n{framing}\r\n\r\n".encode()


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
@pytest.mark.parametrize("size", [900_000, 3 * MIB])
def test_slow_uploaders_hold_no_thread(serve, worker_class, size):
    if worker_class == "gevent":
        pytest.importorskip("gevent")
    served = serve("held", worker_class=worker_class)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(served.connect()) for _ in range(5)]
        for sock in slow:
            sock.sendall(upload(size) + bytes(size - 1000))
        assert served.text("/hello") == "hello"
        for sock in slow:
            sock.sendall(bytes(1000))
            assert sock.recv(1000).endswith(b"%d" % size)


def test_a_long_chunked_body_comes_whole(serve):
    served = serve("held", threads=1)
    with served.connect() as sock:
        sock.sendall(upload(0, chunked=True))
        for _ in range(40):
            sock.sendall(b"10000\r\n" + bytes(65536) + b"\r\n")
        assert served.text("/hello") == "hello"
        sock.sendall(b"0\r\n\r\n" + head("/hello"))
        assert b"%d" % (40 * 65536) in sock.recv(1000)


def test_what_is_held_for_clients_is_bounded(tune, tmp_path):
    """In memory, however many there are; and their bodies are right all the same."""
    (tmp_path / "held.py").write_text(HELD.read_text())
    (tmp_path / "spool").mkdir()
    flags = ("--worker-buffer-memory", "4M", "--tmp-upload-dir", str(tmp_path / "spool"))
    served = tune("held", "-b", "127.0.0.1:0", "-w", "1", "--threads", "2", *flags).ready()
    host, port = served.addresses()[0].split(":")
    worker = psutil.Process(served.workers()[0])
    before = worker.memory_info().rss
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(60)
        ]
        for sock in slow:
            sock.sendall(upload(MIB) + bytes(MIB - 1))
        assert served.get("/hello") == "hello"
        served.wait_for(lambda: "spool" in str(worker.open_files()) or _deleted(worker) > 50)
        assert worker.memory_info().rss - before < 20 * MIB
        assert list((tmp_path / "spool").iterdir()) == []  # they have no names
        for sock in slow:
            sock.sendall(b"x")
            assert sock.recv(1000).endswith(b"%d" % MIB)
    served.wait_for(lambda: _deleted(worker) == 0)


def _deleted(process: psutil.Process) -> int:
    """Open files without a name."""
    count = 0
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed in the meantime
            count += "(deleted)" in str(link.readlink())
    return count


def test_a_body_for_which_there_is_no_room_is_refused_before_it_comes(tune, tmp_path):
    (tmp_path / "held.py").write_text(HELD.read_text())
    flags = ("--worker-buffer-files", "2M", "--worker-buffer-memory", "1M")
    served = tune("held", "-b", "127.0.0.1:0", "-w", "1", *flags).ready()
    host, port = served.addresses()[0].split(":")
    with socket.create_connection((host, int(port)), 30) as sock:
        sock.sendall(upload(3 * MIB)[:-2] + b"Expect: 100-continue\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 413 ")
    with contextlib.ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((host, int(port)), 30)) for _ in range(2)
        ]
        answer = b""
        for sock in slow:
            with contextlib.suppress(ConnectionError):
                sock.sendall(upload(2 * MIB) + bytes(2 * MIB - 1))
                answer = answer or sock.recv(1000) if sock is slow[1] else b""
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert "--worker-buffer-files is used up" in served.log()
        slow[0].sendall(b"x")
        assert slow[0].recv(1000).endswith(b"%d" % (2 * MIB))


@pytest.fixture
def hurried(serve, tmp_path):
    """A server that gives its clients a second, or what they move is worth."""

    def start(worker_class: str, **options):
        if worker_class == "gevent":
            pytest.importorskip("gevent")
        env = {"LIMIT_SWEEP": "0.1", "STATE": str(tmp_path)}
        for side in ("BODY", "SEND"):
            env |= {f"LIMIT_{side}_PATIENCE": "1", f"LIMIT_{side}_RATE": "100000"}
        return serve("patient", worker_class=worker_class, env=env, **options)

    return start


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_a_drip_of_a_body_buys_no_time(hurried, worker_class):
    served = hurried(worker_class)
    with served.connect() as sock:
        sock.sendall(upload(MIB))
        assert _dripped(sock, 0.05).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_a_byte_that_comes_as_its_time_ends_changes_nothing(hurried, worker_class):
    """With a byte always under way one comes between the decision to give up and its execution."""
    served = hurried(worker_class)
    with served.connect() as sock:
        sock.sendall(upload(MIB))
        assert _dripped(sock, 0.0005).startswith(b"HTTP/1.1 408 ")


def _dripped(sock: socket.socket, pause_s: float) -> bytes:
    """Return what answers a body that comes byte by byte."""
    deadline = time.monotonic() + 20
    sock.settimeout(pause_s)
    while time.monotonic() < deadline:
        with contextlib.suppress(TimeoutError):
            sock.sendall(b"x")
            return sock.recv(1000)
    return b""


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
@pytest.mark.parametrize("path", ["/whole/%d", "/file/%d", "/streamed/%d", "/endless/%d"])
def test_a_client_that_takes_nothing_is_given_up(hurried, worker_class, path):
    served = hurried(worker_class)
    worker = psutil.Process(served.running.worker_pids()[0])
    with slow_reader(served, path % (16 * MIB)):
        served.wait_for(lambda: _established(worker) == 1)
        served.wait_for(lambda: _established(worker) == 0)
        assert served.text("/hello") == "hello"
        served.wait_for(lambda: _deleted(worker) == 0)
    assert "error" not in served.log().lower()


def test_a_thread_held_by_its_client_is_no_stuck_request(tune, tmp_path):
    """When there is no more room the thread waits for the client, and its clock stands still."""
    (tmp_path / "held.py").write_text(HELD.read_text())
    flags = ("--worker-buffer-files", "1M", "--timeout", "3", "--threads", "2")
    served = tune("held", "-b", "127.0.0.1:0", "-w", "1", *flags).ready()
    host, port = served.addresses()[0].split(":")
    size = 16 * MIB
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader.settimeout(30)
        reader.connect((host, int(port)))
        reader.sendall(head(f"/streamed/{size}", "Connection: close"))
        time.sleep(4.5)  # longer than the timeout
        assert served.get("/hello") == "hello"
        worker = psutil.Process(served.workers()[0])
        assert worker.memory_info().rss < 80 * MIB
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
        assert len(read_response(reader)) == size
    assert "takes longer" not in served.log()


def test_the_end_of_what_a_client_sends_is_not_the_end_of_its_answer(serve):
    served = serve("held")
    for _ in range(20):
        with served.connect() as sock:
            sock.sendall(head("/hello") + head("/hello"))
            sock.shutdown(socket.SHUT_WR)
            answer = b""
            while part := sock.recv(1000):
                answer += part
            assert answer.count(b"hello") == 2
    # And they are not kept until they have been idle for too long.
    worker = psutil.Process(served.running.worker_pids()[0])
    served.wait_for(lambda: not worker.net_connections() or _established(worker) == 0)


def _established(process: psutil.Process) -> int:
    return sum(c.status != psutil.CONN_LISTEN for c in process.net_connections("tcp"))


def test_resets_at_any_moment_hurt_nobody(serve):
    served = serve("held", threads=2)
    whole = b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789"
    for length in range(1, len(whole) + 1, 3):
        sock = served.connect()
        sock.sendall(whole[:length])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    assert served.text("/hello") == "hello"
    assert "error" not in served.log().lower()


def test_out_of_descriptors_it_waits_without_spinning_and_recovers(tune, tmp_path):
    (tmp_path / "held.py").write_text(HELD.read_text())
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    served = tune(
        "held", "-b", "127.0.0.1:0", "-w", "1", "--threads", "2", "--keep-alive", "60",
        first=limited,
    ).ready()  # fmt: skip
    host, port = served.addresses()[0].split(":")
    worker = psutil.Process(served.workers()[0])
    with socket.create_connection((host, int(port)), 30) as eater:
        eater.sendall(head("/eat/all"))
        served.wait_for(lambda: (tmp_path / "all.begun").exists())
        with socket.create_connection((host, int(port)), 30) as waiting:
            waiting.sendall(head("/hello"))
            before = sum(worker.cpu_times()[:2])
            time.sleep(1)
            assert sum(worker.cpu_times()[:2]) - before < 0.4
            (tmp_path / "all.release").touch()
            assert waiting.recv(1000).endswith(b"hello")
        assert eater.recv(1000).endswith(b"eaten")
    assert served.log().count("cannot accept") == 1
    assert "ulimit -n" in served.log()


@pytest.mark.parametrize("worker_class", ["gthread", "gevent"])
def test_silent_connections_push_out_no_busy_one(serve, worker_class):
    if worker_class == "gevent":
        pytest.importorskip("gevent")
    served = serve("held", worker_class=worker_class, threads=2, worker_connections=5)
    with contextlib.ExitStack() as stack:
        reader = stack.enter_context(slow_reader(served, f"/whole/{8 * MIB}"))
        uploader = stack.enter_context(served.connect())
        uploader.sendall(upload(1000) + bytes(500))
        for _ in range(10):
            stack.enter_context(served.connect())
        assert served.text("/hello") == "hello"  # a silent one made room
        uploader.sendall(bytes(500))
        assert uploader.recv(1000).endswith(b"1000")
        assert len(read_response(reader)) == 8 * MIB


@pytest.mark.parametrize("worker_class", ["sync", "gthread", "gevent"])
def test_idle_connections_make_room_when_descriptors_run_out(tune, tmp_path, worker_class):
    if worker_class == "gevent":
        pytest.importorskip("gevent")
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    (tmp_path / "held.py").write_text(HELD.read_text())
    threads = ("--threads", "2") if worker_class == "gthread" else ()
    served = tune(
        "held", "-b", "127.0.0.1:0", "-w", "1", "-k", worker_class, *threads, first=limited
    ).ready()
    host, port = served.addresses()[0].split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection((host, int(port)), 30))
        assert served.get("/hello") == "hello"
    assert served.log().count("cannot accept") == 1
    assert "ulimit -n" in served.log()


def test_what_is_queued_in_the_kernel_is_answered_before_the_end(serve, tmp_path):
    served = serve("held", worker_class="sync", env={"STATE": str(tmp_path)}, graceful_timeout=60)
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(served.connect())
        first.sendall(head("/held/it"))
        served.wait_for(lambda: (tmp_path / "it.begun").exists())
        queued = [stack.enter_context(served.connect()) for _ in range(6)]
        for sock in queued:
            sock.sendall(head("/hello"))
        served.signal(signal.SIGTERM)
        served.wait_for(lambda: "stopping" in served.log())
        (tmp_path / "it.release").touch()
        assert b"200 OK" in first.recv(1000)
        for sock in queued:
            assert sock.recv(1000).endswith(b"hello")

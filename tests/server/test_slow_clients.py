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
HELD = Path(__file__).parent / "apps" / "held.py"
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
    [("/whole/%d", 8 * MIB), ("/file/%d", 8 * MIB), ("/streamed/%d", MIB)],
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


def test_slow_uploaders_hold_no_thread(serve):
    served = serve("held", threads=1)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(served.connect()) for _ in range(5)]
        for sock in slow:
            sock.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n")
            sock.sendall(bytes(500000))
        assert served.text("/hello") == "hello"
        for sock in slow:
            sock.sendall(bytes(400000))
            assert sock.recv(1000).endswith(b"900000")


def test_a_thread_held_by_its_client_is_no_stuck_request(serve):
    """Far beyond the buffers memory is bounded, the thread waits, and its clock stands still."""
    served = serve("held", threads=3, timeout=3)
    size = 16 * MIB
    head = f"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: {4 * MIB}\r\n\r\n"
    with slow_reader(served, f"/streamed/{size}") as reader, served.connect() as uploader:
        uploader.sendall(head.encode() + bytes(2 * MIB))
        time.sleep(4.5)  # longer than the timeout
        assert served.text("/hello") == "hello"
        worker = psutil.Process(served.running.worker_pids()[0])
        assert worker.memory_info().rss < 80 * MIB
        uploader.sendall(bytes(2 * MIB))
        assert uploader.recv(1000).endswith(str(4 * MIB).encode())
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


def test_idle_connections_make_room_when_descriptors_run_out(tune, tmp_path):
    limited = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"
    (tmp_path / "held.py").write_text(HELD.read_text())
    served = tune("held", "-b", "127.0.0.1:0", "-w", "1", "--threads", "2", first=limited).ready()
    host, port = served.addresses()[0].split(":")
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(socket.create_connection((host, int(port)), 30))
        assert served.get("/hello") == "hello"


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

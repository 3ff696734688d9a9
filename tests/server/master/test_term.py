"""After TERM nobody is let in whom no worker will answer."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest
from support.commands import connect

GET = b"GET %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def answer(sock: socket.socket) -> bytes:
    data = b""
    while part := sock.recv(65536):
        data += part
    return data


def refused(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, timeout=20) as sock:
            sock.sendall(GET % b"/hello")
            answer(sock)
        return False
    except ConnectionRefusedError:
        return True
    except ConnectionError:
        return False


@pytest.mark.parametrize("shape", [(1, 2, "gthread"), (2, 2, "gthread"), (2, 1, "sync")])
def test_while_the_last_request_is_answered_connections_are_refused(
    serve, tmp_path: Path, shape: tuple[int, int, str]
) -> None:
    """Kept in the queue, as if somebody were to take them, they would be reset at the end."""
    workers, threads, kind = shape
    served = serve(
        "held", workers=workers, threads=threads, worker_class=kind, env={"STATE": str(tmp_path)}
    )
    with served.connect() as sock:
        sock.sendall(GET % b"/held/last")
        served.wait_for((tmp_path / "last.begun").exists)
        served.signal(signal.SIGTERM)
        served.wait_for(lambda: refused(served.address), 5)
        (tmp_path / "last.release").touch()
        assert answer(sock).startswith(b"HTTP/1.1 200")


def test_the_same_under_asgi(serve) -> None:
    served = serve("asynchronous", worker_class="asgi")
    with served.connect() as sock:
        sock.sendall(GET % b"/sleep/3")
        served.wait_for(lambda: served.text("/hello") == "hello")
        served.signal(signal.SIGTERM)
        served.wait_for(lambda: refused(served.address), 2)
        assert answer(sock).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("bind", ["127.0.0.1:0", "unix:sock"])
def test_a_worker_that_hears_nothing_lets_nobody_in_and_is_bounded(tune, tmp_path, bind) -> None:
    """The kernel would let clients into its queue, where nobody answers them."""
    served = tune("app", "-w1", "-b", bind, "--graceful-timeout", "1").ready()
    (address,), (worker,) = served.addresses(), served.workers()
    if bind.startswith("unix:"):
        address = f"unix:{tmp_path}/sock"
    connect(address).close()
    os.kill(worker, signal.SIGSTOP)
    served.signal(signal.SIGTERM)
    served.wait_for(lambda: "stopping" in served.log())
    with pytest.raises(OSError, match=r"timed out|refused"):
        connect(address, timeout=0.3)
    assert served.process.wait(20) == 0
    (line,) = [line for line in served.log().splitlines() if "SIGKILL" in line]
    assert f"worker {worker} ended (stop, killed by signal 9 (SIGKILL))" in line

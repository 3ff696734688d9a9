"""TERM while no worker is ready: who waits in the kernel's queue is answered, nobody else waited
for.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
from pathlib import Path

import psutil
import pytest
from support.commands import connect

from pretune.server.master.last_queue import LastQueue
from pretune.server.workers.draining import HANDSHAKE

GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
CLASSES = ["sync", "gthread", "gevent", "asgi"]

# It boots as long as there is no file GO beside it.
APP = """
import os, time
from pathlib import Path
HERE = Path(__file__).parent
while not (HERE / "go").exists():
    time.sleep(0.01)
if (HERE / "broken").exists():
    raise RuntimeError("it does not boot any more")

def wsgi(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})
"""


@pytest.fixture
def boot(tune, tmp_path):
    """Start a server that listens and has no worker yet."""

    def begin(*flags: str, kind: str = "gthread"):
        if kind == "gevent":
            pytest.importorskip("gevent")
        (tmp_path / "slow.py").write_text(APP)
        target = "slow:asgi" if kind == "asgi" else "slow:wsgi"
        flags = ("-k", kind, *(() if "-b" in flags else ("-b", "127.0.0.1:0")), *flags)
        served = tune(target, *flags)
        served.wait_for(lambda: "listening at" in served.log())
        return served

    return begin


def address(served, tmp_path: Path) -> str:
    (found,) = served.addresses()
    return found.replace("unix:", f"unix:{tmp_path}/")


def send(stack, where: str, count: int) -> list[socket.socket]:
    socks = [stack.enter_context(connect(where)) for _ in range(count)]
    for sock in socks:
        sock.sendall(GET)
    return socks


def answer(sock: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while part := sock.recv(65536):
            data += part
    return data


def stop(served) -> None:
    served.signal(signal.SIGTERM)
    served.wait_for(lambda: "stopping" in served.log())


@pytest.mark.parametrize(
    ("kind", "flags"),
    [
        *((kind, ()) for kind in CLASSES),
        ("gthread", ("--preload",)),
        ("gthread", ("-b", "unix:sock")),
        ("asgi", ("-b", "unix:sock")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else value,
)
def test_who_waits_while_all_workers_boot_is_answered(boot, tmp_path, kind, flags):
    served = boot("-w", "2", "--graceful-timeout", "60", *flags, kind=kind)
    with contextlib.ExitStack() as stack:
        socks = send(stack, address(served, tmp_path), 5)
        stop(served)
        with pytest.raises(OSError, match=r"timed out|refused"):  # nobody new is let in
            connect(address(served, tmp_path), timeout=0.2)
        (tmp_path / "go").touch()
        for sock in socks:
            assert answer(sock).endswith(b"hello")
    assert served.end() == 0


def test_where_nobody_waits_a_boot_is_not_waited_for(boot):
    served = boot("-w", "2", "--graceful-timeout", "600")
    stop(served)
    assert served.end() == 0


def test_a_boot_is_waited_for_within_the_graceful_timeout(boot, tmp_path):
    served = boot("--graceful-timeout", "1")
    with contextlib.ExitStack() as stack:
        (sock,) = send(stack, address(served, tmp_path), 1)
        stop(served)
        assert answer(sock) == b""
        assert served.end() == 0


def test_who_asks_to_end_at_once_waits_for_nobody(boot, tmp_path):
    served = boot("--graceful-timeout", "600")
    with contextlib.ExitStack() as stack:
        (sock,) = send(stack, address(served, tmp_path), 1)
        stop(served)
        served.signal(signal.SIGQUIT)
        assert answer(sock) == b""
    assert served.end() == 0


@pytest.mark.parametrize("flags", [(), ("--preload",)], ids=" ".join)
def test_term_to_all_processes_at_once_resets_nobody(boot, tmp_path, flags):
    """As systemd sends it."""
    served = boot("-w", "1", "--graceful-timeout", "60", *flags)
    children = psutil.Process(served.pid).children()
    with contextlib.ExitStack() as stack:
        (sock,) = send(stack, address(served, tmp_path), 1)
        stop(served)
        for child in children:
            child.terminate()
        psutil.wait_procs(children, 20)
        (tmp_path / "go").touch()
        assert answer(sock).endswith(b"hello")
    assert served.end() == 0


@pytest.mark.parametrize("broken", [False, True])
def test_when_all_have_crashed_one_more_is_started_for_who_waits(boot, tmp_path, broken):
    served = boot("-w", "1", "--graceful-timeout", "60")
    (tmp_path / "go").touch()
    for n in range(1, 4):  # after the third nobody is started for a while
        served.wait_for(lambda n=n: len(served.workers()) == n)
        os.kill(served.workers()[-1], signal.SIGKILL)
        served.wait_for(lambda n=n: served.log().count("SIGKILL") >= n)
    if broken:
        (tmp_path / "broken").touch()
    with contextlib.ExitStack() as stack:
        (sock,) = send(stack, address(served, tmp_path), 1)
        stop(served)
        assert answer(sock).endswith(b"" if broken else b"hello")
    assert served.end() == 0


# -- the sockets themselves


@pytest.fixture
def listener(request, tmp_path):
    kind = getattr(request, "param", socket.AF_INET)
    with socket.socket(kind) as sock:
        sock.bind(str(tmp_path / "sock") if kind == socket.AF_UNIX else ("127.0.0.1", 0))
        sock.listen(10)
        sock.setblocking(False)
        yield sock


@pytest.mark.fast
@pytest.mark.parametrize("listener", [socket.AF_INET, socket.AF_UNIX], indirect=True)
def test_it_is_held_as_long_as_somebody_waits(listener):
    with socket.socket(listener.family) as first, socket.socket(listener.family) as second:
        first.connect(listener.getsockname())
        second.connect(listener.getsockname())
        last = LastQueue([listener])
        assert last.look(HANDSHAKE * 2, 60) == 2
        listener.accept()[0].close()
        assert last.look(HANDSHAKE * 3, 60) == 1
        listener.accept()[0].close()
        assert (last.look(HANDSHAKE / 2, 60), last.open) == (0, True)  # one may be on its way
        assert (last.look(HANDSHAKE * 4, 60), last.open) == (0, False)
    assert listener.fileno() == -1


@pytest.mark.fast
def test_it_is_held_no_longer_than_it_may_be(listener):
    with socket.create_connection(listener.getsockname()):
        last = LastQueue([listener])
        assert last.look(9.9, 10) == 1
        assert (last.look(10.1, 10), last.open) == (0, False)


@pytest.mark.fast
def test_a_queue_that_others_take_from_is_theirs(listener):
    lent = listener.dup()
    assert not LastQueue([lent], ours=False).open
    with socket.create_connection(listener.getsockname()):  # it was not sealed
        listener.accept()[0].close()

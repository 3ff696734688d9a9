"""What clients at their worst make an ASGI worker hold, each of them: KiB of PSS.

    python bench/client_memory.py [--clients 300]

Every way fills connections with all the worker takes of it while the app takes nothing. The bound
is published in docs/SERVER.md, "Memory held for clients".
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

import psutil

BOOTSTRAP = Path(__file__).resolve().parents[1] / "server" / "bootstrap.py"
APP = """
import asyncio

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        raise RuntimeError("no lifespan here")
    path = scope["path"]
    if scope["type"] == "websocket" and path != "/never":
        await send({"type": "websocket.accept"})
    if path == "/stream":
        await send({"type": "http.response.start", "status": 200, "headers": []})
    while path == "/stream":
        await send({"type": "http.response.body", "body": bytes(65536), "more_body": True})
    await asyncio.sleep(3600)
"""
QUIET = 0.5  # s in which nothing more is taken

GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n"
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
FIELDS = b"".join(b"X-%d: %b\r\n" % (n, b"y" * 600) for n in range(95))
HELLO = b"\x82\x85\0\0\0\0hello"


def inflating(size: int) -> bytes:
    """Part of a compressed message."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = (packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]
    return b"\x42\xfe" + len(data).to_bytes(2, "big") + bytes(4) + data


WAYS = {
    "a head": GET % b"" + FIELDS + b"\r\n",
    "a head that does not end": GET % b"" + FIELDS,
    "a body nobody takes": GET % b"" + b"Content-Length: 9999999\r\n\r\n" + bytes(600_000),
    "requests behind one that waits": (GET % b"" + b"\r\n") * 20_000,
    "a stream nobody reads": GET % b"stream" + b"\r\n",
    "WebSocket: before the app answers": GET % b"never" + UPGRADE + HELLO * 60_000,
    "WebSocket: small messages": GET % b"" + UPGRADE + HELLO * 60_000,
    "WebSocket: messages of 15 MiB": GET % b"" + UPGRADE + inflating(15 << 20),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=300)
    clients = parser.parse_args().clients
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 2 * clients + 200), hard))
    print(f"| {clients} clients, one worker | KiB of each | MiB in all |\n|---|---|---|")
    for name, data in WAYS.items():
        size = measure(data, clients)
        print(f"| {name} | {size / clients / 1024:.0f} | {size / 2**20:.0f} |", flush=True)


def measure(data: bytes, clients: int) -> int:
    """Bytes by which a worker grows."""
    with tempfile.TemporaryDirectory() as directory, contextlib.ExitStack() as stack:
        Path(directory, "app.py").write_text(APP)
        address = os.path.join(directory, "socket")
        server = subprocess.Popen(
            [sys.executable, str(BOOTSTRAP), "serve", "app:app", "--bind", f"unix:{address}",
             "--workers", "1", "--error-logfile", os.devnull],
            cwd=directory,
        )  # fmt: skip
        try:
            while not os.path.exists(address):
                time.sleep(0.05)
            time.sleep(1)
            (worker,) = psutil.Process(server.pid).children()
            before = worker.memory_full_info().pss
            fill([stack.enter_context(connected(address)) for _ in range(clients)], data)
            return int(worker.memory_full_info().pss - before)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(30)


def connected(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(address)
    sock.setblocking(False)
    return sock


def fill(socks: list[socket.socket], data: bytes) -> None:
    """Send as much of it as is taken on each."""
    left = {sock.fileno(): (sock, memoryview(data)) for sock in socks}
    poll = select.poll()
    for fd in left:
        poll.register(fd, select.POLLOUT)
    while ready := poll.poll(QUIET * 1000):
        for fd, _ in ready:
            sock, rest = left[fd]
            try:
                rest = rest[sock.send(rest[: 1 << 18]) :]
            except BlockingIOError:
                continue
            except OSError:  # it was refused
                rest = rest[:0]
            left[fd] = (sock, rest)
            if not rest:
                poll.unregister(fd)
    time.sleep(QUIET)


if __name__ == "__main__":
    main()

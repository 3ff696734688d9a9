"""Requests in any pieces, pipelined or not, from many clients at once: each gets its own answer.

An event that is lost shows as an answer that never comes; bytes that go astray as a wrong one.
"""

from __future__ import annotations

import asyncio
import random

import pytest

CLIENTS = 16
TURNS = 20
FAR = 40.0  # s; an answer that takes longer never comes


def made(rng: random.Random) -> tuple[bytes, bytes]:
    """A request and the body of its answer."""
    size = rng.choice((0, 0, 0, 10, 1000, 70_000, 1_200_000 if rng.random() < 0.2 else 0))
    if not size:
        return b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", b"hello"
    head = b"POST /count HTTP/1.1\r\nHost: x\r\n"
    if rng.random() < 0.4:
        cut = rng.randint(1, size)
        sizes = [n for n in (cut, size - cut) if n]
        chunks = b"".join(b"%x\r\n%b\r\n" % (n, bytes(n)) for n in sizes)
        whole = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    else:
        whole = head + b"Content-Length: %d\r\n\r\n" % size + bytes(size)
    return whole, b"%d" % size


async def send(writer: asyncio.StreamWriter, data: bytes, rng: random.Random) -> None:
    at = 0
    while at < len(data):
        step = rng.choice((1, 3, 20, 100, 65536, 65536) if at < 200 else (65536, 1_000_000))
        writer.write(data[at : at + step])
        at += step
        await writer.drain()
        if rng.random() < 0.3:
            await asyncio.sleep(rng.choice((0, 0.0005, 0.003)))


async def receive(reader: asyncio.StreamReader, bodies: list[bytes]) -> None:
    for body in bodies:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), FAR)
        assert head.startswith(b"HTTP/1.1 200 ")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        assert await asyncio.wait_for(reader.readexactly(length), FAR) == body


async def client(address: tuple[str, int], seed: int) -> None:
    rng = random.Random(seed)
    reader, writer = await asyncio.open_connection(*address)
    for _ in range(TURNS):
        batch = [made(rng) for _ in range(rng.choice((1, 1, 2, 5)))]
        data = b"".join(request for request, _ in batch)
        await asyncio.gather(send(writer, data, rng), receive(reader, [body for _, body in batch]))
        if rng.random() < 0.1:
            writer.close()
            reader, writer = await asyncio.open_connection(*address)
    writer.close()


@pytest.mark.parametrize(
    "settings",
    [
        {"worker_class": "gthread", "threads": 1},
        {"worker_class": "gthread", "threads": 4},
        {"worker_class": "gthread", "threads": 2, "workers": 2},
        {"worker_class": "gevent"},
    ],
    ids=["one", "four", "two by two", "gevent"],
)
def test_every_request_is_answered_however_it_comes(serve, settings):
    if settings["worker_class"] == "gevent":
        pytest.importorskip("gevent")
    served = serve("held", keepalive=120, timeout=0, **settings)

    async def all_clients() -> None:
        await asyncio.gather(*(client(served.address, n) for n in range(CLIENTS)))

    asyncio.run(all_clients())
    assert "error" not in served.log().lower()

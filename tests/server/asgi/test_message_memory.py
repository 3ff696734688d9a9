"""What WebSocket clients can make a worker hold: few bytes on the wire may be many in memory."""

from __future__ import annotations

import asyncio
import random
import struct
import zlib

import pytest
from hosted import connect, new_worker, turn_over

from pretune.server.asgi.message_memory import MessageMemory
from pretune.server.asgi.transport import HIGH_WATER
from pretune.server.http11.limits import Limits

MIB = 1 << 20
UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n\r\n"
)
TOO_LONG = struct.pack("!H", 1009)


def frame(payload: bytes, *, opcode: int = 2, fin: bool = True, packed: bool = False) -> bytes:
    first = (0x80 if fin else 0) | (0x40 if packed else 0) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, 0x80 | size)) + bytes(4) + payload
    code, form = (126, "!BBH") if size < 1 << 16 else (127, "!BBQ")
    return struct.pack(form, first, 0x80 | code, size) + bytes(4) + payload


def bomb(size: int, **options) -> bytes:
    """A message, or a part of one, that inflates to ``size`` bytes."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packer.compress(bytes(size)) + packer.flush(zlib.Z_SYNC_FLUSH)
    return frame(data[:-4], packed=True, **options)


class App:
    """Takes a message whenever it is told to; counts those of each connection."""

    def __init__(self) -> None:
        self.allowed = asyncio.Semaphore(0)
        self.taken: list[int] = []
        self.ended = 0

    async def __call__(self, scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        while True:
            await self.allowed.acquire()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                self.ended += 1
                return
            self.taken.append(len(message.get("text", message.get("bytes"))))

    def allow(self, count: int) -> None:
        for _ in range(count):
            self.allowed.release()


async def opened(worker):
    transport = connect(worker)
    transport.protocol.data_received(UPGRADE)
    await turn_over(5)
    assert b" 101 " in transport.sent
    return transport


async def leave(worker, app, *transports) -> None:
    for transport in transports:
        transport.abort()
    app.allow(10_000)
    await turn_over(200)
    assert not worker.calls
    assert not worker.sockets
    assert worker.messages.held == 0
    assert worker.context.log.errors == []


def run(scenario, limits: Limits = Limits(message=MIB, messages=4 * MIB)):  # noqa: B008
    async def main():
        app = App()
        await scenario(new_worker(app, limits), app)

    asyncio.run(main())


def test_unfinished_messages_of_many_are_bounded_and_the_largest_goes():
    async def scenario(worker, app):
        modest = await opened(worker)
        modest.protocol.data_received(frame(bytes(70_000), fin=False))
        greedy = [await opened(worker) for _ in range(20)]
        for transport in greedy:
            transport.protocol.data_received(bomb(MIB - 10, fin=False))
            assert worker.messages.held <= 4 * MIB
        closed = [transport for transport in greedy if TOO_LONG in transport.sent]
        assert len(closed) == 17
        assert all(transport.protocol._reader.waiting == 0 for transport in closed)
        # Who holds little goes on.
        modest.protocol.data_received(frame(b"the end", opcode=0))
        app.allow(1)
        await turn_over()
        assert app.taken == [70_007]
        await leave(worker, app, modest, *greedy)

    run(scenario)


def test_many_messages_in_one_read_inflate_one_by_one():
    async def scenario(worker, app):
        transport = await opened(worker)
        packed = bomb(MIB - 10) * 50
        assert len(packed) < 65536
        transport.protocol.data_received(packed)
        assert worker.messages.held < 1.2 * MIB
        for taken in range(1, 51):
            app.allow(1)
            await turn_over(5)
            assert len(app.taken) == taken
            assert worker.messages.held < 1.2 * MIB
        assert TOO_LONG not in transport.sent
        await leave(worker, app, transport)

    run(scenario)


def test_one_message_is_bounded_as_it_inflates():
    async def scenario(worker, app):
        transport = await opened(worker)
        transport.protocol.data_received(bomb(MIB + 1, fin=False))
        assert TOO_LONG in transport.sent
        assert worker.messages.held == 0
        await leave(worker, app, transport)

    run(scenario)


def test_without_limits_anything_goes():
    async def scenario(worker, app):
        transport = await opened(worker)
        transport.protocol.data_received(bomb(30 * MIB))
        app.allow(1)
        await turn_over()
        assert app.taken == [30 * MIB]
        await leave(worker, app, transport)

    run(scenario, Limits(message=0, messages=0))


def test_a_message_the_app_has_not_taken_counts_as_memory_not_as_characters():
    async def scenario(worker, app):
        transport = await opened(worker)
        text = "a" * (MIB - 10) + "\N{GRINNING FACE}"  # four bytes for each character
        transport.protocol.data_received(frame(text.encode(), opcode=1))
        assert TOO_LONG in transport.sent
        assert app.ended == 0
        await leave(worker, app, transport)

    run(scenario, Limits(message=2 * MIB, messages=3 * MIB))


def test_small_messages_stop_the_reading_and_none_is_lost():
    async def scenario(worker, app):
        transport = await opened(worker)
        for _ in range(3):
            transport.protocol.data_received(frame(b"x") * 3000)
        assert not transport.reading
        assert transport.protocol._waiting < 2 * HIGH_WATER
        transport.protocol.data_received(frame(struct.pack("!H", 1000), opcode=8))
        app.allow(9000)
        await turn_over(9100)
        assert len(app.taken) == 9000
        assert transport.sent.endswith(b"\x88\x02\x03\xe8")
        await leave(worker, app, transport)

    run(scenario)


@pytest.mark.parametrize("seed", range(20))
def test_the_sum_is_what_is_held(seed):
    class Holder:
        def __init__(self) -> None:
            self.size = 0

        def shed(self) -> None:
            shed.append(self.size)
            self.size = 0

    rng, shed = random.Random(seed), []
    memory, holders = MessageMemory(1000), [Holder() for _ in range(10)]
    for _ in range(1000):
        holder = rng.choice(holders)
        holder.size = rng.choice((0, rng.randrange(100), rng.randrange(1500)))
        shed.clear()
        memory.hold(holder, holder.size)
        sizes = [each.size for each in holders]
        assert memory.held == sum(sizes) <= 1000
        assert min(shed, default=1500) >= max(sizes)  # who holds most goes first, and no more go
        assert sum(sizes) + sum(shed[-1:]) > 1000 or not shed


def test_what_comes_before_the_app_has_answered_stops_the_reading():
    async def app(scope, receive, send):
        await asyncio.sleep(3600)

    async def main():
        worker = new_worker(app)
        transport = connect(worker)
        transport.protocol.data_received(UPGRADE + frame(b"hello") * 20_000)
        await turn_over(2)
        assert not transport.reading
        for call in worker.calls:
            call.task.cancel()
        transport.abort()
        await turn_over()

    asyncio.run(main())

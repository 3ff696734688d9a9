"""Which connection is closed for a new one when there are too many."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from hosted import connect, new_worker, turn_over

pytestmark = pytest.mark.fast

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def app(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"hello"})


def test_the_one_that_was_silent_for_longest_goes_and_none_whose_request_has_come():
    async def one(stack: contextlib.ExitStack) -> list[bool]:
        worker = new_worker(app)
        transports, clients = [], []
        for _ in range(3):
            ours, theirs = map(stack.enter_context, socket.socketpair())
            transports.append(connect(worker))
            transports[-1].protocol.sock = ours
            clients.append(theirs)
        transports[0].protocol.data_received(GET)  # so it is the last that fell silent
        await turn_over()
        assert not worker._evict()  # all have just come
        for transport in transports:
            transport.protocol.quiet -= 10
        clients[2].send(b"G")
        assert worker._evict()
        assert [each.closing for each in transports] == [False, True, False]
        assert worker._evict()
        return [each.closing for each in transports] + [worker._evict()]

    with contextlib.ExitStack() as stack:
        assert asyncio.run(one(stack)) == [True, True, False, False]

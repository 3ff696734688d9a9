"""One connection's steps, with a socket that answers from memory."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from pretune.server.config.config import Config
from pretune.server.process.log import Log
from pretune.server.wsgi.buffers import Room
from pretune.server.wsgi.connection import CHUNK, Connection
from pretune.server.wsgi.conversation import BODY_TURN, READ, Conversation


class Socket:
    """What comes in pieces; an empty one is where nothing has come yet."""

    family = socket.AF_INET

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = list(pieces)

    def fileno(self) -> int:
        return 1000

    def recv(self, size: int) -> bytes:
        piece = self.pieces.pop(0) if self.pieces else b""
        if not piece:
            raise BlockingIOError
        if len(piece) > size:
            self.pieces.insert(0, piece[size:])
        return piece[:size]

    def send(self, data: bytes) -> int:
        return len(data)


class Handler:
    keepalive = 5.0

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def handle(self, connection: Connection, request: Any, slot: Any) -> bool:
        self.bodies.append(connection.input().read())
        return True


class Context:
    config = Config("app")
    log = Log()


@pytest.mark.parametrize("chunks", [1, BODY_TURN - 1, BODY_TURN, BODY_TURN + 1, 3 * BODY_TURN])
@pytest.mark.parametrize("further", [-1, 0, 1])
def test_what_has_come_of_a_body_is_taken_without_another_event(chunks, further):
    """Only a step that has found nothing, or has more to read, may wait."""
    body = bytes(chunks * CHUNK + further)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    handler, room = Handler(), Room(1 << 30, 1 << 30, None, Log())
    conversation = Conversation(Context(), handler, Connection.close)  # type: ignore[arg-type]
    sock = Socket(head, b"", body)
    connection = Connection(sock, 0, ("", ""), True, room)  # type: ignore[arg-type]
    assert conversation.step(connection, None) == READ  # type: ignore[arg-type]
    steps = 0
    while not handler.bodies:
        assert conversation.step(connection, None) == READ  # type: ignore[arg-type]
        steps += 1
        # As an epoll does it: an event if bytes came, or if the connection asks for it.
        assert handler.bodies or connection.more or steps == 1
        assert steps < 10
    assert handler.bodies == [body]
    assert (room.memory.taken, room.files.taken) == (0, 0)

"""The conversation of one connection: what is read, served, sent and awaited, whoever does the
waiting.

A step goes as far as it goes without waiting for the client, and says what to wait for: READ or
WRITE until ``connection.deadline``, or CLOSED when it is over. Threads park the connection in an
epoll meanwhile, greenlets wait themselves.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import suppress

from pretune.server.clock import Clock
from pretune.server.http11 import proxy_protocol
from pretune.server.http11.forwarded import Trust
from pretune.server.http11.refused import Refused
from pretune.server.http11.response import refusal
from pretune.server.workers import limits
from pretune.server.workers.context import Context
from pretune.server.wsgi import connection as con
from pretune.server.wsgi.connection import Connection
from pretune.server.wsgi.pump import Gone
from pretune.server.wsgi.request_handler import RequestHandler, ThreadSlot

CLOSED, READ, WRITE = 0, 1, 2
BODY_TURN = 16  # reads of one body before others get their turn


class Conversation:
    """The rules of all connections of a worker. ``drop`` closes a connection for good."""

    def __init__(
        self,
        context: Context,
        handler: RequestHandler,
        drop: Callable[[Connection], None],
    ) -> None:
        self._handler = handler
        self._drop = drop
        # What an answer already sent has promised: it holds while leaving, too.
        self._promised = handler.keepalive
        self._log = context.log
        self._forwarders = Trust(context.config.forwarded_allow_ips)
        self._proxies = Trust(context.config.proxy_allow_ips)

    def welcome(self, connection: Connection) -> None:
        """A new connection, or one that was passed to us."""
        connection.welcomed = Clock.monotonic()
        connection.deadline = connection.welcomed + limits.HEAD_PATIENCE

    def step(self, connection: Connection, slot: ThreadSlot) -> int:
        """Go on as far as possible; return what to wait for next. Raises nothing."""
        try:
            try:
                if connection.phase == con.HEAD and not connection.preamble:  # far most steps
                    return self._serve(connection, slot) if connection.read() else READ
                return self._step(connection, slot)
            except Refused as refused:
                _try_send(connection, refusal(refused.status, str(refused)))
                return self._linger(connection)
        except Gone:
            pass
        except Exception as error:
            self._log.error(f"error in the server: {error!r}")
        self._drop(connection)
        return CLOSED

    def expire(self, connection: Connection) -> None:
        """Its deadline has passed."""
        if connection.phase == con.BODY or (connection.phase == con.HEAD and connection.buffer):
            _try_send(connection, refusal(408))
        self._drop(connection)

    def _step(self, conn: Connection, slot: ThreadSlot) -> int:
        phase = conn.phase
        if phase == con.FLUSH:
            if not conn.flush():
                return WRITE
            if conn.closing:
                return self._close(conn)
            conn.reset_request()
        elif not conn.read():
            return READ
        elif phase == con.BODY:
            return self._read_body(conn, slot)
        elif phase == con.LINGER:
            conn.buffer = b""
            if Clock.monotonic() > conn.deadline:
                raise Gone  # it never stops
            return READ
        elif conn.preamble and not self._introduce(conn):
            return READ
        return self._serve(conn, slot)

    def _read_body(self, conn: Connection, slot: ThreadSlot) -> int:
        """Take what has come of a body, a good part of it before others get their turn."""
        turns = BODY_TURN
        while not conn.collect():
            turns -= 1
            if not turns or not conn.more or not conn.read():
                return READ
        return self._serve(conn, slot, whole=True)

    def _introduce(self, conn: Connection) -> bool:
        """Take the PROXY header; False while it is incomplete. Raises Refused."""
        proxy_protocol.allowed(self._proxies, conn.peer[0])
        addresses, conn.buffer = proxy_protocol.take(conn.buffer)
        if addresses is None:
            return False
        conn.preamble = False
        if addresses.source is not None:
            host, port = addresses.source
            conn.peer = (host, str(port))
            conn.trusted = self._forwarders.covers(host)
        return True

    def _serve(self, conn: Connection, slot: ThreadSlot, whole: bool = False) -> int:
        """Serve every whole request in the buffer. Raises Gone, Refused.

        ``whole``: the first one's body has come.
        """
        handle = self._handler.handle
        while True:
            if conn.phase == con.HEAD:
                fresh = not conn.buffer
                request, conn.buffer = conn.reader.take(conn.buffer)
                if request is None:
                    self._await_head(conn, fresh)
                    return READ
                if request.length != 0:
                    conn.expect_body(request)
            if conn.phase == con.BODY:
                request = conn.request
                if not whole and not conn.collect():
                    return READ
                whole = False
            assert request is not None
            keep = handle(conn, request, slot)
            if conn.rest is not None:
                conn.closing = not keep
                conn.phase = con.FLUSH
                conn.deadline = conn.rest.deadline
                return WRITE
            if not keep:
                return self._close(conn)
            if conn.body is not None:
                conn.reset_request()
            if not conn.buffer:
                conn.deadline = conn.ended + self._promised
                return READ

    def _await_head(self, conn: Connection, fresh: bool) -> None:
        if fresh and conn.served:
            conn.deadline = Clock.monotonic() + self._promised
        elif conn.started != conn.served:
            # The first bytes of a further request: from here it must hurry.
            conn.started = conn.served
            conn.deadline = Clock.monotonic() + limits.HEAD_PATIENCE

    def _close(self, conn: Connection) -> int:
        """Close after a response."""
        if conn.buffer:
            return self._linger(conn)
        self._drop(conn)
        return CLOSED

    def _linger(self, conn: Connection) -> int:
        """Close, but not over bytes still coming: that would reset what we just said."""
        try:
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            raise Gone from None
        conn.reset_request()
        conn.phase = con.LINGER
        conn.buffer = b""
        conn.deadline = Clock.monotonic() + limits.LINGER
        return READ


def _try_send(conn: Connection, data: bytes) -> None:
    with suppress(Gone):
        conn.send(data, last=True)

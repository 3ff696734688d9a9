"""One request and its answer over a keep-alive connection, as cheaply as gevent allows.

The generator shares a small machine with the server it loads, so its own CPU per request is the
limit of what can be measured. A general client spends most of its time on headers nobody looks
at; this one needs the status, where the answer ends, whether the connection stays open, and the
cookies. It never follows a redirect and never repeats a request: an answer that did not come is
an error to be counted, not to be hidden.
"""

from __future__ import annotations

import errno
import re
import socket as _socket
from typing import Final

import gevent
from gevent import monkey
from gevent.socket import wait as wait_io

from pretune.loadtests.records import ERROR_NUMBER

# Sockets of the standard library, not gevent's: with a watcher of our own per connection, a
# read costs one switch and no timer.
_Socket = monkey.get_original("socket", "socket")

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n")
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[^\r]*chunked[ \t]*\r\n")
_CONNECTION = re.compile(rb"\r\nconnection:[ \t]*([^\r]*)\r\n")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,16})[ \t]*(;|$)")
_COOKIE = re.compile(rb"\r\nset-cookie:[ \t]*([^=;\r]+)=([^;\r]*)([^\r]*)", re.IGNORECASE)
_EXPIRED = re.compile(rb"max-age=(0|-\d+)\s*(;|$)|expires=thu, 01[ -]jan[ -]1970", re.IGNORECASE)

# Every browser keeps this much of one site (RFC 6265, section 6.1); beyond it the oldest go. Some
# keep more, but their users do not ask for thousands of pages in a row, as ours do.
LARGEST_COOKIE: Final = 4096  # bytes of name and value
MOST_COOKIES: Final = 50

KEPT_OF_ERROR: Final = 1 << 14  # bytes of an answer that may say what failed

_READ_SIZE: Final = 1 << 16
_MAX_HEAD: Final = 1 << 17
_READ, _WRITE = 1, 2


class Failure(Exception):
    """No complete answer. ``kind`` is one of ``records.ERRORS``."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Chunks:
    """Finds the end of a chunked body (RFC 9112, section 7.1) without keeping the body."""

    def __init__(self) -> None:
        self._rest = b""  # an incomplete line
        self._skip = 0  # bytes left of the current chunk and its line end
        self._trailer = False
        self.done = False

    def feed(self, data: bytes) -> None:
        """Raises Failure when this is not a chunked body."""
        data = self._rest + data
        at = 0
        while not self.done:
            if self._skip:
                step = min(self._skip, len(data) - at)
                at += step
                self._skip -= step
            end = data.find(b"\r\n", at)
            if self._skip or end < 0:
                break
            line, at = data[at:end], end + 2
            if self._trailer:
                self.done = not line
                continue
            number = _SIZE.match(line)
            if number is None:
                raise Failure("malformed response")
            if size := int(number[1], 16):
                self._skip = size + 2
            else:
                self._trailer = True
        self._rest = data[at:]


class Connection:
    """A user's connection to the server, opened when needed. ``cookies`` are kept like a browser's.

    ``abort`` may be called by another greenlet when an answer takes too long.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._address = address
        self._family = _socket.AF_INET6 if ":" in address[0] else _socket.AF_INET
        self._sock: _socket.socket | None = None
        self._reader: object = None
        self._aborted = False
        self._answered = False  # a request before this one
        self._answering = False  # some of the answer to this one has come
        self.cookies: dict[bytes, bytes] = {}
        self.error_body = b""  # the beginning of the last answer, if that was 500 or above
        self._failed = False  # the answer that is being read is one

    def exchange(self, request: bytes, head_only: bool = False) -> tuple[int, int]:
        """Status and bytes of the answer. Raises Failure; the connection is then closed."""
        self._answering = self._failed = False
        try:
            if self._sock is None or self._is_closed(self._sock):
                self.close()
                self._open()
            return self._exchange(request, head_only)
        except BaseException as error:
            aborted, kept = self._aborted, self._answered and not self._answering
            self.close()
            if aborted:
                raise Failure("timeout") from error
            if isinstance(error, PermissionError):
                raise Failure("address refused") from error
            if isinstance(error, OSError | Failure):
                raise Failure(_classify(error, kept)) from error
            raise

    def abort(self) -> None:
        """Make the exchange under way fail with "timeout"."""
        self._aborted = True
        if self._sock is not None:
            try:
                self._sock.shutdown(_socket.SHUT_RDWR)
            except OSError:
                self.close()

    def close(self) -> None:
        if self._sock is not None:
            self._sock.close()
        self._sock = self._reader = None
        self._aborted = self._answered = False

    def _open(self) -> None:
        sock = _Socket(self._family, _socket.SOCK_STREAM)
        self._sock = sock
        sock.setblocking(False)
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        code = sock.connect_ex(self._address)
        if code == errno.EINPROGRESS:
            wait_io(gevent.get_hub().loop.io(sock.fileno(), _WRITE))
            code = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
        if code:
            raise OSError(code, "connect")
        self._reader = gevent.get_hub().loop.io(sock.fileno(), _READ)

    @staticmethod
    def _is_closed(sock: _socket.socket) -> bool:
        """True when the server has closed the connection while it was idle."""
        try:
            sock.recv(1)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True  # end of file, or bytes nobody asked for

    def _exchange(self, request: bytes, head_only: bool) -> tuple[int, int]:
        sock = self._sock
        assert sock is not None
        sent = sock.send(request)
        while sent < len(request):
            wait_io(gevent.get_hub().loop.io(sock.fileno(), _WRITE))
            sent += sock.send(request[sent:])

        data = self._read(sock)
        size = 0  # bytes of interim answers
        while True:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                if len(data) > _MAX_HEAD:
                    raise Failure("malformed response")
                data += self._read(sock)
                continue
            if data[:7] != b"HTTP/1." or not data[9:12].isdigit():
                raise Failure("malformed response")
            status = int(data[9:12])
            if status >= 200 or status == 101:
                break
            size += end + 4
            data = data[end + 4 :] or self._read(sock)

        head = data[: end + 2].lower()
        if b"\r\nset-cookie:" in head:
            self._keep_cookies(data[: end + 2])
        connection = _CONNECTION.search(head)
        options = connection[1] if connection else b""
        keep = b"close" not in options and (head[7:8] == b"1" or b"keep-alive" in options)
        size += len(data)
        body = len(data) - end - 4
        if status >= 500:
            self._failed, self.error_body = True, data[end + 4 : end + 4 + KEPT_OF_ERROR]

        if head_only or status in (204, 304):
            keep = keep and body == 0
        elif _CHUNKED.search(head):
            chunks = Chunks()
            chunks.feed(data[end + 4 :])
            while not chunks.done:
                data = self._read(sock)
                size += len(data)
                chunks.feed(data)
        elif length := _LENGTH.search(head):
            left = int(length[1]) - body
            keep = keep and left >= 0
            while left > 0:
                count = len(self._read(sock))
                left -= count
                size += count
        else:
            keep = False
            while data := self._read(sock, may_end=True):
                size += len(data)
        self._answered = True
        if not keep:
            self.close()
        return status, size

    def _read(self, sock: _socket.socket, may_end: bool = False) -> bytes:
        while True:
            wait_io(self._reader)
            try:
                data = sock.recv(_READ_SIZE)
            except BlockingIOError:
                continue
            if not data and (self._aborted or not may_end):
                raise Failure("connection closed")
            self._answering = True
            if self._failed and len(self.error_body) < KEPT_OF_ERROR:
                self.error_body += data[:KEPT_OF_ERROR]
            return data

    def _keep_cookies(self, head: bytes) -> None:
        for name, value, attributes in _COOKIE.findall(head):
            self.cookies.pop(name, None)  # set again, it is the newest
            if _EXPIRED.search(attributes) or len(name) + len(value) > LARGEST_COOKIE:
                continue
            self.cookies[name] = value
            if len(self.cookies) > MOST_COOKIES:
                del self.cookies[next(iter(self.cookies))]


_KINDS = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ETIMEDOUT: "timeout",
}


def _classify(error: OSError | Failure, kept: bool) -> str:
    """``kept``: the connection had answered before, and nothing of this answer came."""
    kind = error.kind if isinstance(error, Failure) else _KINDS.get(error.errno or 0, "other")
    return f"kept {kind}" if kept and f"kept {kind}" in ERROR_NUMBER else kind

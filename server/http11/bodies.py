"""Bodies of requests: where they end (RFC 9112 sections 6 and 7.1).

Work is linear in the bytes that came, however they were cut into pieces: what is held back between
two calls is at most one unfinished line, and no byte of a chunk is copied more than once.
"""

from __future__ import annotations

import re

from pretune.server.http11.fields import TOKEN, VALUE
from pretune.server.http11.refused import Refused

MAX_CHUNK_LINE = 4096  # chunk size and its extensions
MAX_EXTENSIONS = 16384  # of all chunks of one body together, beyond as many bytes as the body has
MAX_TRAILERS = 8192

# chunk-size [ chunk-ext ], RFC 9112 section 7.1.1; quoted-string, RFC 9110 section 5.6.4
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_EXTENSION = rf"[ \t]*;[ \t]*{TOKEN}(?:[ \t]*=[ \t]*(?:{TOKEN}|{_QUOTED}))?"
_CHUNK_LINE = re.compile(rf"([0-9A-Fa-f]{{1,16}})((?:{_EXTENSION})*)".encode()).fullmatch
_TRAILER = re.compile(rf"({TOKEN}):{VALUE}".encode()).fullmatch
# Fields that frame, route or control mean nothing after the body, RFC 9110 section 6.5.1, but there
# are parsers (llhttp) that act on some of them even here.
_NO_TRAILER = frozenset(
    {b"connection", b"content-length", b"expect", b"host", b"proxy-connection",
     b"transfer-encoding", b"upgrade"}
)  # fmt: skip


class FixedBody:
    """A body of known length."""

    __slots__ = ("done", "left")

    def __init__(self, length: int) -> None:
        self.left = length  # bytes still to come
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """``(body, rest)``: what of ``data`` is body, and what follows the body."""
        body, rest = data[: self.left], data[self.left :]
        self.left -= len(body)
        self.done = self.left == 0
        return body, rest


class ChunkedBody:
    """A chunked body. Extensions and trailers are checked, and dropped.

    Dropping trailers is what RFC 9110 section 6.5.1 advises who does not know them: WSGI has no
    place for them, ASGI's is an extension nobody asks for, and merged into the header they would
    let a client add fields behind the back of the proxy that checked it.
    """

    __slots__ = ("_extensions", "_held", "_left", "_most", "_size", "_state", "_trailers", "done")

    def __init__(self, most: int = 0) -> None:
        """``most`` bytes of body are taken; 0: any number."""
        self._held = b""  # an unfinished line
        self._left = 0  # of the chunk
        self._state = _SIZE
        self._extensions = 0
        self._trailers = 0
        self._size = 0
        self._most = most
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """``(body, rest)`` as of FixedBody. Raises Refused."""
        if self._held:
            data, self._held = self._held + data, b""
        out: list[bytes] = []
        at, size = 0, len(data)
        while at < size and not self.done:
            if self._state == _DATA:
                part = data[at : at + self._left]
                out.append(part)
                at += len(part)
                self._left -= len(part)
                if not self._left:
                    self._state = _END
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                self._hold(data[at:])
                at = size
                break
            self._line(data[at:end])
            at = end + 2
        return b"".join(out), data[at:]

    def _line(self, line: bytes) -> None:
        """A whole line, by state."""
        if self._state == _END:
            if line:
                raise Refused(400, "a chunk is longer than its size")
            self._state = _SIZE
        elif self._state == _SIZE:
            match = _CHUNK_LINE(line) if len(line) <= MAX_CHUNK_LINE else None
            if match is None:
                raise Refused(400, "malformed chunk size")
            # A million chunks of one byte with a long extension each are no body but a burden.
            self._extensions += len(match[2])
            if self._extensions > MAX_EXTENSIONS + self._size:
                raise Refused(413, "the chunk extensions are too long")
            self._left = int(match[1], 16)
            self._size += self._left
            if self._most and self._size > self._most:
                raise Refused(413, "the body is too long")
            self._state = _DATA if self._left else _TRAILERS
        else:
            self._trailers += len(line) + 2
            if self._trailers > MAX_TRAILERS:
                raise Refused(431, "the trailers are too long")
            if not line:
                self.done = True
            else:
                match = _TRAILER(line)
                if match is None or match[1].lower() in _NO_TRAILER:
                    raise Refused(400, "malformed trailer field")

    def _hold(self, rest: bytes) -> None:
        """An unfinished line. What no further byte can make right is refused now."""
        if self._state == _END and rest != b"\r":
            raise Refused(400, "a chunk is longer than its size")
        if b"\n" in rest or -1 < rest.find(b"\r") < len(rest) - 1:
            raise Refused(400, "a line ends without CRLF")
        if len(rest) > (MAX_CHUNK_LINE if self._state == _SIZE else MAX_TRAILERS):
            raise Refused(400, "a line of the chunked body is too long")
        self._held = rest


# What comes next.
_SIZE = 0  # the line with a chunk's size
_DATA = 1
_END = 2  # the line end after a chunk
_TRAILERS = 3

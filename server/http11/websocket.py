"""WebSocket without I/O: RFC 6455's opening handshake, and frames in and out of bytes.

The receiving side is strict where leniency would hide a broken or hostile client: every frame is
masked, no reserved bit without an extension, no unknown opcode, control frames whole and short,
text that is UTF-8 up to the last byte seen. A violation names the code to close with (section
7.4.1); whatever came whole before it is still delivered.

A payload is unmasked, inflated and checked as its bytes arrive: nothing is held twice, and an
invalid or oversized message is refused at its first wrong byte, not at its end. It is held as one
row of bytes however small the pieces it comes in: an object for each takes fifty times as much.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import hashlib
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pretune.server.http11.deflate import Codec, TooLong
from pretune.server.http11.refused import Refused

MAX_MESSAGE = 16 << 20  # bytes of one message, after inflation
ANY_SIZE = 1 << 62  # no limit
MAX_CONTROL = 125  # section 5.5
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_OPCODES = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
_FIN, _COMPRESSED, _RESERVED, _MASKED = 0x80, 0x40, 0x30, 0x80

# Section 7.4 and IANA's registry: codes that may stand in a frame. The rest of the registry
# (1004, 1005, 1006, 1015) names events that no frame may carry.
_CODES = frozenset((1000, 1001, 1002, 1003, *range(1007, 1015)))
NO_CODE = 1005  # a close frame that gave none
ABNORMAL = 1006  # the connection ended without a close frame
GOING_AWAY = 1001
FAILED = 1011  # the application raised

_KEY = re.compile(r"[A-Za-z0-9+/]{22}==")
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


class Violation(Exception):
    """The client broke the protocol, or a limit: close with ``code``."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True)
class Closed:
    """The client's close frame. ``code`` is NO_CODE if it gave none."""

    code: int
    reason: str


@dataclass(frozen=True)
class Pinged:
    payload: bytes


@dataclass(frozen=True)
class Ponged:
    payload: bytes


# A message is its payload: str or bytes.
Event = str | bytes | Closed | Pinged | Ponged


# -- the opening handshake


def wanted(minor: int, fields: dict[str, str]) -> bool:
    """Return whether this is a request to change to WebSocket (RFC 9110 section 7.8).

    Without ``upgrade`` among the Connection options, and in HTTP/1.0, Upgrade means nothing.
    """
    upgrade = fields.get("HTTP_UPGRADE")
    return (
        upgrade is not None
        and minor == 1
        and "websocket" in _listed(upgrade.lower())
        and "upgrade" in _listed(fields.get("HTTP_CONNECTION", "").lower())
    )


def check_opening(method: str, length: int | None, fields: dict[str, str]) -> None:
    """The client's part of the handshake: section 4.2.1. Raises Refused."""
    if method != "GET":
        raise Refused(400, "a WebSocket is opened by GET")
    if length != 0:
        raise Refused(400, "a WebSocket is opened without a body")
    version = fields.get("HTTP_SEC_WEBSOCKET_VERSION", "")
    if version != "13":
        # Section 4.4: 426 names the version that would be understood.
        raise Refused(426, "only version 13 of WebSocket is spoken")
    # Sixteen bytes have four bits to spare in their last character: they must be zero.
    key = fields.get("HTTP_SEC_WEBSOCKET_KEY", "")
    if _KEY.fullmatch(key) is None or base64.b64encode(base64.b64decode(key)) != key.encode():
        raise Refused(400, "malformed Sec-WebSocket-Key")
    names = subprotocols(fields)
    if len(set(names)) < len(names) or not all(map(_TOKEN.fullmatch, names)):
        raise Refused(400, "malformed Sec-WebSocket-Protocol")


def subprotocols(fields: dict[str, str]) -> list[str]:
    """List the subprotocols that the client offers, in its order of preference."""
    return _listed(fields.get("HTTP_SEC_WEBSOCKET_PROTOCOL", ""))


def accept_key(key: str) -> bytes:
    """Sec-WebSocket-Accept: section 4.2.2. Not a secret, so SHA-1 is no weakness here."""
    digest = hashlib.sha1(key.encode("latin-1") + GUID, usedforsecurity=False).digest()
    return binascii.b2a_base64(digest, newline=False)


def opening(
    key: str, subprotocol: str | None, extension: str | None, headers: Sequence[tuple[bytes, bytes]]
) -> bytes:
    """The head of the 101. ``headers`` are checked by the caller."""
    lines = [
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
        b"Sec-WebSocket-Accept: %b\r\n" % accept_key(key),
    ]
    if subprotocol is not None:
        lines.append(b"Sec-WebSocket-Protocol: %b\r\n" % subprotocol.encode("latin-1"))
    if extension is not None:
        lines.append(b"Sec-WebSocket-Extensions: %b\r\n" % extension.encode("latin-1"))
    lines += [b"%b: %b\r\n" % pair for pair in headers]
    return b"".join(lines) + b"\r\n"


def _listed(value: str) -> list[str]:
    """Elements of a comma-separated list; empty ones do not count (RFC 9110 section 5.6.1)."""
    return [item for item in (part.strip(" \t") for part in value.split(",")) if item]


# -- frames to send


def frame(opcode: int, payload: bytes = b"", *, compressed: bool = False) -> bytes:
    """One whole, unmasked frame."""
    first = _FIN | opcode | (_COMPRESSED if compressed else 0)
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size) + payload
    return struct.pack("!BBQ", first, 127, size) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """A close frame; the reason is cut to what fits. NO_CODE gives an empty one.

    Raises ValueError if the code may not stand in a frame.
    """
    if code == NO_CODE:
        return frame(CLOSE)
    if not may_stand(code):
        raise ValueError(f"{code} cannot be sent as the code of a close")
    text = reason.encode()[: MAX_CONTROL - 2].decode("utf-8", "ignore").encode()
    return frame(CLOSE, struct.pack("!H", code) + text)


def may_stand(code: int) -> bool:
    """Return whether a close frame may carry this code: section 7.4.2."""
    return code in _CODES or 3000 <= code <= 4999


# -- frames received


class Reader:
    """Takes a client's bytes, gives what they say.

    ``waiting`` is how many bytes of a message not yet whole are held.
    """

    def __init__(self, *, limit: int = MAX_MESSAGE, codec: Codec | None = None) -> None:
        self.limit = limit
        self.codec = codec
        self.closed = False  # a close frame came: nothing after it counts
        self._buffer = b""
        self._at = 0  # up to here it is read
        self._message = 0  # opcode of the message under way, 0 for none
        self._compressed = False
        self._data: bytes | bytearray = b""  # of it
        self._decoder: codecs.IncrementalDecoder | None = None  # checks a text that comes in parts
        # The frame under way; opcode None while its header is not whole.
        self._opcode: int | None = None
        self._fin = False
        self._left = 0
        self._mask = b""
        self._control: list[bytes] = []

    @property
    def waiting(self) -> int:
        return len(self._data) + len(self._buffer) - self._at

    def discard(self) -> None:
        """Forget what is not whole; nothing may be fed any more."""
        self.closed = True
        self._buffer, self._at, self._data = b"", 0, b""

    def feed(self, data: bytes) -> Iterator[Event]:
        """Yield the events that are whole with these bytes, in order. Raises Violation at the first
        wrong one.
        """
        rest = self._buffer[self._at :]
        self._buffer, self._at = rest + data if rest else data, 0
        while not self.closed:
            if self._opcode is None and not self._header():
                return
            if self._left and self._at == len(self._buffer):
                return
            part = self._take()
            if self._opcode is not None and self._opcode >= CLOSE:
                self._control.append(part)
                if not self._left:
                    yield self._controlled()
            else:
                self._add(part)
                if not self._left:
                    fin, self._opcode = self._fin, None
                    if fin:
                        yield self._whole()

    def _header(self) -> bool:
        """Read a frame's header (section 5.2); False while it is not whole."""
        buffer, start = self._buffer, self._at
        available = len(buffer) - start
        if not available:
            return False
        first = buffer[start]
        opcode = first & 0x0F
        self._check(first, opcode)
        if available < 2:
            return False
        second = buffer[start + 1]
        if not second & _MASKED:
            raise Violation(1002, "a client's frame is not masked")
        size, at = second & 0x7F, 2
        if opcode >= CLOSE and size > MAX_CONTROL:
            raise Violation(1002, "a control frame is too long")
        if size >= 126:
            code, at = ("!H", 4) if size == 126 else ("!Q", 10)
            if available < at:
                return False
            (size,) = struct.unpack_from(code, buffer, start + 2)
            if size < 126 or (at == 10 and size < 1 << 16) or size >> 63:
                raise Violation(1002, "a length is not in its shortest form")
        if opcode < CLOSE and size > self.limit - (0 if self._compressed else len(self._data)):
            raise Violation(1009, "the message is too long")
        if available < at + 4:
            return False
        self._at = start + at + 4
        self._mask = buffer[self._at - 4 : self._at]
        self._fin = bool(first & _FIN)
        self._left = size
        self._opcode = opcode
        if opcode in (TEXT, BINARY):
            self._begin(opcode, bool(first & _COMPRESSED))
        return True

    def _check(self, first: int, opcode: int) -> None:
        if opcode not in _OPCODES:
            raise Violation(1002, "an unknown opcode")
        compressed = bool(first & _COMPRESSED)
        if first & _RESERVED or (
            compressed and (self.codec is None or opcode not in (TEXT, BINARY))
        ):
            raise Violation(1002, "a reserved bit is set")
        if opcode >= CLOSE:
            if not first & _FIN:
                raise Violation(1002, "a control frame is fragmented")
        elif (opcode == CONTINUATION) != bool(self._message):
            raise Violation(1002, "a message is not continued, or continued without a beginning")

    def _begin(self, opcode: int, compressed: bool) -> None:
        self._message = opcode
        self._compressed = compressed
        self._data = b""
        self._decoder = None

    def _take(self) -> bytes:
        """As much of the frame's payload as is there, unmasked."""
        data = self._buffer[self._at : self._at + self._left]
        size = len(data)
        self._at += size
        self._left -= size
        mask = self._mask
        unmasked = _xor(data, mask)
        turn = size % 4
        if turn:
            self._mask = mask[turn:] + mask[:turn]
        return unmasked

    def _add(self, part: bytes) -> None:
        """A piece of a message."""
        if self._compressed:
            assert self.codec is not None
            try:
                part = self.codec.inflate(part, self.limit - len(self._data), last=self._ends)
            except TooLong:
                raise Violation(1009, "the message is too long") from None
            except ValueError:
                raise Violation(1007, "the message does not inflate") from None
        if self._message == TEXT and (self._data or not self._ends):
            self._check_text(part)
        if not self._data:
            self._data = part
        elif part:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)
            self._data += part

    def _check_text(self, part: bytes) -> None:
        """A piece of a text. Raises Violation at its first wrong byte."""
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")()
        try:
            self._decoder.decode(part, self._ends)
        except UnicodeDecodeError:
            raise Violation(1007, "the text is not UTF-8") from None
        # The decoder waits for the third byte of a surrogate, which no byte can make right.
        waits = self._decoder.getstate()[0]
        if waits[:1] == b"\xed" and waits[1:] >= b"\xa0":
            raise Violation(1007, "the text is not UTF-8")

    @property
    def _ends(self) -> bool:
        return self._fin and not self._left

    def _whole(self) -> Event:
        data, self._data = self._data, b""
        text = self._message == TEXT
        self._message = 0
        self._compressed = False
        self._decoder = None
        try:
            return data.decode() if text else bytes(data)
        except UnicodeDecodeError:
            raise Violation(1007, "the text is not UTF-8") from None

    def _controlled(self) -> Event:
        payload, opcode = b"".join(self._control), self._opcode
        self._control = []
        self._opcode = None
        if opcode == PING:
            return Pinged(payload)
        if opcode == PONG:
            return Ponged(payload)
        self.closed = True
        if not payload:
            return Closed(NO_CODE, "")
        if len(payload) == 1:
            raise Violation(1002, "a close frame with half a code")
        (code,) = struct.unpack_from("!H", payload)
        if not may_stand(code):
            raise Violation(1002, f"{code} cannot be sent as the code of a close")
        try:
            return Closed(code, payload[2:].decode())
        except UnicodeDecodeError:
            raise Violation(1007, "the reason of the close is not UTF-8") from None


def _xor(data: bytes, mask: bytes) -> bytes:
    """Section 5.3. Long integers are the fastest bytes-wise operation of the standard library."""
    size = len(data)
    if not size or mask == b"\0\0\0\0":
        return data
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")

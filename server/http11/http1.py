"""HTTP/1.1 heads without I/O: bytes in, requests out, and a refusal whenever unsure.

Follows RFC 9112. Leniency is where request smuggling lives, so there is none: no bare LF, no folded
lines, no space before a colon, one Host, one Content-Length of digits only, never Content-Length
beside Transfer-Encoding, no coding but chunked. What is refused on purpose, and why, stands in
docs/SERVER.md.

A connection has a ``Reader``: its ``take`` finds a head, however slowly it comes, and parses it.
Field names are kept as CGI keys (``HTTP_ACCEPT``), which WSGI needs as they are; ``headers()``
derives ASGI's pairs from the bytes when somebody asks.

Beside this: ``proxy.take`` for the PROXY header a connection may begin with, ``forwarded.Trust``
for what a proxy says about its client, ``bodies`` for what follows a head.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from pretune.server.http11.bodies import ChunkedBody, FixedBody
from pretune.server.http11.fields import TOKEN, fields_of, key_of, raw_of
from pretune.server.http11.limits import Limits
from pretune.server.http11.refused import Refused

MAX_HEAD = 65536  # request line and fields together; more only if one line alone may be longer
MAX_EMPTY = 2  # empty lines before a request: RFC 9112 section 2.2 asks for one
BEGINNING = 32  # bytes that are looked at before the line is whole
KEPT_BLOCK = 4096  # bytes of field lines a connection remembers

DEFAULT_LIMITS = Limits()

# A token that does not begin with a letter is no method but the rest of something else. In targets
# browsers send "|", "{" and the like as they are.
METHOD = rf"(?=[A-Za-z]){TOKEN}"
_LINE = re.compile(rf"({METHOD}) ([!-\"$-~]+) HTTP/1\.([01])").fullmatch
_TARGET = re.compile(r"[!-\"$-~]+").fullmatch
_ANY_LINE = re.compile(rf"({METHOD}) ([^ \r\n]+) HTTP/([0-9])\.([0-9])").fullmatch
# RFC 3986 host: a bracketed address, or registered name characters; then an optional port.
_HOST = re.compile(
    r"(?:\[[0-9A-Fa-f:.%vV]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]{0,5})?"
).fullmatch
_ABSOLUTE = re.compile(r"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE).fullmatch
_BARE = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)").search
# How a request may begin. TLS sent to a plain port is refused at its first byte.
_BEGINNING = re.compile(rf"(?:\r\n){{0,{MAX_EMPTY}}}(?:\r?\Z|{METHOD}(?: |\Z))".encode()).match


class Request:
    """One request's head.

    ``length`` is the body's length, 0 without a body, None for a chunked one. ``path`` and
    ``query`` are as sent; ``fields`` maps CGI keys to values, repeated fields joined; ``shared`` is
    the same, only to be read: requests with the same lines have it in common. ``upgrade`` is the
    protocol the client would like to change to, in lower case, or "". ``most`` is the limit
    of a chunked body, 0 for none; a length beyond it was refused with the head.
    """

    __slots__ = (
        "_block",
        "_host",
        "expects",
        "keep_alive",
        "length",
        "method",
        "minor",
        "most",
        "path",
        "query",
        "shared",
        "target",
        "upgrade",
    )

    def __init__(self, method: str, target: str, block: _Block) -> None:
        self.method = method
        self.target = target
        self.minor = block.minor
        self.shared = block.fields
        self.length = block.length
        self.most = block.most
        self.keep_alive = block.keep_alive
        self.expects = block.expects
        self.upgrade = block.upgrade
        self._block = block
        self._host: str | None = None  # from the target
        if target[0] == "/" and method != "CONNECT":
            self.path, _, self.query = target.partition("?")
        else:
            self._set_target()

    def _set_target(self) -> None:
        """The other three forms of RFC 9112 section 3.2. Raises Refused."""
        target, self.path, self.query = self.target, "*", ""
        if target == "*" and self.method == "OPTIONS":
            return
        if self.method == "CONNECT":
            raise Refused(501, "CONNECT is not implemented")
        absolute = _ABSOLUTE(target)
        if absolute is None or not absolute[1] or _HOST(absolute[1]) is None:
            raise Refused(400, "malformed request target")
        # An authority in the target replaces Host: RFC 9112 section 3.2.2.
        self.fields["HTTP_HOST"] = self._host = absolute[1]
        self.path = absolute[2] or "/"
        self.query = (absolute[3] or "?")[1:]

    @property
    def fields(self) -> dict[str, str]:
        """The fields, of this request alone: they may be changed."""
        if self.shared is self._block.fields:
            self.shared = self.shared.copy()
        return self.shared

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Lower-case pairs in the order they came, repeated fields apart, as ASGI wants them.

        What was taken out of ``fields`` is left out here, too.
        """
        block = self._block
        if block.raw is None:
            block.raw = raw_of(block.lines(), block.fields)
        if self.shared is block.fields:
            return block.raw.copy()
        host = [] if self._host is None else [(b"host", self._host.encode("latin-1"))]
        return host + [
            pair
            for pair in block.raw
            if key_of(pair[0]) in self.shared and not (host and pair[0] == b"host")
        ]


class _Block:
    """The field lines of a head, checked, and what follows from them alone. Raises Refused."""

    __slots__ = (
        "expects",
        "fields",
        "keep_alive",
        "length",
        "minor",
        "most",
        "raw",
        "tail",
        "upgrade",
    )

    def __init__(self, tail: bytes, minor: int, limits: Limits) -> None:
        """``tail`` is all of the head after its first line, line ends included."""
        self.tail = tail
        self.minor = minor
        self.raw: list[tuple[bytes, bytes]] | None = None  # made when ASGI asks
        lines = self.lines(limits.fields)
        if len(lines) > limits.fields:
            raise Refused(431, "too many header fields")
        if len(tail) > limits.field_size and max(map(len, lines)) > limits.field_size:
            raise Refused(431, "a header field is too long")
        self.fields = fields = fields_of(lines)
        self.length: int | None = 0
        self.most = 0
        self.keep_alive = minor == 1
        self.expects = False
        self.upgrade = ""
        host = fields.get("HTTP_HOST")
        if host is None:
            if minor == 1:
                raise Refused(400, "no Host")
        elif _HOST(host) is None:
            raise Refused(400, "malformed Host")
        if "CONTENT_LENGTH" in fields or "HTTP_TRANSFER_ENCODING" in fields:
            self._set_framing(limits.body)
        connection = fields.get("HTTP_CONNECTION")
        if connection is not None:
            self._set_connection(connection.lower())
        expect = fields.get("HTTP_EXPECT")
        if expect is not None and minor == 1:
            if expect.lower() != "100-continue":
                raise Refused(417, "cannot meet this expectation")
            self.expects = self.length != 0

    def lines(self, most: int = -1) -> list[bytes]:
        return self.tail[2:-4].split(b"\r\n", most) if len(self.tail) > 4 else []

    def _set_framing(self, most: int) -> None:
        """Set the framing of the body: RFC 9112 section 6.3."""
        length = self.fields.get("CONTENT_LENGTH")
        coding = self.fields.get("HTTP_TRANSFER_ENCODING")
        if coding is not None:
            if length is not None:
                raise Refused(400, "Content-Length beside Transfer-Encoding")
            if self.minor == 0:
                raise Refused(400, "Transfer-Encoding in HTTP/1.0")
            if coding.lower() != "chunked":
                names = _options(coding.lower())
                # chunked must come last and once; anything else cannot be framed at all.
                unframed = names[-1] != "chunked" or names.count("chunked") > 1
                raise Refused(400 if unframed and "chunked" in names else 501, "transfer coding")
            self.length, self.most = None, most
        elif length is not None:
            if not (length.isascii() and length.isdigit()):
                raise Refused(400, "malformed Content-Length")
            if len(length) > 18:
                raise Refused(413, "the body is too long")
            self.length = int(length)
            if most and self.length > most:
                raise Refused(413, "the body is too long")

    def _set_connection(self, connection: str) -> None:
        """Connection: RFC 9110 section 7.6.1; Upgrade, which it must name: section 7.8."""
        if connection == "keep-alive":
            self.keep_alive = True
            return
        options = _options(connection)
        self.keep_alive = "close" not in options and (self.minor == 1 or "keep-alive" in options)
        if "upgrade" in options and self.minor == 1:
            protocols = _options(self.fields.get("HTTP_UPGRADE", "").lower())
            # One that is asked for among others is found; of the others one is as good as another.
            self.upgrade = "websocket" if "websocket" in protocols else protocols[0]


def _options(text: str) -> list[str]:
    """The members of a comma-separated list."""
    return [option.strip(" \t") for option in text.split(",")]


class Reader:
    """Finds and parses the heads of one connection's requests.

    It remembers how far it has looked, so that a head sent byte by byte is searched once, and the
    last field lines, which a client on keep-alive mostly sends again.
    """

    __slots__ = ("_block", "_kept", "_limits", "_line_end", "_most", "_seen")

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits = limits if limits is DEFAULT_LIMITS else _filled(limits)
        self._most = max(MAX_HEAD, limits.line + limits.field_size)
        self._kept = min(KEPT_BLOCK, self._most - limits.line)  # no head with it is too long
        self._seen = 0  # bytes of the unfinished head
        self._line_end = -1  # where its first line ends
        self._block: _Block | None = None

    def take(self, data: bytes) -> tuple[Request | None, bytes]:
        """``(request, rest)``, or ``(None, data)`` while the head is incomplete. Raises Refused.

        The next call after an incomplete one must begin with the same bytes.
        """
        last = self._block
        if last is not None and data.endswith(last.tail):
            # One request with the last one's field lines: a line that matches has no line end in
            # it, so these are all of its fields, and nothing follows.
            line = data[: -len(last.tail)]
            match = _LINE(line.decode("latin-1"))
            if match is not None and len(line) <= self._limits.line:
                method, target, version = match.groups()
                if last.minor == (version == "1"):
                    self._seen = 0
                    self._line_end = -1
                    return Request(method, target, last), b""
        start = _start(data) if data.startswith(b"\r\n") else 0
        end = data.find(b"\r\n\r\n", max(start, self._seen - 3))
        if end < 0:
            self._check_unfinished(data, start)
            return None, data
        self._seen = 0
        self._line_end = -1
        if end - start > self._most:
            raise _too_long(data[start:end], self._limits)
        end += 4
        return self.parse(data[start:end]), data[end:]

    def parse(self, head: bytes) -> Request:
        """A whole head, its blank line included. Raises Refused."""
        size = head.find(b"\r\n")
        text, tail = head[:size].decode("latin-1"), head[size:]
        match = _LINE(text)
        if match is None or len(text) > self._limits.line:
            raise _diagnose(text, self._limits)
        method, target, version = match.groups()
        minor = 1 if version == "1" else 0
        last = self._block
        if last is None or last.tail != tail or last.minor != minor:
            last = _Block(tail, minor, self._limits)
            self._block = last if len(tail) <= self._kept else None
        return Request(method, target, last)

    def _check_unfinished(self, data: bytes, start: int) -> None:
        """Refuse early what no further byte can make right, so that nobody waits for it."""
        seen, self._seen = self._seen, len(data)
        if self._line_end < 0:
            self._line_end = data.find(b"\r\n", max(start, seen - 1))
        if seen < BEGINNING and _BEGINNING(data[:BEGINNING]) is None:
            raise Refused(400, "malformed request line")
        line = (self._line_end if self._line_end >= 0 else len(data)) - start
        if line > self._limits.line or len(data) - start > self._most:
            raise _too_long(data[start:], self._limits)
        if _BARE(data, max(start, seen - 1)) is not None:
            raise Refused(400, "a line ends without CRLF")


def _filled(limits: Limits) -> Limits:
    """0 means, as for gunicorn, that only the whole head has a limit."""
    if limits.line and limits.fields and limits.field_size:
        return limits
    return Limits(
        limits.line or MAX_HEAD // 2,
        limits.fields or MAX_HEAD // 4,
        limits.field_size or MAX_HEAD,
        limits.body,
    )


def _start(data: bytes) -> int:
    """Find where the request begins after empty lines. Raises Refused if they do not end."""
    start = 0
    while data[start : start + 2] == b"\r\n":
        start += 2
        if start > 2 * MAX_EMPTY:
            raise Refused(400, "empty lines instead of a request")
    return start


def _too_long(head: bytes, limits: Limits) -> Refused:
    line = head.find(b"\r\n")
    if (len(head) if line < 0 else line) > limits.line:
        return Refused(414, "the request line is too long")
    return Refused(431, "the header fields are too long")


def _diagnose(line: str, limits: Limits) -> Refused:
    """Why a request line was refused."""
    if len(line) > limits.line:
        return Refused(414, "the request line is too long")
    match = _ANY_LINE(line)
    if match is None:
        return Refused(400, "malformed request line")
    if _TARGET(match[2]) is None:
        return Refused(400, "malformed request target")
    return Refused(505, "only HTTP/1.0 and HTTP/1.1 are served")


def take_head(data: bytes) -> tuple[bytes | None, bytes]:
    """Split the first head off: ``(head, rest)``, or ``(None, data)`` while it is incomplete.

    Empty lines before a request are skipped. Raises Refused. A Reader does this and the parsing in
    one, and looks at no byte twice.
    """
    start = _start(data)
    end = data.find(b"\r\n\r\n", start)
    if end < 0:
        if data:
            Reader()._check_unfinished(data, start)
        return None, data
    if end - start > MAX_HEAD:
        raise _too_long(data[start:end], DEFAULT_LIMITS)
    return data[start:end], data[end + 4 :]


def parse_head(head: bytes, limits: Limits = DEFAULT_LIMITS) -> Request:
    """A head without its final blank line. Raises Refused."""
    return Reader(limits).parse(head + b"\r\n\r\n")


def decoded_path(path: str) -> str:
    """Percent-decoded, one character per byte, as PEP 3333 wants PATH_INFO."""
    return unquote_to_bytes(path).decode("latin-1") if "%" in path else path


def body_of(request: Request) -> FixedBody | ChunkedBody:
    """Make the reader of the body that follows the head."""
    if request.length is None:
        return ChunkedBody(request.most)
    return FixedBody(request.length)

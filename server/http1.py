"""HTTP/1.1 framing without I/O: bytes in, requests out, and a refusal whenever unsure.

Follows RFC 9112. One regular expression checks a whole head (request line and every field line)
at C speed; only what it refuses is looked at again, slowly, to answer with the right status.
Leniency is where request smuggling lives, so there is none: no bare LF, no folded lines, no space
before a colon, one Host, one Content-Length of digits only, never Content-Length beside
Transfer-Encoding, no coding but chunked.

Field names are kept as CGI keys (``HTTP_ACCEPT``), which WSGI needs as they are. A name with an
underscore is dropped, for ``X_Forwarded_For`` and ``X-Forwarded-For`` would become one key.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

MAX_LINE = 8190  # request line
MAX_HEAD = 65536  # request line and fields together
MAX_FIELDS = 100
MAX_CHUNK_LINE = 4096  # chunk size and its extensions
MAX_TRAILERS = 8192

_TOKEN = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"  # RFC 9110 section 5.6.2
_VALUE = r"[\t -~\x80-\xff]*"  # field-value with its surrounding whitespace
_HEAD = re.compile(
    rf"({_TOKEN}) ([!-\"$-~]+) HTTP/1\.([01])((?:\r\n{_TOKEN}:{_VALUE})*)", re.DOTALL
)
_FIELDS = re.compile(rf"(?:{_TOKEN}:{_VALUE}\r\n)*")
_REQUEST_LINE = re.compile(rf"({_TOKEN}) ([^ \r\n]+) HTTP/([0-9])\.([0-9])")
# RFC 3986 host: a bracketed address, or registered name characters; then an optional port.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%vV]+\]|[A-Za-z0-9\-._~!$&'()*+,;=%]*)(?::[0-9]*)?")
_ABSOLUTE = re.compile(r"https?://([^/?]*)(/[^?]*)?(\?.*)?", re.IGNORECASE)
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})((?:[ \t]*;[\t -~\x80-\xff]*)?)")
_BARE_LF = re.compile(rb"(?<!\r)\n|\r(?!\n|\Z)")

# Fields that may stand only once; a second one is a sign of an attack.
_SINGLE = frozenset({"HTTP_HOST", "CONTENT_LENGTH", "CONTENT_TYPE", "HTTP_TRANSFER_ENCODING"})
_JOINED_BY = {"HTTP_COOKIE": "; "}  # all others by a comma


class Refused(Exception):
    """The request is answered with ``status`` and the connection closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class _Keys(dict[str, "str | None"]):
    """Field name as sent -> CGI key, None for a name to drop. Bounded: names are hostile input."""

    def __missing__(self, name: str) -> str | None:
        key = None if "_" in name else "HTTP_" + name.upper().replace("-", "_")
        if key in ("HTTP_CONTENT_LENGTH", "HTTP_CONTENT_TYPE"):
            key = key[5:]
        if len(self) < 2048:
            self[name] = key
        return key


_keys = _Keys()


class Request:
    """One request's head.

    ``length`` is the body's length, 0 without a body, None for a chunked one. ``path`` and
    ``query`` are as sent; ``fields`` maps CGI keys to values.
    """

    __slots__ = (
        "expects",
        "fields",
        "keep_alive",
        "length",
        "method",
        "minor",
        "path",
        "query",
        "target",
    )

    def __init__(self, method: str, target: str, minor: int, fields: dict[str, str]) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.fields = fields
        self.path = target
        self.query = ""
        self.length: int | None = 0
        self.keep_alive = minor == 1
        self.expects = False

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Lower-case pairs, as ASGI wants them; repeated fields are joined."""
        return [
            (
                (key[5:] if key.startswith("HTTP_") else key)
                .lower()
                .replace("_", "-")
                .encode("latin-1"),
                value.encode("latin-1"),
            )
            for key, value in self.fields.items()
        ]


def parse_head(head: bytes) -> Request:
    """A head without its final blank line. Raises Refused."""
    text = head.decode("latin-1")
    match = _HEAD.fullmatch(text)
    if match is None:
        raise _diagnose(text)
    method, target, minor, block = match.groups()
    if len(target) > MAX_LINE - 20:
        raise Refused(414, "the request line is too long")
    fields: dict[str, str] = {}
    lines = block.split("\r\n")
    if len(lines) - 1 > MAX_FIELDS:
        raise Refused(431, "too many header fields")
    del lines[0]
    keys = _keys
    for line in lines:
        name, _, value = line.partition(":")
        key = keys[name]
        if key is None:
            continue
        if key in fields:
            if key in _SINGLE:
                raise Refused(400, f"more than one {name}")
            fields[key] += _JOINED_BY.get(key, ",") + value.strip(" \t")
        else:
            fields[key] = value.strip(" \t")
    request = Request(method, target, 1 if minor == "1" else 0, fields)
    _set_target(request)
    if "CONTENT_LENGTH" in fields or "HTTP_TRANSFER_ENCODING" in fields:
        _set_framing(request)
    connection = fields.get("HTTP_CONNECTION")
    if connection is not None:
        options = [option.strip() for option in connection.lower().split(",")]
        request.keep_alive = "close" not in options and (
            request.minor == 1 or "keep-alive" in options
        )
    expect = fields.get("HTTP_EXPECT")
    if expect is not None and request.minor == 1:
        if expect.lower() != "100-continue":
            raise Refused(417, "cannot meet this expectation")
        request.expects = request.length != 0
    return request


def _set_target(request: Request) -> None:
    """Path, query and Host from the four forms of RFC 9112 section 3.2."""
    target = request.target
    host = request.fields.get("HTTP_HOST")
    if host is None:
        if request.minor == 1:
            raise Refused(400, "no Host")
    elif _HOST.fullmatch(host) is None:
        raise Refused(400, "malformed Host")
    if target[0] == "/":
        request.path, _, request.query = target.partition("?")
    elif target == "*" and request.method == "OPTIONS":
        request.path = "*"
    elif request.method == "CONNECT":
        raise Refused(501, "CONNECT is not implemented")
    else:
        absolute = _ABSOLUTE.fullmatch(target)
        if absolute is None or not absolute[1] or _HOST.fullmatch(absolute[1]) is None:
            raise Refused(400, "malformed request target")
        # An authority in the target replaces Host: RFC 9112 section 3.2.2.
        request.fields["HTTP_HOST"] = absolute[1]
        request.path = absolute[2] or "/"
        request.query = (absolute[3] or "?")[1:]


def _set_framing(request: Request) -> None:
    """How long the body is: RFC 9112 section 6.3."""
    length = request.fields.get("CONTENT_LENGTH")
    coding = request.fields.get("HTTP_TRANSFER_ENCODING")
    if coding is not None:
        if length is not None:
            raise Refused(400, "Content-Length beside Transfer-Encoding")
        if request.minor == 0:
            raise Refused(400, "Transfer-Encoding in HTTP/1.0")
        if coding.lower() != "chunked":
            names = [name.strip() for name in coding.lower().split(",")]
            # chunked must come last and once; anything else cannot be framed at all.
            unframed = names[-1] != "chunked" or names.count("chunked") > 1
            raise Refused(400 if unframed and "chunked" in names else 501, "transfer coding")
        request.length = None
    elif length is not None:
        if not (length.isascii() and length.isdigit()):
            raise Refused(400, "malformed Content-Length")
        if len(length) > 18:
            raise Refused(413, "the body is too long")
        request.length = int(length)


def _diagnose(text: str) -> Refused:
    """Why a head was refused."""
    line = text.partition("\r\n")[0]
    if len(line) > MAX_LINE:
        return Refused(414, "the request line is too long")
    match = _REQUEST_LINE.fullmatch(line)
    if match is None:
        return Refused(400, "malformed request line")
    if (match[3], match[4]) not in (("1", "0"), ("1", "1")):
        return Refused(505, "only HTTP/1.0 and HTTP/1.1 are served")
    if re.fullmatch(r"[!-\"$-~]+", match[2]) is None:
        return Refused(400, "malformed request target")
    return Refused(400, "malformed header field")


def take_head(data: bytes) -> tuple[bytes | None, bytes]:
    """Split the first head off: ``(head, rest)``, or ``(None, data)`` while it is incomplete.

    Empty lines before a request are skipped (RFC 9112 section 2.2). Raises Refused.
    """
    end = data.find(b"\r\n\r\n")
    if data[:2] == b"\r\n":
        stripped = data[2:]
        if stripped[:2] == b"\r\n":
            stripped = stripped[2:]
        if stripped[:1] == b"\r" and len(stripped) > 1:
            raise Refused(400, "empty lines instead of a request")
        return take_head(stripped) if stripped else (None, b"")
    if end < 0:
        _check_unfinished(data)
        return None, data
    if end > MAX_HEAD:
        raise Refused(431, "the header fields are too long")
    return data[:end], data[end + 4 :]


def _check_unfinished(data: bytes) -> None:
    """Refuse early what no further byte can make right, so that nobody waits for it."""
    line_end = data.find(b"\r\n")
    if (len(data) if line_end < 0 else line_end) > MAX_LINE:
        raise Refused(414, "the request line is too long")
    if len(data) > MAX_HEAD:
        raise Refused(431, "the header fields are too long")
    if _BARE_LF.search(data) is not None:
        raise Refused(400, "a line ends without CRLF")


def decoded_path(path: str) -> str:
    """Percent-decoded, one character per byte, as PEP 3333 wants PATH_INFO."""
    return unquote_to_bytes(path).decode("latin-1") if "%" in path else path


class FixedBody:
    """A body of known length."""

    __slots__ = ("_left", "done")

    def __init__(self, length: int) -> None:
        self._left = length
        self.done = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """``(body, rest)``: what of ``data`` is body, and what follows the body."""
        body, rest = data[: self._left], data[self._left :]
        self._left -= len(body)
        self.done = self._left == 0
        return body, rest


class ChunkedBody:
    """A chunked body: RFC 9112 section 7.1. Extensions and trailers are checked and dropped."""

    __slots__ = ("_data", "_left", "_state", "_trailers", "done")

    def __init__(self) -> None:
        self._data = b""
        self._left = 0
        self._state = "size"
        self._trailers = 0
        self.done = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """``(body, rest)`` as of FixedBody. Raises Refused."""
        self._data += data
        out: list[bytes] = []
        while not self.done and getattr(self, "_" + self._state)(out):
            pass
        rest = b""
        if self.done:
            rest, self._data = self._data, b""
        return b"".join(out), rest

    def _line(self, limit: int) -> bytes | None:
        end = self._data.find(b"\r\n")
        if (len(self._data) if end < 0 else end) > limit:
            raise Refused(400, "a line of the chunked body is too long")
        if end < 0:
            if _BARE_LF.search(self._data) is not None:
                raise Refused(400, "a line ends without CRLF")
            return None
        line, self._data = self._data[:end], self._data[end + 2 :]
        return line

    def _size(self, out: list[bytes]) -> bool:
        line = self._line(MAX_CHUNK_LINE)
        if line is None:
            return False
        match = _CHUNK_LINE.fullmatch(line)
        if match is None:
            raise Refused(400, "malformed chunk size")
        self._left = int(match[1], 16)
        self._state = "chunk" if self._left else "trailer"
        return True

    def _chunk(self, out: list[bytes]) -> bool:
        part, self._data = self._data[: self._left], self._data[self._left :]
        if part:
            out.append(part)
            self._left -= len(part)
        if self._left:
            return False
        self._state = "end"
        return True

    def _end(self, out: list[bytes]) -> bool:
        if len(self._data) < 2:
            if self._data not in (b"", b"\r"):
                raise Refused(400, "a chunk is longer than its size")
            return False
        if self._data[:2] != b"\r\n":
            raise Refused(400, "a chunk is longer than its size")
        self._data = self._data[2:]
        self._state = "size"
        return True

    def _trailer(self, out: list[bytes]) -> bool:
        line = self._line(MAX_TRAILERS)
        if line is None:
            return False
        self._trailers += len(line) + 2
        if self._trailers > MAX_TRAILERS:
            raise Refused(431, "the trailers are too long")
        if not line:
            self.done = True
        elif _FIELDS.fullmatch(line.decode("latin-1") + "\r\n") is None:
            raise Refused(400, "malformed trailer field")
        return not self.done


def body_of(request: Request) -> FixedBody | ChunkedBody:
    return ChunkedBody() if request.length is None else FixedBody(request.length)

"""Heads of responses: what the app said, checked, and what HTTP/1.1 needs beside it.

An app says the same lines again and again, so a checked line is kept under what it was made of.
Fields that differ from response to response, or carry a secret, are not kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus

from pretune.server.clock import Clock

# Names are tokens; values hold no line ends and no NUL, or an app could be made to split responses.
_LINE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t -~\x80-\xff]*").fullmatch
# A final status: after 1xx the client would wait for another.
_STATUS = re.compile(r"[2-5][0-9][0-9](?: [\t -~\x80-\xff]*)?").fullmatch
_INTERIM = re.compile(r"1(?!01)[0-9][0-9] [\t -~\x80-\xff]*").fullmatch

# The server decides about these (PEP 3333, "Other HTTP Features"); the app's are left out.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
     "upgrade"}
)  # fmt: skip
_PASSING = frozenset(
    {"content-length", "content-range", "date", "etag", "expires", "last-modified", "location",
     "set-cookie", "www-authenticate", "x-request-id"}
)  # fmt: skip
_LENGTHS = ("Content-Length", "content-length")
_CONTINUES = (b"Connection: keep-alive\r\n", b"")  # by the client's minor version
_CLOSES = b"Connection: close\r\n"
SERVER = "pretune"

KEPT = 512  # lines
KEPT_LINE = 256  # characters of a line that is kept

# What a line means to us.
_PLAIN, _LENGTH, _DROPPED, _CLOSE, _DATE, _SERVER = range(6)
_KINDS = {"content-length": _LENGTH, "date": _DATE, "server": _SERVER}

_date = (0, "")
_second = 0.0  # since when, and for a second, this is how heads end:
_ends = (b"", b"", b"")  # if the connection goes on, by the client's minor version; if it closes


def http_date() -> str:
    """Now, as RFC 9110 section 5.6.7 writes it."""
    global _date
    now = int(Clock.time())
    if _date[0] != now:
        _date = (now, _format_date(now))
    return _date[1]


def _format_date(now: int) -> str:
    t = Clock.gmtime(now)
    # Not strftime: names of days and months must not follow the locale an app sets.
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[t.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[t.tm_mon - 1]  # fmt: skip
    return (
        f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


def _own_lines() -> tuple[bytes, bytes, bytes]:
    global _second, _ends
    now = Clock.time()
    if not _second <= now < _second + 1.0:
        own = f"Server: {SERVER}\r\nDate: {http_date()}\r\n".encode()
        http10, http11 = _CONTINUES
        _ends = own + http10 + b"\r\n", own + http11 + b"\r\n", own + _CLOSES + b"\r\n"
        _second = float(int(now))
    return _ends


class _Lines(dict["tuple[str, str] | tuple[bytes, bytes]", "tuple[int, bytes]"]):
    """(name, value) -> what it means to us, and its line. Raises ValueError for what is none.

    ``plain`` has the lines of those that mean nothing: most of all headers.
    """

    def __init__(self, kind: type[str] | type[bytes]) -> None:
        """``kind`` is the type of both: what an app of the other interface says is wrong here."""
        self.kind = kind
        self.lengths = frozenset(_LENGTHS if kind is str else (n.encode() for n in _LENGTHS))
        self.plain: dict[tuple[str, str] | tuple[bytes, bytes], bytes] = {}

    def __missing__(self, header: tuple[str, str] | tuple[bytes, bytes]) -> tuple[int, bytes]:
        for part in header:
            if not isinstance(part, self.kind):
                raise ValueError(f"a header must be two of {self.kind.__name__}, not {header!r}")
        name, value = (
            part.decode("latin-1") if isinstance(part, bytes) else part for part in header
        )
        line = f"{name}: {value}"
        if _LINE(line) is None:
            raise ValueError("malformed response header")
        lower = name.lower()
        kind = _DROPPED if lower in _HOP_BY_HOP else _KINDS.get(lower, _PLAIN)
        if lower == "connection" and "close" in re.split(r"[ \t]*,[ \t]*", value.strip().lower()):
            kind = _CLOSE
        entry = kind, f"{line}\r\n".encode("latin-1")
        if len(line) <= KEPT_LINE and lower not in _PASSING:
            if len(self) >= KEPT:
                self.clear()
                self.plain.clear()
            self[header] = entry
            if kind == _PLAIN:
                self.plain[header] = entry[1]
        return entry


class _Starts(dict[str, "tuple[int, bytes, bool]"]):
    """Status as an app says it -> code, status line, whether no body may follow."""

    def __missing__(self, status: str) -> tuple[int, bytes, bool]:
        if _STATUS(status) is None:
            raise ValueError(f"malformed status {status!r}")
        code = int(status[:3])
        line = f"HTTP/1.1 {code} {status[4:]}\r\n".encode("latin-1")
        entry = code, line, code in (204, 205, 304)
        if len(self) >= KEPT:
            self.clear()
        self[status] = entry
        return entry


lines = _Lines(str)
raw_lines = _Lines(bytes)  # apart: bytes and str of one spelling have one hash
_starts = _Starts()


class Head:
    """A checked response head and how its body is framed.

    ``length`` is the Content-Length or None; ``chunked`` and ``bodiless`` (HEAD, 204, 205, 304)
    say how to send the body; ``keep_alive`` whether the connection may go on.
    """

    __slots__ = ("bodiless", "chunked", "data", "keep_alive", "length", "status")

    def __init__(
        self,
        status: str,
        headers: Iterable[tuple[str, str]] | Iterable[tuple[bytes, bytes]],
        method: str,
        minor: int,
        keep_alive: bool,
        length: int | None = None,
        known: _Lines = lines,
    ) -> None:
        """``headers`` are pairs of str, or of bytes (``known`` is ``raw_lines`` then). ``length``
        is the body's, if the caller knows it and the app did not say it.

        Raises ValueError if the status is not a final one or a header is malformed.
        """
        self.status, start, without_body = _starts[status]
        declared: int | None = None
        parts = [start]
        date = server = False
        plain = known.plain.get
        for header in headers:
            entry = plain(header) if type(header) is tuple else None
            if entry is not None:
                parts.append(entry)
                continue
            name, value = header
            if name in known.lengths:
                declared = _length(value, declared)
                continue
            kind, line = known[name, value]  # type: ignore[index]
            if kind == _PLAIN:
                parts.append(line)
            elif kind == _LENGTH:
                declared = _length(value, declared)
            elif kind == _CLOSE:
                keep_alive = False
            elif kind != _DROPPED:
                date = date or kind == _DATE
                server = server or kind == _SERVER
                parts.append(line)
        self.bodiless = without_body or method == "HEAD"
        self.chunked = False
        if without_body:
            # 205: RFC 9110 section 15.3.6. Only 304 may say how long the body would have been.
            declared = 0 if self.status == 205 else declared if self.status == 304 else None
        elif declared is None and not self.bodiless:
            declared = length
        self.length = declared
        if declared is not None:
            parts.append(b"Content-Length: %d\r\n" % declared)
        elif not without_body:
            if minor:
                parts.append(b"Transfer-Encoding: chunked\r\n")
                self.chunked = not self.bodiless
            elif not self.bodiless:
                keep_alive = False  # the end of the connection is the end of the body
        if date or server:
            if not server:
                parts.append(f"Server: {SERVER}\r\n".encode())
            if not date:
                parts.append(f"Date: {http_date()}\r\n".encode())
            parts.append(_CONTINUES[minor] if keep_alive else _CLOSES)
            parts.append(b"\r\n")
        else:
            parts.append(_own_lines()[minor if keep_alive else 2])
        self.keep_alive = keep_alive
        self.data = b"".join(parts)


def _length(value: str | bytes, before: int | None) -> int:
    """Raises ValueError for a length that is none, or a second one."""
    # Of bytes only ASCII digits are digits.
    if before is not None or not (value.isdigit() and value.isascii()):
        raise ValueError(f"malformed Content-Length {value!r}")
    return int(value)


def interim(status: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """A 1xx response (103 Early Hints, say). It has no body and frames nothing.

    101 is none of these: what follows it is another protocol. Raises ValueError.
    """
    if _INTERIM(status) is None:
        raise ValueError(f"{status!r} is no interim status")
    entries = (lines[name, value] for name, value in headers)
    plain = (line for kind, line in entries if kind == _PLAIN)
    return f"HTTP/1.1 {status}\r\n".encode("latin-1") + b"".join(plain) + b"\r\n"


def refusal(status: int, text: str = "", method: str = "GET") -> bytes:
    """A whole response that ends the connection."""
    phrase = HTTPStatus(status).phrase
    body = f"{status} {phrase}\n{text}\n".encode("latin-1", "replace") if text else b""
    body = body or f"{status} {phrase}\n".encode()
    head = Head(
        f"{status} {phrase}",
        [("Content-Type", "text/plain")],
        method="GET",
        minor=1,
        keep_alive=False,
        length=len(body),
    )
    return head.data + (b"" if method == "HEAD" else body)

"""Heads of responses: what the app said, checked, and what HTTP/1.1 needs beside it."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from http import HTTPStatus

# Names are tokens; values hold no line ends and no NUL, or an app could be made to split responses.
_BLOCK = re.compile(r"(?:[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t -~\x80-\xff]*\r\n)*")
_STATUS = re.compile(r"[1-5][0-9][0-9](?: [\t -~\x80-\xff]*)?")

# The server decides about these (PEP 3333, "Other HTTP Features"); the app's are left out.
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
     "upgrade"}
)  # fmt: skip
SERVER = "pretune"

_date = (0, "")


def http_date() -> str:
    """Now, as RFC 9110 section 5.6.7 writes it."""
    global _date
    now = int(time.time())
    if _date[0] != now:
        _date = (now, _format_date(now))
    return _date[1]


def _format_date(now: int) -> str:
    t = time.gmtime(now)
    # Not strftime: names of days and months must not follow the locale an app sets.
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[t.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun",
             "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[t.tm_mon - 1]  # fmt: skip
    return (
        f"{day}, {t.tm_mday:02} {month} {t.tm_year} {t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    )


class Head:
    """A checked response head and how its body is framed.

    ``length`` is the Content-Length or None; ``chunked`` and ``bodiless`` (HEAD, 1xx, 204, 304)
    say how to send the body; ``keep_alive`` whether the connection may go on.
    """

    __slots__ = ("bodiless", "chunked", "data", "keep_alive", "length", "status")

    def __init__(
        self,
        status: str,
        headers: Sequence[tuple[str, str]],
        *,
        method: str,
        minor: int,
        keep_alive: bool,
        length: int | None = None,
    ) -> None:
        """``length`` is the body's, if the caller knows it and the app did not say it.

        Raises ValueError if a header is malformed.
        """
        if _STATUS.fullmatch(status) is None:
            raise ValueError(f"malformed status {status!r}")
        code = self.status = int(status[:3])
        said: int | None = None
        lines: list[str] = []
        date = server = True
        for name, value in headers:
            lower = name.lower()
            if lower == "content-length":
                if said is not None or not (value.isascii() and value.isdigit()):
                    raise ValueError(f"malformed Content-Length {value!r}")
                said = int(value)
                continue
            if lower in _HOP_BY_HOP:
                if lower == "connection" and value.strip().lower() == "close":
                    keep_alive = False
                continue
            if lower == "date":
                date = False
            elif lower == "server":
                server = False
            lines.append(f"{name}: {value}\r\n")
        block = "".join(lines)
        if _BLOCK.fullmatch(block) is None or block.count("\r\n") != len(lines):
            raise ValueError("malformed response header")
        without_body = code < 200 or code == 204 or code == 304
        self.bodiless = without_body or method == "HEAD"
        if said is None and not self.bodiless:
            said = length
        self.length = said
        self.chunked = False
        if said is not None and (not without_body or code == 304):
            block += f"Content-Length: {said}\r\n"
        elif not without_body:
            if minor:
                block += "Transfer-Encoding: chunked\r\n"
                self.chunked = not self.bodiless
            elif not self.bodiless:
                keep_alive = False  # the end of the connection is the end of the body
        if server:
            block += f"Server: {SERVER}\r\n"
        if date:
            block += f"Date: {http_date()}\r\n"
        if not keep_alive:
            block += "Connection: close\r\n"
        elif not minor:
            block += "Connection: keep-alive\r\n"
        self.keep_alive = keep_alive
        self.data = f"HTTP/1.1 {status}\r\n{block}\r\n".encode("latin-1")


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

"""PEP 3333: from a request to environ, and from what the app returns to bytes of a response."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from pretune.server.http11.http1 import Request, decoded_path
from pretune.server.http11.response import Head, interim, refusal

Environ = dict[str, Any]
App = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]


class Sink(Protocol):
    """The connection for a response. ``lasting``: whether it may serve further requests."""

    lasting: bool

    def send(self, data: bytes, *, last: bool = False) -> None:
        """All of it, waiting for the client unless it is the ``last`` of the response."""

    def send_file(self, fd: int, offset: int, count: int) -> int:
        """Bytes of a file, by the kernel; how many there were."""


class FileWrapper:
    """``wsgi.file_wrapper``: a file as a body, sent by the kernel where that is possible."""

    def __init__(self, filelike: Any, block_size: int = 65536) -> None:
        self.filelike = filelike
        self.block_size = block_size
        if hasattr(filelike, "close"):
            self.close = filelike.close

    def __iter__(self) -> Iterator[bytes]:
        while data := self.filelike.read(self.block_size):
            yield data

    def extent(self) -> tuple[int, int, int] | None:
        """``(fd, offset, count)`` of what is left of a regular file, else None."""
        try:
            fd, offset = self.filelike.fileno(), self.filelike.tell()
            return fd, offset, max(0, os.fstat(fd).st_size - offset)
        except (AttributeError, OSError, ValueError):
            return None


def base_environ(
    server: tuple[str, str], *, multithread: bool, multiprocess: bool
) -> dict[str, Any]:
    """Make the part of environ that is the same in every request of a worker on one address."""
    return {
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": multithread,
        "wsgi.multiprocess": multiprocess,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
        "wsgi.input_terminated": True,
        "SERVER_SOFTWARE": "pretune",
        "SERVER_NAME": server[0],
        "SERVER_PORT": server[1],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SCRIPT_NAME": "",
    }


def connection_environ(base: Mapping[str, Any], peer: tuple[str, str]) -> Environ:
    """Make the part of environ that is the same in every request of one connection."""
    return {**base, "REMOTE_ADDR": peer[0], "REMOTE_PORT": peer[1]}


def fill(environ: Environ, request: Request, body: Any) -> Environ:
    """Add what the request says to a copy of ``connection_environ``'s."""
    environ.update(request.shared)
    if not request.minor:
        environ["SERVER_PROTOCOL"] = "HTTP/1.0"
    return fill_line(environ, request, body)


def fill_line(environ: Environ, request: Request, body: Any) -> Environ:
    """The same without its fields: what differs from those of a request with the same."""
    path = request.path
    environ["REQUEST_METHOD"] = request.method
    environ["RAW_URI"] = request.target
    environ["PATH_INFO"] = path if "%" not in path else decoded_path(path)
    environ["QUERY_STRING"] = request.query
    environ["wsgi.input"] = body
    return environ


class Response:
    """One run of the app: start_response, write, and the framing of what it yields."""

    # Most responses need few of these: instances begin empty.
    head: Head | None = None  # once it was sent
    sent = 0  # bytes, head included
    headers: Sequence[tuple[str, str]] = ()
    _error = 0
    _status: str | None = None
    _left: int | None = None  # of Content-Length

    def __init__(self, request: Request, sink: Sink, keep_alive: bool) -> None:
        self.request = request
        self.sink = sink
        self.keep_alive = keep_alive

    @property
    def status(self) -> int:
        """The status that was sent to the client; 0 if none was."""
        return self.head.status if self.head is not None else self._error

    def start_response(
        self, status: str, headers: list[tuple[str, str]], exc_info: Any = None
    ) -> Callable[[bytes], None]:
        if exc_info is not None:
            try:
                if self.head is not None:
                    raise exc_info[1].with_traceback(exc_info[2])
            finally:
                exc_info = None  # a reference cycle through the traceback
        elif self._status is not None:
            raise AssertionError("start_response was called twice without exc_info")
        self._status = status
        self.headers = headers
        return self.write

    def run(self, app: App, environ: Environ) -> None:
        """Send all the app has to say. Its exceptions pass through; close() is always called."""
        result = app(environ, self.start_response)
        kind = type(result)
        if kind is list or kind is tuple:  # these have no close()
            body = result[0] if len(result) == 1 else _joined(result)  # type: ignore[index, arg-type]
            self._whole(body if type(body) is bytes else _bytes(body))
            return
        if result is None or isinstance(result, (str, bytes)):
            raise TypeError(f"the application returned {_named(result)}, not an iterable of bytes")
        try:
            if kind is FileWrapper and (extent := result.extent()) is not None:  # type: ignore[attr-defined]
                self._file(*extent)
            else:
                for data in result:
                    if data:
                        self.write(data)
                self._finish()
        finally:
            close = getattr(result, "close", None)
            if close is not None:
                close()

    def early_hints(self, headers: Iterable[tuple[str, str]]) -> None:
        """``wsgi.early_hints``: fields the client may act on before the response (RFC 8297)."""
        if self.head is None:
            self.sink.send(interim("103 Early Hints", headers))

    def fail(self) -> None:
        """The app raised before anything was sent: the client gets an error page."""
        self._error = 500
        self.sink.send(refusal(500, method=self.request.method), last=True)

    def write(self, data: bytes) -> None:
        """Send a part of the body, after the head if it is the first. Raises TypeError."""
        if type(data) is not bytes:
            data = _bytes(data)
        start = b"" if self.head is not None else self._begin(None)
        head = self.head
        assert head is not None
        if head.bodiless:
            data = b""
        elif head.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
        elif self._left is not None:
            data = data[: self._left]  # more than was said would be the next response
            self._left -= len(data)
        if start or data:
            self._send(start + data, last=self._left == 0)

    def _whole(self, body: bytes) -> None:
        if self.head is not None:  # by write()
            if body:
                self.write(body)
            self._finish()
            return
        start = self._begin(len(body))
        head = self.head
        assert head is not None
        if head.bodiless:
            body = b""
        elif head.length is not None and len(body) != head.length:
            body = body[: head.length]
            self.keep_alive = self.keep_alive and len(body) == head.length
        start += body
        self.sink.send(start, last=True)
        self.sent = len(start)

    def _file(self, fd: int, offset: int, count: int) -> None:
        start = self._begin(count) if self.head is None else b""
        head = self.head
        assert head is not None
        if head.bodiless:
            self._send(start, last=True)
            return
        if head.chunked or self._left is None:  # the head went out before we knew the length
            self._send(start)
            self.write(os.pread(fd, count, offset))
            self._finish()
            return
        if start:
            self._send(start)
        copied = self.sink.send_file(fd, offset, min(count, self._left))
        self.sent += copied
        self._left -= copied
        self._finish()

    def _begin(self, length: int | None) -> bytes:
        if self._status is None:
            raise AssertionError("the application did not call start_response")
        request = self.request
        keep_alive = self.keep_alive and self.sink.lasting  # the server may be leaving by now
        try:
            self.head = head = Head(
                self._status, self.headers, request.method, request.minor, keep_alive, length
            )
        except (AttributeError, TypeError, ValueError) as error:
            start = f"{self._status!r} and headers {_names(self.headers)}"
            raise ValueError(f"start_response was given {start}: {error}") from error
        self.keep_alive = head.keep_alive
        self._left = None if head.bodiless else head.length
        return head.data

    def _finish(self) -> None:
        if self.head is None:
            self._whole(b"")
        elif self.head.chunked:
            self._send(b"0\r\n\r\n", last=True)
        elif self._left:
            self.keep_alive = False  # less than was said: only the end can say so

    def _send(self, data: bytes, *, last: bool = False) -> None:
        self.sink.send(data, last=last)
        self.sent += len(data)


def _bytes(data: Any) -> bytes:
    """A part of a body. Raises TypeError for what is none."""
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    raise TypeError(f"the application's body holds {_named(data)}, not bytes")


def _joined(parts: Sequence[Any]) -> bytes:
    """Raises TypeError."""
    try:
        return b"".join(parts)
    except TypeError:
        return b"".join(map(_bytes, parts))


def _named(value: Any) -> str:
    """A value of the wrong kind, for the log: short, whatever it is."""
    text = repr(value[:40] if isinstance(value, (str, bytes)) else value)
    return "None" if value is None else f"{type(value).__name__} {text[:60]}"


def _names(headers: Any) -> str:
    """Name the headers that are wrong, without their values: these may be secret."""
    try:
        return ", ".join(str(name) for name, _ in headers) or "none"
    except (TypeError, ValueError):
        return f"that are not pairs ({type(headers).__name__})"

"""An application that only takes and gives bytes: for trials of a server and what stands before it.

A user's own application may not be sent uploads: they could change its data. This one reads a body
and says how long that took, sends as many bytes as it is asked for, or a file as a framework does.

    GET  /            "ok"
    POST /read        reads the body; answers "<bytes> <seconds inside the application>"
    GET  /send/<n>    n bytes
    GET  /file/...    the file that the environment's PRETUNE_FILE names, whatever the path
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

FILE = "PRETUNE_FILE"
_PIECE = 1 << 16


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """WSGI."""
    began = time.perf_counter()
    path = environ["PATH_INFO"]
    if path == "/read":
        size = _read(environ["wsgi.input"])
        return _whole(start_response, b"%d %f" % (size, time.perf_counter() - began))
    if path.startswith("/send/"):
        size = int(path.rpartition("/")[2])
        start_response("200 OK", _fields(size))
        return _pieces(size)
    if path.startswith("/file/"):
        name = os.environ[FILE]
        start_response("200 OK", _fields(os.path.getsize(name)))
        wrapper = environ.get("wsgi.file_wrapper")
        file = open(name, "rb")  # noqa: SIM115 - the server closes it
        return wrapper(file, _PIECE) if wrapper else iter(lambda: file.read(_PIECE), b"")
    return _whole(start_response, b"ok")


def _fields(size: int) -> list[tuple[str, str]]:
    return [("Content-Type", "application/octet-stream"), ("Content-Length", str(size))]


def _whole(start_response: Callable[..., Any], body: bytes) -> list[bytes]:
    start_response("200 OK", _fields(len(body)))
    return [body]


def _read(body: Any) -> int:
    size = 0
    while piece := body.read(_PIECE):
        size += len(piece)
    return size


def _pieces(size: int) -> Iterator[bytes]:
    whole = bytes(_PIECE)
    for _ in range(size // _PIECE):
        yield whole
    if size % _PIECE:
        yield whole[: size % _PIECE]


Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def asgi(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """The same under ASGI 3, without a lifespan."""
    if scope["type"] != "http":
        raise ValueError("HTTP only")
    began = time.perf_counter()
    path = scope["path"]
    if path == "/read":
        size = await _read_all(receive)
        await _answer(send, b"%d %f" % (size, time.perf_counter() - began))
    elif path.startswith("/send/"):
        size = int(path.rpartition("/")[2])
        await _stream(send, size, _pieces(size))
    elif path.startswith("/file/"):
        await _file(send, os.environ[FILE])
    else:
        await _answer(send, b"ok")


async def _read_all(receive: Receive) -> int:
    size = 0
    while True:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            return size


async def _begin(send: Send, size: int) -> None:
    named = [(name.lower().encode(), value.encode()) for name, value in _fields(size)]
    await send({"type": "http.response.start", "status": 200, "headers": named})


async def _answer(send: Send, body: bytes) -> None:
    await _begin(send, len(body))
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, size: int, pieces: Iterator[bytes]) -> None:
    await _begin(send, size)
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _file(send: Send, name: str) -> None:
    """Piece by piece from a thread, as Starlette's FileResponse does."""
    await _begin(send, os.path.getsize(name))
    with await asyncio.to_thread(open, name, "rb") as file:
        while piece := await asyncio.to_thread(file.read, _PIECE):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})

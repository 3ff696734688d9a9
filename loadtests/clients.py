"""Clients other than users: slow ones, large ones, and ones that come at fixed moments.

They are plain sockets and threads of the tool's own process: there are few of them, and they
measure seconds, not microseconds. They connect to the address they are given and to nothing else.
"""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Sequence

Address = tuple[str, int]

TIMEOUT_S = 20.0
_PIECES = 8  # in which a slow client sends or takes


class Unanswered(Exception):
    """No answer with status 200; the message says what came instead."""


class KeepAliveClient:
    """Sends one request after the other on one connection."""

    def __init__(self, address: Address) -> None:
        self._connection = http.client.HTTPConnection(*address, timeout=TIMEOUT_S)

    def get(self, path: str) -> tuple[float, int]:
        """Seconds and bytes of the answer. Raises Unanswered."""
        began = time.perf_counter()
        try:
            self._connection.request("GET", path)
            answer = self._connection.getresponse()
            size = len(answer.read())
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise Unanswered(f"{type(error).__name__}: {error}") from None
        if answer.status != 200:
            raise Unanswered(f"status {answer.status}")
        return time.perf_counter() - began, size

    def close(self) -> None:
        self._connection.close()


def upload(address: Address, path: str, size: int, seconds: float = 0.0) -> bytes:
    """POST ``size`` bytes within about ``seconds``; the body of the answer. Raises Unanswered."""
    piece = bytes(max(1, size // _PIECES))
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {address[0]}\r\nContent-Length: {len(piece) * _PIECES}\r\n"
    )
    with _connect(address) as sock:
        sock.sendall(f"{head}Connection: close\r\n\r\n".encode())
        for _ in range(_PIECES):
            time.sleep(seconds / _PIECES)
            sock.sendall(piece)
        answer = _receive_rest(sock)
    return _parse_body(answer)


def download(address: Address, path: str, size: int, seconds: float) -> None:
    """GET ``size`` bytes and take them within about ``seconds``. Raises Unanswered."""
    with _connect(address, receive_buffer=1 << 14) as sock:
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        taken = 0
        for _ in range(_PIECES):
            time.sleep(seconds / _PIECES)
            taken += _receive(sock, size // _PIECES)
        taken += len(_receive_rest(sock))
    if taken < size:
        raise Unanswered(f"{taken} of {size} bytes")


def get_at(address: Address, path: str, moments: Sequence[float]) -> list[float]:
    """GET at each moment (s from now), each on a connection and in a thread of its own, so that
    none that waits delays the next. Seconds from each moment to its answer, inf without one."""
    began = time.perf_counter()
    took = [float("inf")] * len(moments)

    def ask(number: int) -> None:
        wait = began + moments[number] - time.perf_counter()
        time.sleep(max(0.0, wait))
        client = KeepAliveClient(address)
        with contextlib.closing(client), contextlib.suppress(Unanswered):
            client.get(path)
            took[number] = time.perf_counter() - began - moments[number]

    run_together([lambda n=number: ask(n) for number in range(len(moments))])  # type: ignore[misc]
    return took


def run_together(tasks: Sequence[Callable[[], None]]) -> None:
    """Run each task in a thread of its own; returns when all have ended."""
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@contextlib.contextmanager
def _connect(address: Address, receive_buffer: int = 0):  # type: ignore[no-untyped-def]
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as sock:
        sock.settimeout(TIMEOUT_S)
        if receive_buffer:  # before connecting: the window is announced then
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            sock.connect(address)
            yield sock
        except OSError as error:
            raise Unanswered(f"{type(error).__name__}: {error}") from None


def _receive(sock: socket.socket, size: int) -> int:
    left = size
    while left > 0:
        piece = sock.recv(min(left, 1 << 16))
        if not piece:
            break
        left -= len(piece)
    return size - left


def _receive_rest(sock: socket.socket) -> bytes:
    pieces = []
    while piece := sock.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def _parse_body(answer: bytes) -> bytes:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b" 200 " not in head[:16]:
        raise Unanswered(head[:40].decode("latin-1"))
    if b"transfer-encoding: chunked" in head.lower():
        raise Unanswered("a chunked answer")
    return body
